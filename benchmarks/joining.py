"""How long it takes to join the blocks of a volume, and how much memory: no voxel is read for it.

python -m benchmarks.joining 4 8 16      volumes of so many blocks along each axis
"""

from __future__ import annotations

import sys
import time

import numpy as np

from mitosam.geometry import Box
from mitosam.inference.blocks import BlockGrid
from mitosam.inference.cores import CoreSummary, number_cores, summarise_cores
from mitosam.inference.joining import join_cores
from mitosam.workflows.peak_memory import peak_bytes

DEPTH, SIDE = 16, 1024
DISCS_PER_SECTION, RADIUS_PX = 15, 25
"""As many and as large as mitochondria on the EPFL volume."""
LINK_OVERLAP = 0.1


def main() -> None:
    for text in sys.argv[1:] or ("4", "8", "16"):
        grid = BlockGrid(
            (DEPTH * int(text), SIDE * int(text), SIDE * int(text)), (DEPTH, SIDE, SIDE)
        )
        summaries = [_summary(grid)] * len(grid)
        started = time.perf_counter()
        joined = join_cores(grid, summaries.__getitem__, LINK_OVERLAP)
        seconds = time.perf_counter() - started
        print(
            f"{np.prod(grid.shape_zyx) / 1e9:.1f} gigavoxels, {len(grid)} blocks, "
            f"{len(joined.numbers)} cores: {seconds:.1f} s, {1e3 * seconds / len(grid):.1f} ms a "
            f"block, peak {peak_bytes() / 1e9:.2f} GB"
        )


def _summary(grid: BlockGrid) -> CoreSummary:
    """Of a block of discs that go through all its sections; every block is alike."""
    rng = np.random.default_rng(0)
    ys, xs = np.mgrid[: SIDE + 1, : SIDE + 1]
    section = np.zeros(ys.shape, bool)
    for y, x in rng.integers(0, SIDE, (DISCS_PER_SECTION, 2)):
        section |= (ys - y) ** 2 + (xs - x) ** 2 < RADIUS_PX**2
    labels = number_cores([section] * DEPTH)
    return summarise_cores(
        labels, Box((0, 0, 0), (DEPTH, SIDE, SIDE)), grid.shape_zyx, LINK_OVERLAP
    )


if __name__ == "__main__":
    main()
