"""A volume cut into equal blocks: where each lies, and what lies beside it."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

from mitosam.geometry import Box

Zyx = tuple[int, int, int]
STEP_PX = 256
"""Sides of blocks are multiples of this, unless one block spans the volume."""


@dataclass(frozen=True, slots=True)
class BlockGrid:
    """Blocks of `block_zyx` voxels, section by section and row by row; the last are smaller."""

    shape_zyx: Zyx
    block_zyx: Zyx

    def __len__(self) -> int:
        return math.prod(self.counts_zyx)

    @property
    def counts_zyx(self) -> Zyx:
        """How many blocks stand along each axis."""
        z, y, x = (-(-n // b) for n, b in zip(self.shape_zyx, self.block_zyx, strict=True))
        return z, y, x

    def place(self, number: int) -> Zyx:
        """How many blocks stand before one along each axis."""
        _, rows, columns = self.counts_zyx
        return number // (rows * columns), number // columns % rows, number % columns

    def box(self, number: int) -> Box:
        """The voxels of a block."""
        z, y, x = (i * b for i, b in zip(self.place(number), self.block_zyx, strict=True))
        depth, rows, columns = self.block_zyx
        return Box((z, y, x), (z + depth, y + rows, x + columns)).within(self.shape_zyx)

    def after(self, number: int, axis: int) -> int | None:
        """The next block along z, y or x (0, 1 or 2)."""
        _, rows, columns = self.counts_zyx
        if self.place(number)[axis] + 1 == self.counts_zyx[axis]:
            return None
        return number + (rows * columns, columns, 1)[axis]

    def blocks_in(self, box: Box) -> list[int]:
        """The blocks that hold a voxel of a box, in their order."""
        _, rows, columns = self.counts_zyx
        ranges = [
            range(a // b, -(-z // b))
            for a, z, b in zip(box.start_zyx, box.stop_zyx, self.block_zyx, strict=True)
        ]
        return [(z * rows + y) * columns + x for z, y, x in itertools.product(*ranges)]


def sections_grid(shape_zyx: Zyx, sections: int) -> BlockGrid:
    """Blocks of whole sections."""
    return BlockGrid(shape_zyx, (min(sections, shape_zyx[0]), *shape_zyx[1:]))


def square_grid(shape_zyx: Zyx, depth: int, max_voxels: int) -> BlockGrid:
    """Blocks of about `max_voxels`, `depth` sections deep if that leaves their sides long enough.

    >>> square_grid((165, 768, 1024), 16, 1 << 24).block_zyx
    (16, 768, 1024)
    >>> square_grid((10_000, 50_000, 60_000), 16, 1 << 24).block_zyx
    (16, 1024, 1024)
    """
    depth = min(depth, shape_zyx[0])
    if depth * math.prod(shape_zyx[1:]) <= max_voxels:
        return BlockGrid(shape_zyx, (depth, *shape_zyx[1:]))
    side = max(math.isqrt(max_voxels // depth) // STEP_PX, 1) * STEP_PX
    return BlockGrid(shape_zyx, (depth, min(side, shape_zyx[1]), min(side, shape_zyx[2])))
