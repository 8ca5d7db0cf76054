"""Folders that hold one image file a section."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from mitosam.errors import InputError
from mitosam.geometry import Box
from mitosam.io import raster, tiff
from mitosam.io.grey import log_colour
from mitosam.io.volume import Volume

logger = logging.getLogger(__name__)

SUFFIXES = (*raster.SUFFIXES, *tiff.SUFFIXES)


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """A sort key in which 2 comes before 10.

    >>> sorted(["s10.png", "s2.png"], key=natural_key)
    ['s2.png', 's10.png']
    """
    parts = re.findall(r"[0-9]+|[^0-9]+", name.casefold())
    return (*((0, int(p), p) if p[0].isdigit() else (1, 0, p) for p in parts),)


def open_folder(folder: Path) -> Volume:
    """The image files of a folder in natural order, as one volume.

    Raises
    ------
    InputError
        The folder holds no image, or images that differ in size or dtype.
    """
    paths = _section_paths(folder)
    shape_yx, dtype, num_channels = _header(paths[0])
    for path in paths[1:]:
        _check_alike(paths[0], path, (shape_yx, dtype), _header(path)[:2])
    if num_channels > 2:
        log_colour(f"{folder} ({paths[0].name})", num_channels)
    return Volume(
        name=folder.resolve().name,
        shape_zyx=(len(paths), *shape_yx),
        dtype=dtype,
        section_names=tuple(path.name for path in paths),
        read_section=lambda z: _read(paths[z]),
        read_box=lambda box: _read_box(paths, box),
        chunk_zyx=(1, *shape_yx),
        voxel_size_nm=tiff.open_tiff(paths[0]).voxel_size_nm if _is_tiff(paths[0]) else None,
        named=True,
    )


def _section_paths(folder: Path) -> list[Path]:
    visible = [path for path in folder.iterdir() if not path.name.startswith(".")]
    paths = [path for path in visible if path.is_file() and path.suffix.lower() in SUFFIXES]
    if not paths:
        raise InputError(
            f"{folder} holds no image; give a folder of {', '.join(SUFFIXES)} files, "
            "or a TIFF stack"
        )
    skipped = sorted(path.name for path in set(visible) - set(paths))
    if skipped:
        logger.warning(
            "%s: skipped %d that are no images: %s",
            folder,
            len(skipped),
            ", ".join(skipped[:5]) + (", ..." if len(skipped) > 5 else ""),
        )
    return sorted(paths, key=lambda path: (natural_key(path.name), path.name))


def _is_tiff(path: Path) -> bool:
    return path.suffix.lower() in tiff.SUFFIXES


def _header(path: Path) -> tuple[tuple[int, int], np.dtype[Any], int]:
    """Shape, dtype and values a pixel of one section's file."""
    if not _is_tiff(path):
        header = raster.read_header(path)
        return header.shape_yx, header.dtype, header.num_channels
    volume = tiff.open_tiff(path)
    if len(volume) != 1:
        raise InputError(
            f"{path} in a folder of sections holds {len(volume)} sections itself; "
            "name that file instead of the folder, or split it"
        )
    return volume.shape_zyx[1:], volume.dtype, 1


def _check_alike(
    first: Path,
    path: Path,
    expected: tuple[tuple[int, int], np.dtype[Any]],
    found: tuple[tuple[int, int], np.dtype[Any]],
) -> None:
    if found == expected:
        return
    shown = [f"{w} x {h} px of {dtype}" for (h, w), dtype in (found, expected)]
    raise InputError(
        f"sections of one volume must be alike, but {path} is {shown[0]} and {first.name} is "
        f"{shown[1]}; move it elsewhere, or resize and convert it"
    )


def _read(path: Path) -> Shaped[np.ndarray, "h w"]:
    return tiff.open_tiff(path).section(0) if _is_tiff(path) else raster.read_raster(path)


def _read_box(paths: list[Path], box: Box) -> Shaped[np.ndarray, "z y x"]:
    """The box, of whose sections alone the files are opened."""
    z, y, x = box.slices
    window = Box((0, *box.start_zyx[1:]), (1, *box.stop_zyx[1:]))
    return np.concatenate(
        [
            tiff.open_tiff(path).box(window) if _is_tiff(path) else _read(path)[None, y, x]
            for path in paths[z]
        ]
    )
