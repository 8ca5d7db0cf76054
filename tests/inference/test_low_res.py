from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from mitosam.geometry import Window
from mitosam.inference.low_res import (
    pixel_window,
    remove_small_regions,
    seen_part,
    stability_scores,
    upsample_window,
)
from mitosam.models.pixels import upsample_logits

logits = hnp.arrays(np.float32, (8, 8), elements=st.integers(-4, 4).map(float))
shapes = st.tuples(st.integers(1, 37), st.integers(1, 37))


@st.composite
def windows(draw, tile_px: int) -> Window:
    y, x = draw(st.integers(0, tile_px - 1)), draw(st.integers(0, tile_px - 1))
    return Window(y, x, draw(st.integers(1, tile_px - y)), draw(st.integers(1, tile_px - x)))


@given(low_res=logits, tile_px=st.integers(1, 37), data=st.data())
def test_a_window_upsampled_is_that_of_the_whole_tile(low_res, tile_px, data):
    window = data.draw(windows(tile_px))
    expected = upsample_logits(torch.from_numpy(low_res)[None, None], tile_px)[0, 0].numpy()
    np.testing.assert_allclose(
        upsample_window(low_res, tile_px, window), window.cut(expected), atol=1e-5
    )


@given(low_res=logits, shape_yx=shapes)
def test_all_object_pixels_lie_in_the_window_that_is_upsampled(low_res, shape_yx):
    tile_px = 37
    whole = upsample_logits(torch.from_numpy(low_res)[None, None], tile_px)[0, 0].numpy()
    seen = whole[: shape_yx[0], : shape_yx[1]] > 1e-4
    window = pixel_window(low_res, shape_yx, tile_px)
    if window is None:
        assert not seen.any()
        return
    assert Window(0, 0, *shape_yx).contains(window)
    assert window.height > 0
    assert window.width > 0
    assert window.cut(seen).sum() == seen.sum()


@given(low_res=logits, shape_yx=shapes, tile_px=st.sampled_from([5, 37, 64]))
def test_what_lies_past_the_seen_part_changes_no_pixel(low_res, shape_yx, tile_px):
    shape_yx = tuple(min(side, tile_px) for side in shape_yx)
    rows, columns = seen_part(shape_yx, tile_px, 8)
    changed = low_res.copy()
    changed[rows:] = 99
    changed[:, columns:] = 99
    window = Window(0, 0, *shape_yx)
    np.testing.assert_array_equal(
        upsample_window(low_res, tile_px, window), upsample_window(changed, tile_px, window)
    )


def test_stability_by_hand():
    masks = torch.tensor([[[2.0, 0.5, -0.5, -2.0]], [[-2.0] * 4], [[2.0, 2.0, -2.0, -2.0]]])
    assert stability_scores(masks, 1.0).tolist() == pytest.approx([1 / 3, 0, 1])
    assert stability_scores(masks[:0], 1.0).tolist() == []


def test_a_hole_is_filled_and_an_island_dropped_by_hand():
    mask = np.array(
        [
            [1, 1, 1, 0, 0, 0],
            [1, 0, 1, 0, 0, 1],
            [1, 1, 1, 0, 0, 0],
        ],
        bool,
    )
    clean = remove_small_regions(mask, 2)
    assert clean.astype(int).tolist() == [[1, 1, 1, 0, 0, 0]] * 3
    assert np.array_equal(remove_small_regions(mask, 1), mask)


def test_of_islands_that_are_all_small_the_largest_stays():
    mask = np.array([[1, 0, 1, 1, 0, 1]], bool)
    assert remove_small_regions(mask, 9).astype(int).tolist() == [[0, 0, 1, 1, 0, 0]]


@given(mask=hnp.arrays(bool, (7, 9)), area=st.integers(0, 12))
def test_cleaning_twice_is_cleaning_once_and_leaves_no_small_island(mask, area):
    clean = remove_small_regions(mask, area)
    assert np.array_equal(remove_small_regions(clean, area), clean)
    regions, count = ndimage.label(clean, structure=np.ones((3, 3)))
    assert count <= 1 or np.bincount(regions.ravel())[1:].min() >= area
    assert clean.any() == mask.any()
