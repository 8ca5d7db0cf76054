"""A volume of many gigabytes that is empty but for two places, and small on the disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import zarr

from benchmarks.fresh import reply
from mitosam.data.phantom import make_phantom

SHAPES_ZYX = {
    1: (500, 1500, 1400),
    4: (500, 4000, 2000),
    16: (1000, 4000, 4000),
    40: (2500, 4000, 4000),
}
"""Of a volume of so many GB; a voxel is a byte."""
CHUNK_ZYX = (32, 512, 512)
TISSUE_ZYX = (8, 320, 320)
VOXEL_SIZE_NM = (10.0, 10.0, 10.0)


def measure(*, folder: str, size_gb: int) -> dict[str, Any]:
    """Write a volume, unless it is there."""
    path = Path(folder) / volume_name(size_gb)
    if not path.exists():
        write_volume(path, SHAPES_ZYX[size_gb])
    return {"shape_zyx": SHAPES_ZYX[size_gb]}


def volume_name(size_gb: int) -> str:
    """The folder of a volume."""
    return f"sparse_{size_gb}_gb.zarr"


def write_volume(path: Path, shape_zyx: tuple[int, int, int]) -> None:
    """Tissue a quarter and half way through the sections; other chunks are not on the disk."""
    tissue = make_phantom(TISSUE_ZYX, 3, VOXEL_SIZE_NM).images
    depth, height, width = tissue.shape
    sections, y, x = shape_zyx[0], shape_zyx[1] // 2, shape_zyx[2] // 3
    array = zarr.create_array(
        store=str(path), shape=shape_zyx, chunks=CHUNK_ZYX, dtype="uint8", fill_value=0
    )
    for first in (sections // 4 // depth * depth, sections // 2 // depth * depth):
        array[first : first + depth, y : y + height, x : x + width] = tissue


if __name__ == "__main__":
    reply(measure)
