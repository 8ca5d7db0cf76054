"""Whether a zarr volume can be read from its first chunk to its last."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mitosam.errors import InputError
from mitosam.io.ome_zarr_metadata import is_zarr, read_node
from mitosam.io.ome_zarr_reader import ZARR_ERRORS
from mitosam.io.zarr_limits import open_guarded
from mitosam.progress import SILENT, Progress

if TYPE_CHECKING:
    import zarr

    Array = zarr.Array[Any]

_CHUNK_FILE = re.compile(r"(?:c[/.])?(\d+(?:[/.]\d+)*)")


def find_unreadable(path: Path, progress: Progress = SILENT) -> Iterator[str]:
    """What cannot be read of an OME-Zarr that mitosam wrote: each chunk has a checksum.

    A chunk that is missing is not found, as one without any object has no file.
    """
    try:
        levels = dict(_levels(path))
    except ZARR_ERRORS as error:
        yield f"its metadata cannot be read: {error}"
        return
    if not levels:
        yield "it holds no volume"
    for name, array in levels.items():
        stored = _stored(path / name, array)
        title = f"reading level {name} of {path.name}"
        for start, stop in progress.track(stored, title, total=len(stored), unit="chunk"):
            yield from (f"level {name}, {what}" for what in _unreadable(array, start, stop))


def _levels(path: Path) -> Iterator[tuple[str, Array]]:
    folder = read_node(path).folder
    for name in sorted(folder.children()):
        if is_zarr(folder.at(name)):
            node = read_node(folder.at(name))
            if node.is_array:
                array = open_guarded(node.folder, node.compressor, zarr_format=node.zarr_format)
                if 0 in array.chunks:
                    raise InputError(f"{node.folder} has chunks of {array.chunks} voxels")
                yield name, array


def _stored(folder: Path, array: Array) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Where the voxels of each file of chunks begin and end, in order.

    Of the files that are there, as metadata can tell of more chunks than could ever be asked for.
    """
    sides = array.shards or array.chunks
    found = []
    for file in folder.rglob("*"):
        matched = _CHUNK_FILE.fullmatch(file.relative_to(folder).as_posix())
        place = tuple(map(int, re.split("[/.]", matched[1]))) if matched else ()
        starts = tuple(number * side for number, side in zip(place, sides, strict=False))
        is_inside = len(place) == array.ndim and all(map(int.__lt__, starts, array.shape))
        if is_inside and file.is_file():
            ends = (start + side for start, side in zip(starts, sides, strict=True))
            found.append((starts, tuple(map(min, ends, array.shape))))
    return sorted(found)


def _unreadable(array: Array, start: tuple[int, ...], stop: tuple[int, ...]) -> Iterator[str]:
    """The chunks of one file that cannot be read; none after one whose index is damaged."""
    steps = [range(*along) for along in zip(start, stop, array.chunks, strict=True)]
    for corner in itertools.product(*steps):
        ends = map(min, (a + b for a, b in zip(corner, array.chunks, strict=True)), stop)
        try:
            array[tuple(map(slice, corner, ends))]
        except ZARR_ERRORS as error:
            first = ", ".join(map(str, corner[-3:]))
            yield f"the chunk from voxel ({first}) on cannot be read: {error}"
            return
