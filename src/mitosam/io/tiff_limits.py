"""What a TIFF file says of itself, held against what it can hold, before memory is taken for it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

from mitosam.errors import InputError
from mitosam.io.limits import CHUNK, PAGES, TEXT, check_image

if TYPE_CHECKING:
    import tifffile

# How many bytes one byte can unpack to: https://zlib.net/zlib_tech.html for deflate, the longest
# entries of LZW's 4096, a run of PackBits, a block of Zstandard that repeats one byte.
_MOST_POSSIBLE = {
    "NONE": 1, "LZW": 4096, "ADOBE_DEFLATE": 1032, "DEFLATE": 1032, "PACKBITS": 64,
    "ZSTD": 32768, "LZMA": 8192, "JPEG": 1100, "JPEG2000": math.inf,
    "APERIO_JP2000_RGB": math.inf, "APERIO_JP2000_YCBC": math.inf,
}  # fmt: skip
_BY_ITS_OWN_HEADER = ("JPEG", "JPEG2000", "APERIO_JP2000_RGB", "APERIO_JP2000_YCBC")
_IMAGEJ_COUNTS = re.compile(rb"(?:images|channels|slices|frames)=(\d+)")
_OME_COUNTS = re.compile(r'\bSize[ZCT]\s*=\s*"(\d+)"')
_OME_FILES = re.compile(r'\bFileName\s*=\s*(?:"([^"]*)"|\'([^\']*)\')')


def check_description(what: str, file: tifffile.TiffFile) -> None:
    """Raise InputError if a file's own description counts too many sections or names other places.

    An OME-TIFF may be spread over several files; these lie beside it.
    """
    _check_num_pages(what, file)
    description = file.pages.first.description
    TEXT.check(f"{what}, its description", len(description))
    counts = _OME_COUNTS.findall(description) if file.is_ome else []
    if file.is_imagej:
        counts = [n.decode() for n in _IMAGEJ_COUNTS.findall(description.encode())]
    for count in counts:
        PAGES.check(what, int(count[:20]))
    for groups in _OME_FILES.findall(description) if file.is_ome else ():
        _check_beside(what, "".join(groups))
    if file.is_shaped:
        _check_shape(what, description)


def _check_num_pages(what: str, file: tifffile.TiffFile) -> None:
    most = int(PAGES.most)
    try:
        file.pages[most]
    except IndexError:
        return
    PAGES.check(what, most + 1)


def _check_beside(what: str, name: str) -> None:
    if any(kind(name).name != name for kind in (PurePosixPath, PureWindowsPath)):
        raise InputError(
            f"{what} says that its sections lie in {name[:100]!r}, which is outside of its folder; "
            "save it as one file"
        )


def _check_shape(what: str, description: str) -> None:
    """The shape that tifffile's own files state as JSON."""
    found = re.search(r"\[[\d,\s]{0,400}\]", description)
    if found:
        shape = [int(text) for text in json.loads(found[0])]
        PAGES.check(what, math.prod(shape[:-2]))


def check_pixels(what: str, page: tifffile.TiffPage, shape: tuple[int, ...]) -> None:
    """Raise InputError if one section, or a strip or tile of it, is larger than its file can hold.

    `shape` is the section's, with values a pixel if there are several.
    """
    name = page.compression.name if hasattr(page.compression, "name") else str(page.compression)
    if name not in _MOST_POSSIBLE:
        raise InputError(
            f"{what} is compressed by {name}, which is not read here; "
            "save it without compression, or by deflate or zstd"
        )
    if page.dtype is None or len(page.dataoffsets) != len(page.databytecounts):
        raise InputError(f"{what} does not say where its pixels lie; copy it again")
    size = page.dtype.itemsize
    CHUNK.check(what, math.prod(page.chunks) * size if page.is_tiled else 0)
    if page.is_tiled:
        _check_num_tiles(what, page)
    # Tiles and strips of no bytes are empty by agreement; some programs leave them out.
    packed = sum(page.databytecounts)
    sparse = 1 in (0, *(n == 0 for n in page.databytecounts))
    check_image(what, math.prod(shape) * size, packed, math.inf if sparse else _MOST_POSSIBLE[name])


def _check_num_tiles(what: str, page: tifffile.TiffPage) -> None:
    expected = math.prod(page.chunked)
    if len(page.dataoffsets) != expected:
        raise InputError(
            f"{what} has {len(page.dataoffsets)} tiles, but its size asks for {expected}; "
            "copy it again from its source"
        )


def check_segments(
    what: str, file: tifffile.TiffFile, page: tifffile.TiffPage | tifffile.TiffFrame
) -> None:
    """Raise InputError if a page's strips or tiles reach past the file's end, or hold other sizes.

    An image within the TIFF, as JPEG is, says its size itself.
    """
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        if offset + count > file.filehandle.size:
            raise InputError(f"{what} is cut short; copy it again from its source")
    if getattr(page.compression, "name", "") not in _BY_ITS_OWN_HEADER:
        return
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        file.filehandle.seek(offset)
        check_embedded(what, page, file.filehandle.read(min(count, 2**16)))


def check_embedded(what: str, page: tifffile.TiffPage | tifffile.TiffFrame, data: bytes) -> None:
    """Raise InputError if a strip or tile is an image that is larger than it."""
    if getattr(page.compression, "name", "") not in _BY_ITS_OWN_HEADER:
        return
    most = math.prod(page.chunks[:2]) * 4 + 2**20
    for height, width in embedded_shapes(data[: 2**16]):
        if height * width > most:
            raise InputError(
                f"{what} holds an image of {width} x {height} px in a tile of "
                f"{page.chunks[1]} x {page.chunks[0]} px; copy it again from its source"
            )


def embedded_shapes(data: bytes) -> Iterator[tuple[int, int]]:
    """Heights and widths in what looks like the frame headers of a JPEG or a JPEG 2000.

    >>> list(embedded_shapes(bytes.fromhex("ffd8ffc0001108002800300301")))
    [(40, 48)]
    """
    for match in re.finditer(
        rb"\xff[\xc0-\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf]..\x08(..)(..)", data, re.DOTALL
    ):
        yield int.from_bytes(match[1]), int.from_bytes(match[2])
    for match in re.finditer(rb"\xff\x4f\xff\x51....(....)(....)", data, re.DOTALL):
        yield int.from_bytes(match[2]), int.from_bytes(match[1])
