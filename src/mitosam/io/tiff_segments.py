"""A window of a TIFF page, of which only the tiles, strips or rows that it touches are read."""

from __future__ import annotations

import itertools
import math
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Shaped

from mitosam.io.tiff_limits import check_embedded

if TYPE_CHECKING:
    import tifffile

    Page = tifffile.TiffPage | tifffile.TiffFrame

_JPEG = (6, 7, 33007, 34892)  # compressions that need the page's tables


def has_grey_segments(page: tifffile.TiffPage) -> bool:
    """Whether a page is made of tiles or strips of one whole value a pixel."""
    return (
        page.samplesperpixel == 1
        and page.imagedepth == page.tiledepth == 1
        and page.bitspersample in (8, 16, 32, 64)
        and not page.is_subsampled
        and (page.is_tiled or page.rowsperstrip > 0)
    )


def read_window(
    what: str, page: Page, y: slice, x: slice, lock: threading.Lock
) -> Shaped[np.ndarray, "h w"]:
    """Rows `y` and columns `x` of a page that has grey segments."""
    keyframe = _keyframe(page)
    if keyframe.is_final and _is_one_run(page, keyframe.nbytes):
        width, dtype = keyframe.imagewidth, np.dtype(keyframe.dtype)
        first = page.dataoffsets[0] + y.start * width * dtype.itemsize
        rows = read_rows(page.parent, first, (y.stop - y.start, width), dtype, lock)
        return rows[:, x]
    window = np.full((y.stop - y.start, x.stop - x.start), keyframe.nodata, keyframe.dtype)
    for number in _segments_touched(keyframe, y, x):
        encoded = _read(page.parent, page.dataoffsets[number], page.databytecounts[number], lock)
        check_embedded(what, keyframe, encoded)
        _place(window, page, number, encoded, (y.start, x.start))
    return window


def _keyframe(page: Page) -> tifffile.TiffPage:
    """The page whose tags hold for this one too."""
    keyframe = page.keyframe
    assert keyframe is not None, "pages of a series have one"
    return keyframe


def _is_one_run(page: Page, num_bytes: int) -> bool:
    """Whether this very page's strips lie behind one another; tifffile asks the first page only."""
    offsets, counts = page.dataoffsets, page.databytecounts
    ends = [offset + count for offset, count in zip(offsets, counts, strict=True)]
    return sum(counts) == num_bytes and list(offsets[1:]) == ends[:-1]


def _segments_touched(page: tifffile.TiffPage, y: slice, x: slice) -> list[int]:
    rows, columns = page.chunks[-2:]
    num_columns = math.ceil(page.imagewidth / columns)
    along_y = range(y.start // rows, -(-y.stop // rows))
    along_x = range(x.start // columns, -(-x.stop // columns))
    return [row * num_columns + column for row, column in itertools.product(along_y, along_x)]


def _place(
    window: Shaped[np.ndarray, "h w"],
    page: Page,
    number: int,
    encoded: bytes,
    corner_yx: tuple[int, int],
) -> None:
    """Decode a segment, and copy what lies in the window; an empty one stays nodata."""
    keyframe = _keyframe(page)
    tables: dict[str, Any] = {}
    if keyframe.compression in _JPEG:
        tables = {"jpegtables": page.jpegtables, "jpegheader": keyframe.jpegheader}
    segment, (_, _, top, left, _), shape = keyframe.decode(encoded or None, number, **tables)
    if segment is None:
        return
    height = min(shape[1], keyframe.imagelength - top)
    width = min(shape[2], keyframe.imagewidth - left)
    pixels = segment[0, :height, :width, 0]
    (y0, x0), (num_y, num_x) = corner_yx, window.shape
    y, x = (
        slice(max(top, y0), min(top + height, y0 + num_y)),
        slice(max(left, x0), min(left + width, x0 + num_x)),
    )
    window[y.start - y0 : y.stop - y0, x.start - x0 : x.stop - x0] = pixels[
        y.start - top : y.stop - top, x.start - left : x.stop - left
    ]


def read_rows(
    file: tifffile.TiffFile,
    first: int,
    shape_yx: tuple[int, int],
    dtype: np.dtype[Any],
    lock: threading.Lock,
) -> Shaped[np.ndarray, "h w"]:
    """Rows that lie behind one another from byte `first`, in this machine's byte order."""
    content = _read(file, first, math.prod(shape_yx) * dtype.itemsize, lock)
    stored = np.frombuffer(content, dtype.newbyteorder(file.byteorder)).reshape(shape_yx)
    return stored.astype(dtype.newbyteorder("="))


def _read(file: tifffile.TiffFile, first: int, count: int, lock: threading.Lock) -> bytes:
    content = b""
    if first + count <= file.filehandle.size:  # memory is taken for what is asked for
        with lock:
            file.filehandle.seek(first)
            content = file.filehandle.read(count)
    if len(content) < count:
        raise ValueError(f"its values reach past the file's end, to byte {first + count}")
    return content
