"""The blocks that a volume is measured in."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

from mitosam.geometry import Box
from mitosam.io.volume import Volume

BYTES_A_VOXEL = 160
"""What counting a block takes at most. Measured: 154 on noise of 255 ids, where each voxel is a run
of its own and every cell is uneven; 7 to 11 on labels of mitochondria."""
MAX_BLOCK_VOXELS = 2**24
"""Larger blocks are not quicker, and more is lost when one is interrupted."""


@dataclass(frozen=True, slots=True)
class BlockGrid:
    """A volume cut along its axes; edges begin with 0 and end with the volume's."""

    edges_zyx: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]

    @classmethod
    def regular(cls, shape_zyx: tuple[int, int, int], block_zyx: tuple[int, int, int]) -> BlockGrid:
        """Blocks of one shape; the last ones are cut off where the volume ends.

        >>> len(BlockGrid.regular((4, 5, 6), (4, 3, 3)))
        4
        """
        z, y, x = ((*range(0, n, step), n) for n, step in zip(shape_zyx, block_zyx, strict=True))
        return cls((z, y, x))

    @property
    def shape_zyx(self) -> tuple[int, int, int]:
        """The volume's."""
        z, y, x = (edges[-1] for edges in self.edges_zyx)
        return z, y, x

    @property
    def num_zyx(self) -> tuple[int, int, int]:
        """How many blocks stand along each axis."""
        z, y, x = (len(edges) - 1 for edges in self.edges_zyx)
        return z, y, x

    def __len__(self) -> int:
        return math.prod(self.num_zyx)

    def box(self, number: int) -> Box:
        """The block of this number; they count along x, then y, then z."""
        _, rows, columns = self.num_zyx
        places = (number // (rows * columns), number // columns % rows, number % columns)
        pairs = [(edges[i], edges[i + 1]) for edges, i in zip(self.edges_zyx, places, strict=True)]
        (z0, z1), (y0, y1), (x0, x1) = pairs
        return Box((z0, y0, x0), (z1, y1, x1))

    def layers(self) -> list[range]:
        """The blocks' numbers, those that share sections together, from the first section on."""
        _, rows, columns = self.num_zyx
        step = rows * columns
        return [range(first, first + step) for first in range(0, len(self), step)]

    def behind(self, number: int, axis: int) -> int | None:
        """The block that follows along an axis, if there is one."""
        num = self.num_zyx
        step = math.prod(num[axis + 1 :])
        return number + step if number // step % num[axis] + 1 < num[axis] else None

    def touched(self, box: Box) -> list[int]:
        """The blocks that share voxels with a box."""
        _, rows, columns = self.num_zyx
        spans = [
            [i for i, (a, b) in enumerate(itertools.pairwise(edges)) if a < stop and start < b]
            for edges, start, stop in zip(self.edges_zyx, box.start_zyx, box.stop_zyx, strict=True)
        ]
        return [(z * rows + y) * columns + x for z, y, x in itertools.product(*spans)]


def plan_blocks(volume: Volume, memory_bytes: float) -> BlockGrid:
    """Blocks of whole chunks that memory holds, or of whole sections where a file has no boxes."""
    most = max(1, int(min(memory_bytes / BYTES_A_VOXEL, MAX_BLOCK_VOXELS)))
    shape = volume.shape_zyx
    if volume.read_box is None:
        depth = max(1, min(shape[0], most // (shape[1] * shape[2])))
        return BlockGrid.regular(shape, (depth, shape[1], shape[2]))
    block = [min(n, size) for n, size in zip(volume.chunk_zyx or (1, 1, 1), shape, strict=True)]
    while math.prod(block) > most:  # chunks that are too large are read several times
        longest = max(range(3), key=lambda axis: block[axis])
        block[longest] = -(-block[longest] // 2)
    while growing := [a for a in range(3) if block[a] < shape[a] and 2 * math.prod(block) <= most]:
        shortest = min(growing, key=lambda axis: block[axis])
        block[shortest] = min(2 * block[shortest], shape[shortest])
    return BlockGrid.regular(shape, (block[0], block[1], block[2]))
