"""Arrays that mitosam keeps as `.npy`, mapped from disk, with nothing in them ever run."""

from __future__ import annotations

from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np

from mitosam.checksums import damaged

ARRAY_ERRORS: tuple[type[Exception], ...] = (
    OSError, ValueError, EOFError, ArithmeticError, TypeError, LookupError, MemoryError,
    SyntaxError, RecursionError, TokenError,
)  # fmt: skip
"""What numpy raises on files that are cut short or damaged, its header's parser included."""


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
