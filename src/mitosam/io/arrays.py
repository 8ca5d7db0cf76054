"""Arrays that mitosam keeps as `.npy`, mapped from disk, with nothing in them ever run."""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np

from mitosam.checksums import damaged
from mitosam.errors import InputError
from mitosam.io.limits import CHUNK

ARRAY_ERRORS: tuple[type[Exception], ...] = (
    OSError, ValueError, EOFError, ArithmeticError, TypeError, LookupError, MemoryError,
    SyntaxError, RecursionError, TokenError,
)  # fmt: skip
"""What numpy raises on files that are cut short or damaged, its header's parser included."""
_PACKED_ERRORS: tuple[type[Exception], ...] = (
    *ARRAY_ERRORS, zipfile.BadZipFile, zlib.error, NotImplementedError,
)  # fmt: skip


def map_array(path: Path, way_out: str = "make it anew") -> np.ndarray[Any, Any]:
    """The array in a file, read as it is looked at; numbers and truth values alone.

    Raises
    ------
    DamagedFileError
        The file is damaged, is not there, or holds something else; `way_out` says what to do.
    """
    try:
        array: np.ndarray[Any, Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except ARRAY_ERRORS as error:
        raise damaged(path, str(error)[:200] or type(error).__name__, way_out=way_out) from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "buif":
        raise damaged(path, "it holds no array of numbers", way_out=way_out)
    return array


def unpack_arrays(
    path: Path, packed: bytes, names: Collection[str] = ()
) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of numbers and texts, all or those named, in the bytes of an `.npz` from `path`.

    Raises
    ------
    DamagedFileError
        They are damaged, one is not there, or one says to be longer than it is.
    InputError
        One is larger than a chunk may be.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            wanted = names or [name.removesuffix(".npy") for name in archive.namelist()]
            return {name: _unpack(path, archive, f"{name}.npy") for name in wanted}
    except InputError:
        raise
    except _PACKED_ERRORS as error:
        raise damaged(path, str(error)[:200] or type(error).__name__) from error


def _unpack(path: Path, archive: zipfile.ZipFile, member: str) -> np.ndarray[Any, Any]:
    info = archive.getinfo(member)
    CHUNK.check(f"{path}, {member}", info.file_size)
    with archive.open(info) as file:
        np.lib.format.read_magic(file)  # of version 1, as numpy writes all that is short
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        num_bytes = file.tell() + math.prod(shape) * dtype.itemsize
    if dtype.kind not in "buifU" or num_bytes != info.file_size:
        raise ValueError(f"{member} holds {info.file_size} bytes, and no {shape} of {dtype}")
    with archive.open(info) as file:
        array: np.ndarray[Any, Any] = np.lib.format.read_array(file, allow_pickle=False)
    return array
