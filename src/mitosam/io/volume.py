"""A stack of sections that is read one section at a time."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Shaped

from mitosam.errors import InputError
from mitosam.geometry import Box
from mitosam.progress import SILENT, Progress

READ_ERRORS: tuple[type[Exception], ...] = (
    OSError,
    ValueError,
    RuntimeError,
    LookupError,
    TypeError,
    SyntaxError,  # Pillow's word for a PNG whose chunks are out of order
    MemoryError,
    ArithmeticError,
    AttributeError,
    EOFError,
    struct.error,
    zlib.error,
)
"""What the decoders raise on files that are cut short or damaged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A stack of equally large grey sections in a file's own dtype, held nowhere as a whole.

    `voxel_size_nm` is z, y, x. `named` says that `section_names` come from files, so that they
    mean something beyond their order. `read_box` is there where a file can be read by boxes, which
    a volume whose sections are larger than memory must be; `chunk_zyx` are the boxes that the file
    itself is made of.
    """

    name: str
    shape_zyx: tuple[int, int, int]
    dtype: np.dtype[Any]
    section_names: tuple[str, ...]
    read_section: Callable[[int], Shaped[np.ndarray, "height width"]]
    voxel_size_nm: tuple[float, float, float] | None = None
    named: bool = False
    read_box: Callable[[Box], Shaped[np.ndarray, "z y x"]] | None = None
    chunk_zyx: tuple[int, int, int] | None = None

    def __len__(self) -> int:
        return self.shape_zyx[0]

    def section(self, z: int) -> Shaped[np.ndarray, "height width"]:
        """Section `z`, read now.

        Raises
        ------
        InputError
            The file turns out to be damaged.
        """
        section = self.read_section(z)
        if section.shape != self.shape_zyx[1:] or section.dtype != self.dtype:
            raise InputError(
                f"{self.name}, {self.section_names[z]} changed while it was in use: "
                f"it was {_described(self.shape_zyx[1:], self.dtype)} and now is "
                f"{_described(section.shape, section.dtype)}; start again"
            )
        return section

    def box(self, box: Box) -> Shaped[np.ndarray, "z y x"]:
        """The voxels of a box inside the volume, read now.

        Raises
        ------
        InputError
            The file turns out to be damaged.
        """
        if self.read_box is None:
            z, y, x = box.slices
            return np.stack([self.section(i)[y, x] for i in range(z.start, z.stop)])
        voxels = self.read_box(box)
        if voxels.shape != box.shape_zyx or voxels.dtype != self.dtype:
            raise InputError(
                f"{self.name} changed while it was in use: the box from {box.start_zyx} to "
                f"{box.stop_zyx} now is of {voxels.dtype} and has the shape {voxels.shape}; "
                "start again"
            )
        return voxels

    def sections(self) -> Iterator[Shaped[np.ndarray, "height width"]]:
        """The sections one after the other."""
        return (self.section(z) for z in range(len(self)))

    def sha256(self, progress: Progress = SILENT) -> str:
        """A hash of shape, dtype and all pixels, whatever the file format."""
        digest = ContentHash(self.shape_zyx, self.dtype)
        for section in progress.track(
            self.sections(), f"hashing {self.name}", total=len(self), unit="section"
        ):
            digest.add(section)
        return digest.hexdigest()


class ContentHash:
    """The hash of a volume, fed section by section."""

    def __init__(self, shape_zyx: tuple[int, int, int], dtype: np.dtype[Any]) -> None:
        self._digest = hashlib.sha256(f"{shape_zyx} {dtype.name}".encode())

    def add(self, section: Shaped[np.ndarray, "height width"]) -> None:
        """Take in the next section."""
        self._digest.update(np.ascontiguousarray(section).data)

    def hexdigest(self) -> str:
        """The hash of all sections so far, in hexadecimal."""
        return self._digest.hexdigest()


def _described(shape_yx: tuple[int, ...], dtype: np.dtype[Any]) -> str:
    return f"{' x '.join(str(n) for n in reversed(shape_yx))} px of {dtype}"


def page_names(num_sections: int) -> tuple[str, ...]:
    """The names of sections that have none of their own, counted from 1.

    >>> page_names(2)
    ('page 1', 'page 2')
    """
    return tuple(f"page {z + 1}" for z in range(num_sections))


def check_dtype(what: str, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype in this machine's byte order, provided its values are numbers or truth values."""
    if dtype.kind not in "buif":
        raise InputError(
            f"{what} holds {dtype} values; give 8-bit, 16-bit, 32-bit or floating point grey values"
        )
    return dtype.newbyteorder("=")


def volume_of_array(
    name: str,
    array: Shaped[np.ndarray, "z y x"],
    *,
    voxel_size_nm: tuple[float, float, float] | None = None,
) -> Volume:
    """A volume whose sections lie in memory already, as the phantom's do."""
    if array.ndim != 3 or 0 in array.shape:
        raise InputError(f"a volume needs the axes z, y and x, got an array of shape {array.shape}")
    depth, height, width = array.shape
    return Volume(
        name=name,
        shape_zyx=(depth, height, width),
        dtype=check_dtype(name, array.dtype),
        section_names=page_names(depth),
        read_section=lambda z: np.ascontiguousarray(array[z], array.dtype.newbyteorder("=")),
        voxel_size_nm=voxel_size_nm,
    )
