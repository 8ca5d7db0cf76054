"""Sections of ids, cut into square blocks that are packed one by one."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt32

BLOCK_PX = 256
Ids = UInt32[np.ndarray, "height width"]


@dataclass(frozen=True, slots=True, order=True)
class BlockPlace:
    """Which block: its section, and its row and column among the blocks of the section."""

    z: int
    row: int
    column: int

    @property
    def corner_yx(self) -> tuple[int, int]:
        """Its upper left pixel."""
        return self.row * BLOCK_PX, self.column * BLOCK_PX

    def shape_in(self, shape_yx: tuple[int, int]) -> tuple[int, int]:
        """Its size in a section of this shape: blocks at the lower and right edge are smaller."""
        (y, x), (height, width) = self.corner_yx, shape_yx
        return min(BLOCK_PX, height - y), min(BLOCK_PX, width - x)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartOfBlock:
    """How a region of a section and one block overlap: the overlap's slices in either."""

    place: BlockPlace
    in_block: tuple[slice, slice]
    in_region: tuple[slice, slice]


def parts(z: int, y: int, x: int, shape_yx: tuple[int, int]) -> Iterator[PartOfBlock]:
    """The blocks that a region of this shape, with its corner at y, x, overlaps.

    >>> [part.place.column for part in parts(0, 0, 200, (10, 100))]
    [0, 1]
    """
    for row, in_block_y, in_region_y in _overlaps(y, shape_yx[0]):
        for column, in_block_x, in_region_x in _overlaps(x, shape_yx[1]):
            yield PartOfBlock(
                place=BlockPlace(z, row, column),
                in_block=(in_block_y, in_block_x),
                in_region=(in_region_y, in_region_x),
            )


def _overlaps(start: int, length: int) -> Iterator[tuple[int, slice, slice]]:
    """Along one axis: the block's index, and the slices in it and in the region."""
    for index in range(start // BLOCK_PX, -(-(start + length) // BLOCK_PX)):
        origin = index * BLOCK_PX
        low, high = max(start, origin), min(start + length, origin + BLOCK_PX)
        yield index, slice(low - origin, high - origin), slice(low - start, high - start)


def pack(ids: Ids) -> bytes | None:
    """The block in few bytes; None for one without any object."""
    return zlib.compress(ids.astype("<u4").tobytes(), level=1) if ids.any() else None


def unpack(packed: bytes | None, shape_yx: tuple[int, int]) -> Ids:
    """The block again, writable.

    Raises
    ------
    ValueError
        The bytes are not those of a block of this shape.
    """
    if packed is None:
        return np.zeros(shape_yx, np.uint32)
    height, width = shape_yx
    try:
        unpacked = zlib.decompressobj().decompress(packed, 4 * height * width + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    return np.frombuffer(unpacked, "<u4").astype(np.uint32).reshape(shape_yx)


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """One object in one block: its pixels, and the box round them in the section (x1, y1 open)."""

    id: int
    area_px: int
    box_xyxy: tuple[int, int, int, int]


def presences(ids: Ids, corner_yx: tuple[int, int]) -> list[Presence]:
    """The objects of a block that lies at `corner_yx`."""
    found = []
    for number in np.unique(ids[ids > 0]):
        ys, xs = np.nonzero(ids == number)
        y, x = corner_yx
        box = (x + xs.min(), y + ys.min(), x + xs.max() + 1, y + ys.max() + 1)
        found.append(
            Presence(
                id=int(number),
                area_px=len(ys),
                box_xyxy=(int(box[0]), int(box[1]), int(box[2]), int(box[3])),
            )
        )
    return found
