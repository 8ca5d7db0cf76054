from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitosam.errors import SettingsError
from mitosam.geometry import (
    ModelFrame,
    PatchGrid,
    Window,
    box_of_mask,
    tile_windows,
    window_holding,
)

sides = st.integers(1, 60)


@given(height=sides, width=sides, patch_px=st.integers(1, 40))
def test_cut_then_merge_is_the_identity_when_padding(height, width, patch_px):
    section = np.random.default_rng(0).integers(0, 99, (height, width))
    grid = PatchGrid((height, width), patch_px, "pad")
    patches = grid.cut(section)
    assert patches.shape == (len(grid.windows), patch_px, patch_px)
    np.testing.assert_array_equal(grid.merge(patches), section)
    assert grid.lost_px == 0


@given(height=sides, width=sides, patch_px=st.integers(1, 40))
def test_cropping_loses_as_many_pixels_as_it_says(height, width, patch_px):
    if min(height, width) < patch_px:
        with pytest.raises(SettingsError, match="holds no whole patch"):
            PatchGrid((height, width), patch_px, "crop")
        return
    grid = PatchGrid((height, width), patch_px, "crop")
    merged = grid.merge(grid.cut(np.ones((height, width), int)))
    assert height * width - merged.sum() == grid.lost_px


def test_a_cut_by_hand():
    section = np.arange(12).reshape(3, 4)
    patches = PatchGrid((3, 4), 2, "pad").cut(section)
    assert patches.tolist() == [
        [[0, 1], [4, 5]],
        [[2, 3], [6, 7]],
        [[8, 9], [0, 0]],
        [[10, 11], [0, 0]],
    ]


def test_the_stack_of_the_report_has_12_patches_a_section():
    assert len(PatchGrid((768, 1024), 256).windows) * 165 == 1980


def test_a_window_past_the_edge_is_filled():
    assert Window(1, 1, 2, 2).cut(np.ones((2, 2)), fill=7).tolist() == [[1, 7], [7, 7]]


@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    patch_px=st.integers(4, 24),
    more=st.integers(0, 60),
    edge=st.sampled_from(["pad", "crop"]),
)
def test_every_patch_lies_in_a_tile_and_tiles_stay_inside_where_they_can(
    height, width, patch_px, more, edge
):
    if edge == "crop" and min(height, width) < patch_px:
        return
    grid = PatchGrid((height, width), patch_px, edge)
    tile_px = patch_px + more
    tiles = tile_windows(grid, tile_px)
    for window in grid.windows:
        assert tiles[window_holding(window, tiles)].contains(window)
    rows, columns = grid.rows_columns
    for tile in tiles:
        assert tile.y >= 0
        assert tile.x >= 0
        assert tile.y == 0 or tile.y + tile_px <= max(height, rows * patch_px)
        assert tile.x == 0 or tile.x + tile_px <= max(width, columns * patch_px)


def test_a_tile_smaller_than_a_patch_is_refused():
    with pytest.raises(SettingsError, match="tile_px must be at least patch_px"):
        tile_windows(PatchGrid((8, 8), 4), 3)


@given(
    origin=st.tuples(st.integers(0, 5000), st.integers(0, 5000)),
    tile_px=st.integers(1, 2048),
    x=st.floats(-1e4, 1e4),
    y=st.floats(-1e4, 1e4),
)
def test_to_section_xy_is_the_inverse_of_to_model_xy(origin, tile_px, x, y):
    frame = ModelFrame(origin, tile_px, 1024)
    points = np.array([[x, y]])
    there_and_back = frame.to_section_xy(frame.to_model_xy(points))
    np.testing.assert_allclose(there_and_back, points, atol=1e-6)


def test_x_comes_first_in_the_model_frame():
    frame = ModelFrame((10, 20), 256, 1024)
    assert frame.to_model_xy(np.array([21.0, 12.0])).tolist() == [4, 8]
    assert frame.to_model_xy(np.array([20.0, 10.0, 276.0, 266.0])).tolist() == [0, 0, 1024, 1024]


def test_a_box_runs_along_pixel_edges():
    mask = np.zeros((6, 8), bool)
    mask[2:4, 3:6] = True
    assert box_of_mask(mask).tolist() == [3, 2, 6, 4]
