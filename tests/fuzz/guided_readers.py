"""Parsers that read less than a whole file, as functions of a path."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from mitosam.io import tiff_voxels
from mitosam.io.ome_zarr_metadata import read_multiscale, read_node
from mitosam.io.zarr_limits import check_unpacked


def read_zarr_group(path: Path) -> None:
    """The metadata of a group or array, and the voxel size in it."""
    image = read_multiscale(read_node(path.parent))
    if image is not None:
        tiff_voxels.plausible_voxel_size_nm("a", image.sizes_nm("a"), 3)


def read_ome_xml(path: Path) -> None:
    """The voxel size of an OME-TIFF's description."""
    sizes = tiff_voxels._from_ome(path.read_text("utf-8", errors="replace"))
    tiff_voxels.plausible_voxel_size_nm("a", sizes, 3)


def read_chunk(path: Path) -> None:
    """How much a chunk unpacks to, by each compressor."""
    packed = path.read_bytes()
    for compressor in ("zstd", "gzip", "zlib", "bz2", "lzma", "lz4", "blosc"):
        with suppress(EOFError):
            check_unpacked("a", compressor, packed, 2**20)
