from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mitosam.geometry import ModelFrame, Window
from mitosam.inference.section_embedding import (
    cells_of,
    embedding_part,
    embedding_windows,
    section_embedding,
)

LENGTHS = st.integers(1, 700)
TILES = st.sampled_from([32, 64, 96, 100, 129, 250])


@given(shape=st.tuples(LENGTHS, LENGTHS), tile_px=TILES)
def test_tiles_cover_every_pixel_on_the_grid_and_overlap_by_about_a_quarter(shape, tile_px):
    windows = embedding_windows(shape, tile_px)
    for axis, length in enumerate(shape):
        starts = sorted({(window.y, window.x)[axis] for window in windows})
        assert starts[0] == 0
        assert starts[-1] + tile_px >= length
        assert all(start % 8 == 0 and start < length for start in starts)
        assert starts[-1] - max(length - tile_px, 0) < 8  # none reaches out without need
        assert all(b - a <= 0.75 * tile_px + 8 for a, b in pairwise(starts))


class Places:
    """An encoder whose embedding says where in the section each cell's middle lies, and counts."""

    def __init__(self, grid: int) -> None:
        self.grid, self.num_tiles = grid, 0

    def __call__(self, pixels: np.ndarray, frame: ModelFrame) -> np.ndarray:
        self.num_tiles += 1
        middles = (np.arange(self.grid) + 0.5) * frame.tile_px / self.grid
        ys, xs = np.meshgrid(*(origin + middles for origin in frame.origin_yx), indexing="ij")
        return np.stack([ys, xs, np.full_like(ys, self.num_tiles)])


@settings(max_examples=50)
@given(
    shape=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    tile_px=st.sampled_from([64, 96, 100, 129]),
    grid=st.sampled_from([8, 16, 25]),
)
def test_each_cell_holds_what_its_tile_says_of_its_own_place(shape, tile_px, grid):
    encode = Places(grid)
    section = np.zeros(shape, np.uint8)
    found = section_embedding(section, encode, tile_px=tile_px, input_px=1024)
    assert found.shape == (3, -(-shape[0] // 8), -(-shape[1] // 8))
    assert encode.num_tiles == len(embedding_windows(shape, tile_px))
    ys, xs = ((np.arange(n) + 0.5) * 8 for n in found.shape[1:])
    # Within half a cell of its own, an embedding knows nothing finer: there it holds the border.
    slack = max(tile_px / grid / 2, 4) + 1e-3
    inner = (ys > slack) & (ys < shape[0] - slack), (xs > slack) & (xs < shape[1] - slack)
    expected = np.stack(np.meshgrid(ys, xs, indexing="ij"))
    np.testing.assert_allclose(found[:2], expected, atol=slack + 4)
    inside = np.ix_([0, 1], *inner)
    np.testing.assert_allclose(found[inside], expected[inside], atol=1e-2)


def test_a_cell_is_taken_from_the_tile_in_which_it_lies_most_centrally():
    encode = Places(8)
    found = section_embedding(np.zeros((64, 112), np.uint8), encode, tile_px=64, input_px=1024)
    assert [w.x for w in embedding_windows((64, 112), 64)] == [0, 48]
    tiles = found[2, 4]
    np.testing.assert_array_equal(tiles[:7], 1)
    np.testing.assert_array_equal(tiles[7:], 2)


@pytest.mark.parametrize("shape", [(1, 50), (50, 1), (1, 1)])
def test_a_section_of_one_row_or_column_has_one_row_or_column_of_cells(shape):
    found = section_embedding(np.zeros(shape, np.uint8), Places(8), tile_px=64, input_px=1024)
    assert found.shape[1:] == tuple(-(-n // 8) for n in shape)


def places_of(window: Window) -> np.ndarray:
    """An embedding of 8 x 8 cells that say which tile, row and column they are."""
    rows, columns = np.mgrid[:8, :8]
    return np.stack([np.full((8, 8), c) for c in (window.y, window.x)] + [rows, columns])


@given(st.tuples(st.integers(9, 260), st.integers(9, 260)), st.data())
def test_a_part_is_cut_from_the_whole_and_reads_only_its_tiles(shape, data):
    height, width = cells_of(shape)
    whole = embedding_part(shape, Window(0, 0, height, width), places_of, tile_px=64)
    y, x = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    wanted = Window(
        y, x, data.draw(st.integers(1, height - y)), data.draw(st.integers(1, width - x))
    )
    read = []
    part = embedding_part(
        shape, wanted, lambda tile: (read.append(tile), places_of(tile))[1], tile_px=64
    )
    expected = whole[:, y : y + wanted.height, x : x + wanted.width]
    np.testing.assert_array_equal(part, expected)
    assert len(read) == len({tuple(corner) for corner in expected[:2].reshape(2, -1).T})
