"""A volume of any size to segment: slices of made-up tissue in each cell, and nothing between.

What holds nothing is not on the disk, as in an OME-Zarr of a large specimen. Every cell is the same
but for its place, so that twice the cells are twice the work, and nothing else changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from benchmarks.fresh import reply
from mitosam.data.phantom import make_phantom
from mitosam.io.ome_zarr_spec import VolumeSpec
from mitosam.io.ome_zarr_writer import write_ome_zarr

CELL_PX, NUM_SECTIONS = 1024, 48
TISSUE_ZYX = (12, 384, 384)
CORNER_YX = (64, 64)  # of the tissue in its cell: inside one tile, as tiles are cut
# The tissue lies in slices, so that every block, as deep as blocks are, has its share.
PERIOD, SLICE, BEFORE = 16, 4, 6


def measure(*, folder: str, cells: int) -> dict[str, Any]:
    """Write a volume of cells x cells cells, unless it is there."""
    path = Path(folder) / volume_name(cells)
    if not path.exists():
        write_volume(path, cells)
    return {"gigavoxels": gigavoxels(cells)}


def volume_name(cells: int) -> str:
    """The folder of a volume."""
    return f"cells_{cells}.ome.zarr"


def gigavoxels(cells: int) -> float:
    """The size of a volume."""
    return NUM_SECTIONS * (cells * CELL_PX) ** 2 / 1e9


def write_volume(path: Path, cells: int) -> None:
    """Sections of cells, one after the other."""
    side = cells * CELL_PX
    phantom = make_phantom(TISSUE_ZYX, seed=0)
    spec = VolumeSpec(
        shape_zyx=(NUM_SECTIONS, side, side),
        dtype=np.dtype(np.uint8),
        kind="image",
        voxel_size_nm=phantom.voxel_size_nm,
    )
    write_ome_zarr(path, _sections(phantom.images, cells), spec)


def _sections(tissue: UInt8[np.ndarray, "z y x"], cells: int) -> Iterator[UInt8[np.ndarray, "h w"]]:
    y0, x0 = CORNER_YX
    _, height, width = tissue.shape
    for z in range(NUM_SECTIONS):
        cell = np.zeros((CELL_PX, CELL_PX), np.uint8)
        number, within = divmod(z, PERIOD)
        if BEFORE <= within < BEFORE + SLICE:
            section = tissue[number * SLICE + within - BEFORE]
            cell[y0 : y0 + height, x0 : x0 + width] = section
        yield np.tile(cell, (cells, cells))


if __name__ == "__main__":
    reply(measure)
