"""MRC volumes (MRC2014, and IMOD's), read by boxes straight from the file.

Formats: https://www.ccpem.ac.uk/mrc_format/mrc2014.php and
https://bio3d.colorado.edu/imod/doc/mrc_format.txt
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from jaxtyping import Shaped

from mitosam.errors import InputError
from mitosam.geometry import Box
from mitosam.io.limits import PAGES, SECTION
from mitosam.io.remote import RemoteFile
from mitosam.io.tiff_voxels import Sizes, plausible_voxel_size_nm
from mitosam.io.volume import READ_ERRORS, Volume, page_names

logger = logging.getLogger(__name__)

SUFFIXES = (".mrc", ".rec", ".map", ".st", ".mrcs")
HEADER_BYTES = 1024

_DTYPES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
_OTHER_MODES = {3: "complex", 4: "complex", 16: "RGB", 101: "4-bit"}
_IMOD_STAMP, _IMOD_FLAGS = 152, 156  # bytes from the header's beginning
_IMOD = 1146047817
_STACK_OF_VOLUMES = 401
_UNKNOWN_ANGSTROM = 1.0
"""The voxel size that programs write where they know none; no EM volume has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MrcHeader:
    """What the first 1024 bytes of an MRC file say of the rest."""

    shape_zyx: tuple[int, int, int]
    dtype: np.dtype[Any]
    offset: int
    sizes_nm: Sizes

    @property
    def num_bytes(self) -> int:
        """How long the file must be."""
        return self.offset + math.prod(self.shape_zyx) * self.dtype.itemsize


def open_mrc(source: Path | RemoteFile) -> Volume:
    """An MRC file as a volume; only its header is read now.

    Raises
    ------
    InputError
        The file is no MRC volume, is cut short, or holds several volumes or no grey values.
    """
    what = str(source) if isinstance(source, Path) else str(source.remote)
    size = source.stat().st_size if isinstance(source, Path) else source.size
    header = read_header(_bytes(source, 0, HEADER_BYTES), what)
    if size < header.num_bytes:
        raise InputError(
            f"{what} is cut short: its header tells of {header.num_bytes} bytes, and it has "
            f"{size}; copy it again from its source"
        )
    PAGES.check(what, header.shape_zyx[0])
    reader = _MrcReader(source, what, header)
    name = PurePosixPath(what.replace("\\", "/")).name
    num_sections = header.shape_zyx[0]
    single = num_sections == 1
    return Volume(
        name=PurePosixPath(name).stem,
        shape_zyx=header.shape_zyx,
        dtype=header.dtype.newbyteorder("="),
        section_names=(name,) if single else page_names(num_sections),
        read_section=reader.read,
        read_box=reader.read_box,
        chunk_zyx=(1, *header.shape_zyx[1:]),
        voxel_size_nm=plausible_voxel_size_nm(what, header.sizes_nm, num_sections),
        named=single,
    )


def read_header(content: bytes, what: str) -> MrcHeader:
    """The header of an MRC file, checked.

    Raises
    ------
    InputError
        It is none, or tells of what is not read here.
    """
    from mrcfile.dtypes import HEADER_DTYPE

    if len(content) < HEADER_BYTES:
        raise InputError(f"{what} is no MRC file, or cut short; copy it again from its source")
    order = _byte_order(content)
    fields = np.frombuffer(content, HEADER_DTYPE.newbyteorder(order), 1)[0]
    shape_zyx = (int(fields["nz"]), int(fields["ny"]), int(fields["nx"]))
    offset = HEADER_BYTES + int(fields["nsymbt"])
    if min(shape_zyx) < 1 or offset < HEADER_BYTES:
        raise InputError(
            f"{what} is no MRC file, or damaged: its header tells of the shape {shape_zyx}; copy "
            "it again from its source"
        )
    _check_order_and_count(fields, what)
    return MrcHeader(
        shape_zyx=shape_zyx,
        dtype=_dtype(content, int(fields["mode"]), order, what),
        offset=offset,
        sizes_nm=_sizes_nm(fields, what),
    )


def _byte_order(content: bytes) -> Literal["<", ">"]:
    """The sign of the order in the machine stamp, or, without one, of that which fits the mode."""
    stamp = content[212]
    if stamp in (0x44, 0x11):
        return "<" if stamp == 0x44 else ">"
    little = int.from_bytes(content[12:16], "little")
    return "<" if little <= max(_OTHER_MODES) else ">"


def _check_order_and_count(fields: np.void, what: str) -> None:
    axes = tuple(int(fields[name]) for name in ("mapc", "mapr", "maps"))
    if axes not in ((1, 2, 3), (0, 0, 0)):  # files older than the fields leave them 0
        raise InputError(
            f"{what} has its axes in the order {axes}; save it with x, y, z as columns, rows and "
            "sections (1, 2, 3)"
        )
    num_volumes = int(fields["nz"]) // max(int(fields["mz"]), 1)
    if int(fields["ispg"]) >= _STACK_OF_VOLUMES and num_volumes > 1:
        raise InputError(f"{what} holds {num_volumes} volumes; save one a file")


def _dtype(content: bytes, mode: int, order: Literal["<", ">"], what: str) -> np.dtype[Any]:
    if mode not in _DTYPES:
        kind = _OTHER_MODES.get(mode, "unknown")
        raise InputError(
            f"{what} holds {kind} values (mode {mode}); save it as bytes, 16-bit integers or floats"
        )
    word = np.dtype("u4").newbyteorder(order)
    stamp, flags = (
        int(np.frombuffer(content, word, 1, offset)[0]) for offset in (_IMOD_STAMP, _IMOD_FLAGS)
    )
    if mode == 0 and stamp == _IMOD and not flags & 1:
        return np.dtype("u1")
    if mode == 0:
        logger.info("%s: its bytes are taken as signed, as MRC2014 has it", what)
    return np.dtype(_DTYPES[mode]).newbyteorder(order)


def _sizes_nm(fields: np.void, what: str) -> Sizes:
    """The cell's size over its number of voxels, in nm; 1 Å along all axes stands for unknown."""
    steps = []
    for axis in "zyx":
        length, count = float(fields["cella"][axis]), int(fields[f"m{axis}"])
        known = math.isfinite(length) and length > 0 and count > 0
        steps.append(length / count if known else None)
    if all(step == _UNKNOWN_ANGSTROM for step in steps):
        logger.info("%s: left out its voxel size of 1 Å, which stands for an unknown one", what)
        return None, None, None
    z, y, x = (None if step is None else step / 10 for step in steps)
    return z, y, x


class _MrcReader:
    """Boxes of a file whose values lie there row by row."""

    def __init__(self, source: Path | RemoteFile, what: str, header: MrcHeader) -> None:
        self._source, self._what, self._header = source, what, header

    def read(self, z: int) -> Shaped[np.ndarray, "h w"]:
        """The values of section `z`."""
        _, height, width = self._header.shape_zyx
        SECTION.check(self._what, height * width * self._header.dtype.itemsize)
        section: Shaped[np.ndarray, "h w"] = self.read_box(Box((z, 0, 0), (z + 1, height, width)))[
            0
        ]
        return section

    def read_box(self, box: Box) -> Shaped[np.ndarray, "z y x"]:
        """The values of a box, of which whole rows are read."""
        z, y, x = box.slices
        rows = [self._rows(section, y)[:, x] for section in range(z.start, z.stop)]
        return np.stack(rows).astype(self._header.dtype.newbyteorder("="), copy=False)

    def _rows(self, z: int, y: slice) -> Shaped[np.ndarray, "rows w"]:
        _, height, width = self._header.shape_zyx
        row_bytes = width * self._header.dtype.itemsize
        start = self._header.offset + (z * height + y.start) * row_bytes
        stop = start + (y.stop - y.start) * row_bytes
        content = _bytes(self._source, start, stop)
        if len(content) < stop - start:
            raise InputError(
                f"{self._what} is damaged near section {z + 1}; copy it again from its source"
            )
        return np.frombuffer(content, self._header.dtype).reshape(-1, width)


def _bytes(source: Path | RemoteFile, start: int, stop: int) -> bytes:
    if isinstance(source, RemoteFile):
        return source.read_range(start, stop)
    try:
        with source.open("rb") as file:
            file.seek(start)
            return file.read(stop - start)
    except READ_ERRORS as error:
        raise InputError(
            f"{source} cannot be read ({str(error) or type(error).__name__})"
        ) from error
