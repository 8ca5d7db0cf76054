from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.segmentation import find_boundaries

from mitosam.errors import InputError
from mitosam.reporting.outlines import choose_sections, draw_finds, draw_preview, instances_of
from tests.reporting.synthetic import make_blocks


def vertices(path: str) -> np.ndarray:
    return np.array(re.findall(r"([\d.]+),([\d.]+)", path), float)


@given(arrays(np.uint16, (9, 12), elements=st.sampled_from([0, 3, 700])))
def test_every_outline_lies_on_its_instances_boundary(labels):
    image = np.zeros(labels.shape, np.uint8)
    picture = draw_preview(image, labels, {}, title="")
    drawn = np.unique(labels[labels > 0])
    assert len(picture.outlines) == len(drawn)
    for label, outline in zip(drawn, picture.outlines, strict=True):
        boundary = np.argwhere(find_boundaries(np.pad(labels == label, 1), mode="inner")) - 0.5
        for x, y in vertices(outline.path):
            # Pixel centres stand half a pixel inside the edges that the outline follows.
            assert np.abs(boundary - (y, x)).sum(axis=1).min() == 0.5


@given(arrays(np.int64, (6, 7), elements=st.sampled_from([0, 2, 5, 2**40])))
def test_the_cut_masks_put_back_are_the_labels(labels):
    again = np.zeros_like(labels)
    for label, mask, (top, left) in instances_of(labels):
        again[top : top + mask.shape[0], left : left + mask.shape[1]][mask] = label
    np.testing.assert_array_equal(again, labels)


def test_hits_false_finds_and_misses_differ_in_more_than_colour():
    image, predicted, truth = make_blocks()
    picture = draw_finds(
        image, predicted, truth, hits={7}, false_finds={9}, misses={2}, title="", pixel_nm=5
    )
    found = {outline.style: outline for outline in picture.outlines}
    assert {style: outline.mark for style, outline in found.items()} == {
        "hit": "",
        "false-find": "F",
        "missed": "M",
    }
    x, y = found["missed"].mark_xy
    assert truth[int(y), int(x)] == 2
    assert picture.caption == "1 found, 1 false, 1 missed"
    assert picture.scale_bar is not None


def test_an_instance_has_the_colour_it_was_given_and_white_without_one():
    image, predicted, _ = make_blocks()
    picture = draw_preview(image, predicted, {7: "#123456"}, title="")
    assert [outline.colour for outline in picture.outlines] == ["#123456", "#ffffff"]
    assert picture.caption == "2 instances"


def test_a_large_section_is_embedded_smaller_but_keeps_its_coordinates():
    labels = np.zeros((1500, 2900), np.uint8)
    labels[1400:1500, 2800:2900] = 1
    picture = draw_preview(labels, labels, {}, title="")
    assert (picture.width, picture.height) == (2900, 1500)
    assert vertices(picture.outlines[0].path).max(axis=0).tolist() == [2900, 1500]
    assert len(picture.image_uri) < 20_000


def test_labels_of_another_shape_than_the_image_are_refused():
    with pytest.raises(InputError, match=r"truth must have the shape of the image, got \(2, 2\)"):
        draw_finds(
            *(np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8), np.zeros((2, 2), np.uint8)),
            **{"hits": (), "false_finds": (), "misses": (), "title": ""},
        )


@given(st.integers(1, 500), st.integers(1, 20))
def test_chosen_sections_are_different_and_as_evenly_spread_as_can_be(num_sections, num):
    chosen = choose_sections(num_sections, num)
    assert len(chosen) == min(num, num_sections)
    gaps = np.diff(chosen)
    assert all(0 <= z < num_sections for z in chosen)
    assert len(gaps) == 0 or gaps.min() >= 1
    assert len(gaps) == 0 or np.ptp(gaps) <= 1
