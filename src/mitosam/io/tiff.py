"""TIFF stacks: plain, ImageJ and OME, read one page, or one box of pages, at a time."""

from __future__ import annotations

import logging
import math
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import IO, TYPE_CHECKING, cast

import numpy as np
from jaxtyping import Shaped

from mitosam.errors import InputError, MitosamError
from mitosam.geometry import Box
from mitosam.io.grey import log_colour, to_grey
from mitosam.io.remote import RemoteFile
from mitosam.io.tiff_limits import check_description, check_pixels, check_segments
from mitosam.io.tiff_segments import has_grey_segments, read_rows, read_window
from mitosam.io.tiff_voxels import read_voxel_size_nm
from mitosam.io.volume import READ_ERRORS, Volume, check_dtype, page_names

if TYPE_CHECKING:
    import tifffile

logger = logging.getLogger(__name__)

SUFFIXES = (".tif", ".tiff")
TIFF_ERRORS: tuple[type[Exception], ...] = (*READ_ERRORS, AssertionError)
"""What tifffile raises on damaged files; some of what it asserts is what they say."""


def open_tiff(source: Path | RemoteFile) -> Volume:
    """A TIFF file as a volume; only the pages' directory is read now.

    Raises
    ------
    InputError
        The file is no TIFF, is cut short, or holds channels or timepoints.
    RemoteError
        The file's store cannot be reached, refuses, or was lost on the way.
    """
    reader = _TiffReader(source)
    num_sections = reader.num_sections
    voxel_size_nm = reader.read_voxel_size_nm()
    single = num_sections == 1
    path = PurePath(str(source)) if isinstance(source, Path) else PurePath(source.remote.url.name)
    return Volume(
        name=path.name.removesuffix(path.suffix).removesuffix(".ome"),
        shape_zyx=(num_sections, *reader.shape_yx),
        dtype=reader.dtype,
        section_names=(path.name,) if single else page_names(num_sections),
        read_section=reader.read,
        read_box=reader.read_box,
        chunk_zyx=reader.chunk_zyx,
        voxel_size_nm=voxel_size_nm,
        named=single,
    )


class _TiffReader:
    """An open TIFF file; it closes when nobody can read from it any more."""

    def __init__(self, source: Path | RemoteFile) -> None:
        self.what = str(source) if isinstance(source, Path) else str(source.remote)
        self.file = _open(source, self.what)
        weakref.finalize(self, self.file.close)
        self._lock = threading.Lock()
        try:
            check_description(self.what, self.file)
            _check_whole(self.what, self.file)
            self._series = self.file.series[0]
            _check_section(self.what, self._series)
            self._look_at_shape()
        except TIFF_ERRORS as error:
            raise _explained(self.what, error) from error

    def _look_at_shape(self) -> None:
        if len(self.file.series) > 1:
            shapes = ", ".join(str(series.shape) for series in self.file.series[:4])
            logger.warning("%s holds images of shapes %s; took the first", self.what, shapes)
        self.num_sections, self.shape_yx = _sections_and_shape(self.what, self._series)
        if 0 in (self.num_sections, *self.shape_yx):
            raise InputError(f"{self.what} says that it has no pixels; copy it from its source")
        self.dtype = check_dtype(self.what, self._series.dtype)
        self._whole_at = self._offset_of_whole()
        keyframe = self._series.keyframe
        self._in_segments = self._whole_at is None and has_grey_segments(keyframe)
        rows, columns = keyframe.chunks[-2:] if self._in_segments else self.shape_yx
        self.chunk_zyx = (1, min(rows, self.shape_yx[0]), min(columns, self.shape_yx[1]))

    def read_voxel_size_nm(self) -> tuple[float, float, float] | None:
        """z, y, x, where the file says it."""
        try:
            return read_voxel_size_nm(self.file, self.num_sections)
        except TIFF_ERRORS as error:
            raise _explained(self.what, error) from error

    def read(self, z: int) -> Shaped[np.ndarray, "h w"]:
        """The grey values of section `z`."""
        if self._whole_at is not None:
            return self._rows_of_whole(z, slice(0, self.shape_yx[0]))
        with self._damage_at(z), self._lock:
            page = self._page(z)
            check_segments(self.what, self.file, page)
            pixels = page.asarray()
            pixels = pixels.reshape(pixels.shape[-3:] if "S" in page.axes else pixels.shape[-2:])
        return to_grey(pixels, self.what).astype(self.dtype, copy=False)

    def read_box(self, box: Box) -> Shaped[np.ndarray, "z y x"]:
        """The grey values of a box; of a page, only what it touches is read."""
        z, y, x = box.slices
        return np.stack([self._window(section, y, x) for section in range(z.start, z.stop)])

    def _window(self, z: int, y: slice, x: slice) -> Shaped[np.ndarray, "h w"]:
        if self._whole_at is not None:
            return self._rows_of_whole(z, y)[:, x]
        if not self._in_segments:
            return self.read(z)[y, x]
        with self._damage_at(z):
            with self._lock:
                page = self._page(z)
            window = read_window(self.what, page, y, x, self._lock)
            return window.astype(self.dtype, copy=False)

    def _page(self, z: int) -> tifffile.TiffPage | tifffile.TiffFrame:
        """What the file says of a page: read from there, and so under the lock."""
        page = self._series.pages[z]
        if page is None:
            raise InputError(f"{self.what} lacks page {z + 1}; copy it again from its source")
        if page.keyframe is not None:
            check_pixels(self.what, page.keyframe, page.keyframe.shape)
        return page

    @contextmanager
    def _damage_at(self, z: int) -> Iterator[None]:
        try:
            yield
        except TIFF_ERRORS as error:
            raise _explained(self.what, error, f", page {z + 1}") from error

    def _offset_of_whole(self) -> int | None:
        """Where the values begin if one page stands for all, as ImageJ writes above 4 GB."""
        if len(self._series.pages) == self.num_sections:
            return None
        offset = self._series.dataoffset
        if offset is None or "S" in self._series.axes:
            raise InputError(
                f"{self.what} says it has {self.num_sections} sections but holds "
                f"{len(self._series.pages)} pages; save it again as a plain TIFF stack"
            )
        num_bytes = self.num_sections * math.prod(self.shape_yx) * self.dtype.itemsize
        if offset + num_bytes > self.file.filehandle.size:
            raise InputError(f"{self.what} is cut short; copy it again from its source")
        return int(offset)

    def _rows_of_whole(self, z: int, y: slice) -> Shaped[np.ndarray, "h w"]:
        assert self._whole_at is not None, "asked for only then"
        height, width = self.shape_yx
        first = self._whole_at + (z * height + y.start) * width * self.dtype.itemsize
        with self._damage_at(z):
            return read_rows(self.file, first, (y.stop - y.start, width), self.dtype, self._lock)


def _open(source: Path | RemoteFile, what: str) -> tifffile.TiffFile:
    import tifffile

    try:
        if isinstance(source, Path):
            return tifffile.TiffFile(source)
        return tifffile.TiffFile(cast("IO[bytes]", source), name=what)
    except TIFF_ERRORS as error:
        raise _explained(what, error) from error


def _explained(what: str, error: Exception, where: str = "") -> MitosamError:
    """Our own error as it is, or what a decoder complained of in one line."""
    if isinstance(error, MitosamError):
        return error
    return InputError(
        f"{what}{where} is not a whole TIFF file ({str(error) or type(error).__name__}); "
        "copy it again from its source"
    )


def _check_whole(what: str, file: tifffile.TiffFile) -> None:
    """Raise if the chain of pages, or the pixels of the last page, reach past the file's end.

    tifffile itself only logs a broken chain and goes on with the pages before it, and a stack
    that silently lost its last sections would be worse than none.
    """
    num_pages = len(file.pages)
    handle = file.filehandle
    handle.seek(file.pages.next_page_offset or 0)
    next_page = int.from_bytes(
        handle.read(file.tiff.offsetsize), "little" if file.byteorder == "<" else "big"
    )
    last = file.pages[num_pages - 1]
    ends = [o + n for o, n in zip(last.dataoffsets, last.databytecounts, strict=True)]
    if next_page or max(ends, default=0) > handle.size:
        raise InputError(
            f"{what} is cut short after page {num_pages}; copy it again from its source"
        )


def _check_section(what: str, series: tifffile.TiffPageSeries) -> None:
    sizes = dict(zip(series.axes, series.shape, strict=True))
    shape = tuple(int(sizes.get(axis, 1)) for axis in "YXS")
    if (keyframe := series.keyframe) is not None:
        check_pixels(what, keyframe, shape)


def _sections_and_shape(what: str, series: tifffile.TiffPageSeries) -> tuple[int, tuple[int, int]]:
    """The number of sections and their shape; every other axis must have length 1."""
    sizes = dict(zip(series.axes, series.shape, strict=True))
    if not {"Y", "X"} <= set(sizes):
        raise InputError(f"{what} has the axes {series.axes}; images need y and x")
    if "S" in sizes and not series.axes.endswith("S"):
        # tifffile writes a stack of 3 or 4 sections like this unless told otherwise
        raise InputError(
            f"{what} stores {sizes['S']} planes as colours; if they are sections, save them as a "
            "grey stack (tifffile: photometric='minisblack'), else save the image as grey"
        )
    if "S" in sizes:
        log_colour(what, sizes["S"])
    pairs = zip(series.axes, series.shape, strict=True)  # an axis letter may come twice
    others = [(axis, int(n)) for axis, n in pairs if axis not in "YXS" and n > 1]
    _check_only_sections(what, series, others)
    return others[0][1] if others else 1, (int(sizes["Y"]), int(sizes["X"]))


def _check_only_sections(
    what: str, series: tifffile.TiffPageSeries, others: list[tuple[str, int]]
) -> None:
    """Raise if a long axis besides y and x is of channels or timepoints, or there are several."""
    for axis, plural, way_out in (
        ("C", "channels", "save the EM channel alone (in Fiji: Image > Color > Split Channels)"),
        ("T", "timepoints", "save one timepoint, or a z stack"),
    ):
        num = next((n for found, n in others if found == axis), 1)
        if num > 1:
            raise InputError(
                f"{what} has {num} {plural} (axes {series.axes}); {way_out}; if these "
                "are sections, mark them as z (in Fiji: Image > Properties)"
            )
    if len(others) > 1:
        raise InputError(
            f"{what} has the axes {series.axes} of shape {series.shape}; save one z stack a file"
        )
