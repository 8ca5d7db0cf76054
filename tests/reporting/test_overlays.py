from __future__ import annotations

import base64
import dataclasses
import re

import imageio.v3 as iio
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mitosam.errors import InputError
from mitosam.reporting.drawing import choose_scale_bar, outline_path, png_uri
from mitosam.reporting.overlays import draw_case
from tests.evaluation.synthetic import make_score
from tests.reporting.synthetic import make_case

CASE = make_case(make_score(50), make_score(80, method="tuned"))


def enclosed_area(path: str) -> float:
    """Area inside an SVG path of polygons, holes taken out (the shoelace formula)."""
    area = 0.0
    for polygon in re.findall(r"M([^Z]*)Z", path):
        x, y = np.array([point.split(",") for point in polygon.split("L")], float).T
        area += float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) / 2
    return abs(area)


@given(arrays(np.bool_, (9, 11)))
def test_outlines_enclose_the_mask_but_for_its_cut_corners(mask):
    padded = np.pad(mask, 1).astype(int)
    blocks = padded[:-1, :-1] + padded[:-1, 1:] + padded[1:, :-1] + padded[1:, 1:]
    diagonal = (blocks == 2) & (padded[:-1, :-1] == padded[1:, 1:])
    # An outline cuts an eighth of a pixel off each corner, and fills it at inner corners.
    outer, inner = np.count_nonzero(blocks == 1), np.count_nonzero(blocks == 3)
    expected = mask.sum() + (inner - outer - 2 * np.count_nonzero(diagonal)) / 8
    assert enclosed_area(outline_path(mask)) == pytest.approx(expected)


def test_a_rectangle_loses_an_eighth_of_a_pixel_at_each_corner():
    mask = np.zeros((20, 20), bool)
    mask[3:9, 4:16] = True
    assert enclosed_area(outline_path(mask)) == pytest.approx(6 * 12 - 4 / 8)


def test_a_hole_is_left_out():
    mask = np.ones((20, 20), bool)
    mask[5:10, 5:10] = False
    assert enclosed_area(outline_path(mask)) == pytest.approx(400 - 4 / 8 - 25 + 4 / 8)


def test_an_outline_stands_in_the_pixels_own_frame():
    mask = np.zeros((8, 8), bool)
    mask[2:5, 3:7] = True
    points = np.array(re.findall(r"([\d.]+),([\d.]+)", outline_path(mask)), float)
    np.testing.assert_array_equal(points.min(axis=0), [3, 2])
    np.testing.assert_array_equal(points.max(axis=0), [7, 5])


def test_an_empty_mask_has_no_outline():
    assert outline_path(np.zeros((4, 4), bool)) == ""


@given(arrays(np.uint8, (5, 7)))
def test_the_embedded_image_is_the_image(image):
    kind, data = png_uri(image).split(",")
    assert kind == "data:image/png;base64"
    np.testing.assert_array_equal(iio.imread(base64.b64decode(data)), image)


@given(st.integers(16, 4096), st.floats(0.01, 1e6))
def test_a_scale_bar_is_round_and_neither_tiny_nor_huge(width, pixel_nm):
    bar = choose_scale_bar(width, pixel_nm)
    assert width / 3 / 2.51 <= bar.length_px <= width / 3 * 1.0001
    assert re.fullmatch(r"[125](e[-+]?\d+|0*) (nm|µm)|0\.0*[125] nm", bar.label)


def test_a_case_shows_image_truth_base_and_tuned():
    picture = draw_case(CASE)
    assert [panel.title for panel in picture.panels] == ["Image", "Truth", "Base", "Tuned"]
    assert picture.heading == "IoU from 0.500 to 0.800"
    assert picture.place == ("cells, section 1, patch at x 0, y 0; 1 mitochondrion in the patch")
    assert picture.panels[0].layers[0].path == "M15,9H46V40H15Z"


def test_a_case_needs_neither_prompt_nor_voxel_size():
    picture = draw_case(dataclasses.replace(CASE, box_xyxy=None, pixel_nm=None))
    assert picture.panels[0].layers == ()
    assert picture.scale_bar is None


def test_masks_of_another_shape_than_the_image_are_refused():
    with pytest.raises(InputError, match=r"\(4, 4\) for tuned with image \(48, 64\)"):
        dataclasses.replace(CASE, tuned=np.zeros((4, 4), bool))
