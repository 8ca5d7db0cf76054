"""The files that a zarr array's chunks lie in; chunks of zeros have none."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import zarr


def chunk_files(folder: Path, array: zarr.Array[Any], region: Sequence[slice]) -> Iterator[Path]:
    """Where the chunks that a region touches lie, or would lie, of the array in `folder`."""
    sides = zip(region, array.chunks, array.shape, strict=True)
    ranges = (range(side.start // px, -(-min(side.stop, n) // px)) for side, px, n in sides)
    for place in itertools.product(*ranges):
        yield folder / array.metadata.encode_chunk_key(place)
