"""What the page's canvas draws, in the forms in which it travels: tiles, runs and pictures."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8, UInt32

from mitosam.errors import InputError
from mitosam.reporting.colours import palette

TILE_PX = 1024
MAX_LEVEL = 16
NUM_COLOURS = 512
BAND_PX = 1024


class Labelled(Protocol):
    """What can be asked for part of a section's ids."""

    def labels_region(
        self, z: int, y: int, x: int, shape_yx: tuple[int, int]
    ) -> UInt32[np.ndarray, "h w"]:
        """The ids of part of a section, with its corner at y, x."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """A square of a section at one of its scales: level 1 halves it, level 2 quarters it."""

    level: int
    row: int
    column: int

    def bounds(self, shape_yx: tuple[int, int]) -> tuple[int, int, int, int]:
        """Top, left, bottom and right of the tile in the section's own pixels.

        Raises
        ------
        InputError
            There is no such tile.
        """
        side = TILE_PX << min(max(self.level, 0), MAX_LEVEL)
        top, left = self.row * side, self.column * side
        known = 0 <= self.level <= MAX_LEVEL and min(self.row, self.column) >= 0
        if not (known and top < shape_yx[0] and left < shape_yx[1]):
            raise InputError(f"there is no tile {self.level}/{self.row}/{self.column}")
        return top, left, min(top + side, shape_yx[0]), min(left + side, shape_yx[1])


def image_tile(image: UInt8[np.ndarray, "height width"], tile: Tile) -> UInt8[np.ndarray, "h w"]:
    """The grey values of a tile, each the mean of the pixels it stands for."""
    top, left, bottom, right = tile.bounds((image.shape[0], image.shape[1]))
    if tile.level == 0:
        return image[top:bottom, left:right]
    step = 1 << tile.level
    rows = [
        _means(image[y : min(y + step, bottom), left:right], step)
        for y in range(top, bottom, step)
    ]  # fmt: skip
    return np.stack(rows)


def _means(strip: UInt8[np.ndarray, "step width"], step: int) -> UInt8[np.ndarray, " w"]:
    """One row of means over squares; the last square may be narrower."""
    starts = np.arange(0, strip.shape[1], step)
    sums = np.add.reduceat(strip.sum(axis=0, dtype=np.uint32), starts)
    counts = strip.shape[0] * np.diff(np.append(starts, strip.shape[1]))
    means: UInt8[np.ndarray, " w"] = ((sums + counts // 2) // counts).astype(np.uint8)
    return means


def label_tile(
    labels: Labelled, z: int, tile: Tile, shape_yx: tuple[int, int]
) -> UInt32[np.ndarray, "h w"]:
    """The ids of a tile: of every pixel at level 0, of every second one at level 1, and so on."""
    top, left, bottom, right = tile.bounds(shape_yx)
    step = 1 << tile.level
    band = max(BAND_PX, step)
    parts = [
        labels.labels_region(z, y, left, (min(y + band, bottom) - y, right - left))[::step, ::step]
        for y in range(top, bottom, band)
    ]
    return np.concatenate(parts)


def packed_ids(ids: UInt32[np.ndarray, "h w"]) -> bytes:
    """Ids as little-endian bytes, deflated: most of a section is background."""
    return zlib.compress(ids.astype("<u4").tobytes(), level=1)


def runs(mask: Bool[np.ndarray, "h w"]) -> list[int]:
    """Lengths of the runs of equal pixels in reading order, the first one outside the mask.

    >>> runs(np.array([[False, True], [True, False]]))
    [1, 2, 1]
    """
    flat = np.concatenate([[False], mask.ravel()])
    ends = np.append(np.flatnonzero(flat[1:] != flat[:-1]), mask.size)
    lengths: list[int] = np.diff(ends, prepend=0).tolist()
    return lengths


def hex_palette() -> list[str]:
    """The colours of ids: object n has the one at n modulo their number."""
    return ["#{:02x}{:02x}{:02x}".format(*shade) for shade in _shades()]


def _shades() -> UInt8[np.ndarray, "num 3"]:
    shades: UInt8[np.ndarray, "num 3"] = np.rint(255 * palette(NUM_COLOURS)).astype(np.uint8)
    return shades


def overlaid(
    image: UInt8[np.ndarray, "height width"],
    labels: Int[np.ndarray, "height width"],
    *,
    max_px: int = TILE_PX,
) -> UInt8[np.ndarray, "h w 3"]:
    """A picture of a section with its objects outlined in colour, at most `max_px` in either way.

    Every few pixels are left out where the section is larger, so that outlines are drawn last.
    """
    step = max(1, -(-max(image.shape) // max_px))
    grey, ids = image[::step, ::step], labels[::step, ::step]
    colours = _shades()[ids % NUM_COLOURS].astype(np.float32)
    share: Float[np.ndarray, "h w 1"] = np.where(_edges(ids), 1.0, 0.22 * (ids > 0))[..., None]
    blended: UInt8[np.ndarray, "h w 3"] = np.rint(
        (1 - share) * grey[..., None].astype(np.float32) + share * colours
    ).astype(np.uint8)
    return blended


def _edges(ids: Int[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Pixels of an object that touch, side by side, what is not of it."""
    padded = np.pad(ids, 1, mode="edge")
    inner = padded[1:-1, 1:-1]
    differs = np.zeros(ids.shape, bool)
    for neighbour in _neighbours(padded):
        differs |= neighbour != inner
    return differs & (ids > 0)


def _neighbours(padded: Int[np.ndarray, "H W"]) -> Iterator[Int[np.ndarray, "h w"]]:
    yield from (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])


def png(pixels: UInt8[np.ndarray, "h w *channels"]) -> bytes:
    """A PNG file, packed quickly rather than well."""
    from imagecodecs import png_encode

    return bytes(png_encode(np.ascontiguousarray(pixels), level=1))


def png_address(pixels: UInt8[np.ndarray, "h w *channels"]) -> str:
    """A picture as an address that holds it."""
    return f"data:image/png;base64,{base64.b64encode(png(pixels)).decode()}"
