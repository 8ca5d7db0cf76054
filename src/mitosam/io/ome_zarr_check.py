"""Whether a zarr volume can be read from its first chunk to its last."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

from mitosam.io.ome_zarr_pyramid import Zyx, chunk_blocks
from mitosam.progress import SILENT, Progress

if TYPE_CHECKING:
    import zarr

READ_ERRORS = (OSError, ValueError, RuntimeError, KeyError, TypeError)
"""What zarr and its codecs raise on damaged metadata and chunks."""


def find_unreadable(path: Path, progress: Progress = SILENT) -> Iterator[str]:
    """What cannot be read of an OME-Zarr that mitosam wrote: each chunk has a checksum.

    A chunk that is missing is not found, as one without any object has no file.
    """
    import zarr

    try:
        group = zarr.open_group(store=path, mode="r")
        levels = {name: group[name] for name in sorted(group.array_keys())}
    except READ_ERRORS as error:
        yield f"its metadata cannot be read: {error}"
        return
    if not levels:
        yield "it holds no volume"
    for name, level in levels.items():
        array = cast("zarr.Array", level)  # type: ignore[type-arg]
        shape_zyx = cast("Zyx", array.shape[-3:])
        blocks = list(chunk_blocks(shape_zyx, array.chunks[-3:]))
        for block in progress.track(blocks, f"reading level {name} of {path.name}", unit="chunk"):
            try:
                array[(..., *block)]
            except READ_ERRORS as error:
                first = ", ".join(str(one.start) for one in block)
                yield f"level {name}, the chunk from voxel ({first}) on cannot be read: {error}"
