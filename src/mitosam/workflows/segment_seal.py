"""Volumes that a segmentation finished before it was stopped: whether they are still whole."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

from mitosam.checksums import checksum, read_sealed, write_sealed
from mitosam.errors import DamagedFileError
from mitosam.io.ome_zarr_check import find_unreadable
from mitosam.progress import Progress

log = logging.getLogger(__name__)

METADATA = ("zarr.json", ".zgroup", ".zarray", ".zattrs")


def seal_volume(volume: Path, seal: Path) -> None:
    """Note the files of a finished volume: sizes of chunks, checksums of metadata."""
    write_sealed(seal, json.dumps(_files(volume)).encode())


def remove_damaged_volume(volume: Path, seal: Path, progress: Progress) -> None:
    """Remove a volume that is not as it was sealed, so that it is made again, and say so."""
    if not volume.exists():
        return
    try:
        is_whole = json.loads(read_sealed(seal)) == _files(volume)
    except (FileNotFoundError, DamagedFileError):
        is_whole = False  # stopped before it was sealed, or who knows
    if is_whole and not any(find_unreadable(volume, progress)):
        return
    log.warning("%s is not as it was finished, and is made again", volume)
    shutil.rmtree(volume)


def _files(volume: Path) -> dict[str, str | int]:
    paths = sorted(path for path in volume.rglob("*") if path.is_file())
    return {
        path.relative_to(volume).as_posix(): (
            checksum(path.read_bytes()) if path.name in METADATA else path.stat().st_size
        )
        for path in paths
    }
