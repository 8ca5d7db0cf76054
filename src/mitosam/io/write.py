"""Label volumes as OME-TIFF, which Fiji, napari and `open_volume` read with their voxel size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from mitosam.errors import InputError
from mitosam.storage import atomic_path

BIGTIFF_FROM_BYTES = 2**32 - 2**25
"""Uncompressed size from which TIFF's 32-bit offsets may not suffice."""


def write_stack_tiff(
    path: Path,
    labels: Int[np.ndarray, "z y x"],
    voxel_size_nm: tuple[float, float, float] | None,
) -> None:
    """Write instance ids section by section, compressed without loss.

    `labels` may be mapped from disk. The file replaces `path` once it is complete.
    """
    import tifffile

    if labels.ndim != 3 or labels.dtype.kind not in "ui" or 0 in labels.shape:
        raise InputError(
            f"labels must be whole numbers with the axes z, y and x, got {labels.dtype} "
            f"of shape {labels.shape}"
        )
    with atomic_path(path) as temporary:
        tifffile.imwrite(
            temporary,
            (np.ascontiguousarray(section) for section in labels),
            shape=labels.shape,
            dtype=labels.dtype,
            ome=True,
            bigtiff=labels.nbytes > BIGTIFF_FROM_BYTES,
            compression="zlib",
            photometric="minisblack",
            metadata={"axes": "ZYX", **_voxel_metadata(voxel_size_nm)},
        )


def _voxel_metadata(voxel_size_nm: tuple[float, float, float] | None) -> dict[str, Any]:
    if voxel_size_nm is None:
        return {}
    metadata: dict[str, Any] = {}
    for axis, size in zip("ZYX", voxel_size_nm, strict=True):
        metadata[f"PhysicalSize{axis}"] = size
        metadata[f"PhysicalSize{axis}Unit"] = "nm"
    return metadata
