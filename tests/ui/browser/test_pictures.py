from __future__ import annotations

import zlib

import imageio.v3 as iio
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from mitosam.errors import InputError
from mitosam.ui.browser import pictures
from mitosam.ui.browser.pictures import (
    Tile,
    hex_palette,
    image_tile,
    label_tile,
    overlaid,
    packed_ids,
    png,
    runs,
)

SHAPES = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40)


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    monkeypatch.setattr(pictures, "TILE_PX", 8)
    monkeypatch.setattr(pictures, "BAND_PX", 4)


class Whole:
    """Labels held as one array."""

    def __init__(self, ids):
        self.ids = ids

    def labels_region(self, z, y, x, shape_yx):
        assert z == 3
        return self.ids[y : y + shape_yx[0], x : x + shape_yx[1]]


def tiles_of(shape_yx, level):
    side = 8 << level
    for row in range(-(-shape_yx[0] // side)):
        for column in range(-(-shape_yx[1] // side)):
            yield Tile(level=level, row=row, column=column)


def put_together(shape_yx, level, cut):
    rows = {}
    for tile in tiles_of(shape_yx, level):
        rows.setdefault(tile.row, []).append(cut(tile))
    return np.block([rows[row] for row in sorted(rows)])


@given(arrays(np.uint8, SHAPES), st.integers(0, 4))
def test_the_tiles_of_an_image_put_together_are_its_means(image, level):
    step = 1 << level
    found = put_together(image.shape, level, lambda tile: image_tile(image, tile))
    for row, y in enumerate(range(0, image.shape[0], step)):
        for column, x in enumerate(range(0, image.shape[1], step)):
            mean = image[y : y + step, x : x + step].mean()
            assert found[row, column] == int(mean + 0.5)


@given(arrays(np.uint32, SHAPES), st.integers(0, 4))
def test_the_tiles_of_labels_put_together_are_every_so_manieth_pixel(ids, level):
    found = put_together(ids.shape, level, lambda tile: label_tile(Whole(ids), 3, tile, ids.shape))
    assert np.array_equal(found, ids[:: 1 << level, :: 1 << level])


@pytest.mark.parametrize("tile", [(0, 2, 0), (0, 0, 3), (1, 1, 0), (17, 0, 0), (10**9, 0, 0)])
def test_a_tile_outside_the_section_is_refused(tile):
    level, row, column = tile
    with pytest.raises(InputError, match="there is no tile"):
        Tile(level=level, row=row, column=column).bounds((16, 24))


@given(arrays(np.bool_, SHAPES))
def test_runs_give_the_mask_back(mask):
    lengths = runs(mask)
    assert sum(lengths) == mask.size
    again = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    assert np.array_equal(again.reshape(mask.shape), mask)


@given(arrays(np.uint32, SHAPES))
def test_packed_ids_are_little_endian_bytes_deflated(ids):
    again = np.frombuffer(zlib.decompress(packed_ids(ids)), "<u4").reshape(ids.shape)
    assert np.array_equal(again, ids)


def test_colours_are_many_and_written_as_css():
    colours = hex_palette()
    assert len(set(colours)) > 300
    assert all(len(colour) == 7 and colour[0] == "#" for colour in colours)


def test_a_picture_shows_outlines_over_grey_and_shrinks_what_is_large():
    image = np.full((40, 20), 100, np.uint8)
    ids = np.zeros((40, 20), np.int32)
    ids[8:32, 4:16] = 1
    picture = overlaid(image, ids, max_px=20)
    assert picture.shape == (20, 10, 3)
    assert (picture[0, 0] == 100).all()
    red, green, blue = (int(hex_palette()[1][place : place + 2], 16) for place in (1, 3, 5))
    assert picture[4, 2].tolist() == [red, green, blue]
    assert (picture[10, 4] != 100).any()
    assert np.array_equal(iio.imread(png(picture)), picture)
