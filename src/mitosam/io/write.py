"""Volumes as OME-TIFF, which Fiji, napari and `open_volume` read with their voxel size."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped
from numpy.typing import DTypeLike

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
    if labels.ndim != 3 or labels.dtype.kind not in "ui" or 0 in labels.shape:
        raise InputError(
            f"labels must be whole numbers with the axes z, y and x, got {labels.dtype} "
            f"of shape {labels.shape}"
        )
    depth, height, width = labels.shape
    write_sections_tiff(
        path,
        labels,
        shape_zyx=(depth, height, width),
        dtype=labels.dtype,
        voxel_size_nm=voxel_size_nm,
    )


def write_sections_tiff(
    path: Path,
    sections: Iterable[Shaped[np.ndarray, "height width"]],
    *,
    shape_zyx: tuple[int, int, int],
    dtype: DTypeLike,
    voxel_size_nm: tuple[float, float, float] | None = None,
) -> None:
    """Write labels, grey values or probabilities as they come, one section in memory at a time.

    The file replaces `path` once the last section is in it, compressed without loss.

    Raises
    ------
    InputError
        The sections are more or fewer than `shape_zyx` says, or of another size or dtype.
    """
    import tifffile

    dtype = np.dtype(dtype)
    if 0 in shape_zyx or dtype.kind not in "uif":
        raise InputError(
            f"a TIFF stack needs numbers and at least one voxel, got {dtype} of shape {shape_zyx}"
        )
    remaining = iter(sections)
    with atomic_path(path) as temporary:
        tifffile.imwrite(
            temporary,
            _checked(path, remaining, shape_zyx, dtype),
            shape=shape_zyx,
            dtype=dtype,
            ome=True,
            bigtiff=math.prod(shape_zyx) * dtype.itemsize > BIGTIFF_FROM_BYTES,
            compression="zlib",
            photometric="minisblack",
            metadata={"axes": "ZYX", **_voxel_metadata(voxel_size_nm)},
        )
        if next(remaining, None) is not None:
            raise InputError(f"{path} was to hold {shape_zyx[0]} sections, but more came")


def _checked(
    path: Path,
    sections: Iterator[Shaped[np.ndarray, "height width"]],
    shape_zyx: tuple[int, int, int],
    dtype: np.dtype[Any],
) -> Iterator[Shaped[np.ndarray, "height width"]]:
    """The sections, contiguous; an error if they are too few, or unlike what was announced."""
    count = 0
    for section in sections:
        count += 1
        if section.shape != shape_zyx[1:] or section.dtype != dtype:
            raise InputError(
                f"{path} was to hold {shape_zyx[0]} sections of shape {shape_zyx[1:]} and {dtype}, "
                f"but section {count} is of shape {section.shape} and {section.dtype}"
            )
        yield np.ascontiguousarray(section)
    if count < shape_zyx[0]:
        raise InputError(f"{path} was to hold {shape_zyx[0]} sections, but only {count} came")


def _voxel_metadata(voxel_size_nm: tuple[float, float, float] | None) -> dict[str, Any]:
    if voxel_size_nm is None:
        return {}
    metadata: dict[str, Any] = {}
    for axis, size in zip("ZYX", voxel_size_nm, strict=True):
        metadata[f"PhysicalSize{axis}"] = size
        metadata[f"PhysicalSize{axis}Unit"] = "nm"
    return metadata
