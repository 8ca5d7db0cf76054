"""Partial results on disk, from which a measurement that was stopped goes on."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mitosam.checksums import read_sealed, write_sealed
from mitosam.errors import DamagedFileError
from mitosam.io.arrays import unpack_arrays

log = logging.getLogger(__name__)

Arrays = Mapping[str, np.ndarray]
_KEY = "key"
_MADE_BY = "mitosam measure 1"
"""Changes whenever the same voxels would be counted otherwise."""


def content_key(facts: Mapping[str, object], arrays: Mapping[str, np.ndarray | None]) -> str:
    """A hash of all that a result depends on: JSON's kinds of facts, and whole arrays.

    Most blocks of a large volume hold nothing, and to see that is quicker than to hash it.
    """
    text = json.dumps({**facts, "made_by": _MADE_BY}, sort_keys=True)
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        if array is not None:
            blank = not array.any()
            digest.update(f"{name} {array.shape} {array.dtype.str} {blank}".encode())
            if not blank:
                digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def kept_name(kind: str, number: int) -> str:
    """The name of one of many results of a kind."""
    return f"{kind}_{number:08d}"


@dataclass(frozen=True, slots=True)
class Kept:
    """A folder of results, each with the key of what it was made from."""

    folder: Path

    def save(self, name: str, key: str, arrays: Arrays) -> None:
        """Keep a result, whole or not at all.

        Raises
        ------
        StorageError
            The disk is full or cannot be written.
        """
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
            for member, array in {_KEY: np.array(key), **arrays}.items():
                with file.open(f"{member}.npy", "w") as entry:
                    np.lib.format.write_array(entry, np.asarray(array), allow_pickle=False)
        write_sealed(self._path(name), buffer.getbuffer())

    def load(self, name: str, *members: str) -> dict[str, np.ndarray]:
        """A result, or only some of its arrays.

        Raises
        ------
        FileNotFoundError
            There is none.
        DamagedFileError
            It is not whole, or a byte of it changed.
        """
        path = self._path(name)
        found = unpack_arrays(path, read_sealed(path), members)
        return {member: array for member, array in found.items() if member != _KEY}

    def key(self, name: str) -> str | None:
        """Of what the result was made; None where there is none, or it is damaged."""
        path = self._path(name)
        try:
            return str(unpack_arrays(path, read_sealed(path), [_KEY])[_KEY])
        except FileNotFoundError:
            return None
        except DamagedFileError as error:
            log.warning("%s; it is made anew", error)
            return None

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.npz"
