from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mitosam.geometry import Window
from mitosam.inference.section_embedding import (
    STRIDE_PX,
    cells_of,
    embedding_part,
    embedding_windows,
    section_embedding,
)

TILE_PX, SIDE = 64, 8
SHAPES = st.tuples(st.integers(9, 260), st.integers(9, 260))


def places_of(window: Window) -> np.ndarray:
    """An embedding whose cells say which tile, row and column they are."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return np.stack([np.full((SIDE, SIDE), c) for c in (window.y, window.x)] + [rows, columns])


@given(SHAPES)
def test_a_cell_shows_the_place_it_stands_for(shape):
    height, width = cells_of(shape)
    whole = Window(0, 0, height, width)
    y, x, row, column = embedding_part(shape, whole, places_of, tile_px=TILE_PX)
    rows, columns = np.mgrid[:height, :width]
    np.testing.assert_array_equal(y // STRIDE_PX + row, rows)
    np.testing.assert_array_equal(x // STRIDE_PX + column, columns)


@given(SHAPES)
def test_no_other_tile_sees_a_cell_more_centrally(shape):
    height, width = cells_of(shape)
    whole = Window(0, 0, height, width)
    _, _, row, column = embedding_part(shape, whole, places_of, tile_px=TILE_PX)
    depth = np.minimum.reduce([row, column, SIDE - 1 - row, SIDE - 1 - column])
    for window in embedding_windows(shape, TILE_PX):
        rows, columns = np.mgrid[:height, :width] - np.array(
            [window.y // STRIDE_PX, window.x // STRIDE_PX]
        ).reshape(2, 1, 1)
        assert (
            np.minimum.reduce([rows, columns, SIDE - 1 - rows, SIDE - 1 - columns]) <= depth
        ).all()


@given(SHAPES, st.data())
def test_a_part_is_cut_from_the_whole(shape, data):
    height, width = cells_of(shape)
    whole = embedding_part(shape, Window(0, 0, height, width), places_of, tile_px=TILE_PX)
    y, x = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    wanted = Window(
        y, x, data.draw(st.integers(1, height - y)), data.draw(st.integers(1, width - x))
    )
    part = embedding_part(shape, wanted, places_of, tile_px=TILE_PX)
    np.testing.assert_array_equal(part, whole[:, y : y + wanted.height, x : x + wanted.width])


def test_a_coarser_tile_is_brought_to_the_grid():
    section = np.zeros((64, 64), np.uint8)
    embedding = section_embedding(
        section, lambda pixels, frame: np.ones((3, 4, 4)), tile_px=TILE_PX, input_px=64
    )
    np.testing.assert_array_equal(embedding, np.ones((3, 8, 8)))
