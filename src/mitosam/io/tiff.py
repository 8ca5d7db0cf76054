"""TIFF stacks: plain, ImageJ and OME, one page read at a time."""

from __future__ import annotations

import logging
import threading
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Shaped

from mitosam.errors import InputError
from mitosam.io.grey import log_colour, to_grey
from mitosam.io.tiff_limits import check_description, check_pixels, check_segments
from mitosam.io.tiff_voxels import read_voxel_size_nm
from mitosam.io.volume import READ_ERRORS, Volume, check_dtype

if TYPE_CHECKING:
    import tifffile

logger = logging.getLogger(__name__)

SUFFIXES = (".tif", ".tiff")
TIFF_ERRORS: tuple[type[Exception], ...] = (*READ_ERRORS, AssertionError)
"""What tifffile raises on damaged files; some of what it asserts is what they say."""


def open_tiff(path: Path) -> Volume:
    """A TIFF file as a volume; only the pages' directory is read now.

    Raises
    ------
    InputError
        The file is no TIFF, is cut short, or holds channels or timepoints.
    """
    reader = _TiffReader(path)
    num_sections = reader.num_sections
    voxel_size_nm = reader.read_voxel_size_nm()
    single = num_sections == 1
    return Volume(
        name=path.name.removesuffix(path.suffix).removesuffix(".ome"),
        shape_zyx=(num_sections, *reader.shape_yx),
        dtype=reader.dtype,
        section_names=(path.name,)
        if single
        else tuple(f"page {z + 1}" for z in range(num_sections)),
        read_section=reader.read,
        voxel_size_nm=voxel_size_nm,
        named=single,
    )


class _TiffReader:
    """An open TIFF file; it closes when nobody can read from it any more."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = _open(path)
        weakref.finalize(self, self.file.close)
        self._lock = threading.Lock()
        try:
            check_description(path, self.file)
            _check_whole(path, self.file)
            self._series = self.file.series[0]
            _check_section(path, self._series)
            self._look_at_shape()
        except TIFF_ERRORS as error:
            raise error if isinstance(error, InputError) else _damaged(path, error) from error

    def _look_at_shape(self) -> None:
        path = self.path
        if len(self.file.series) > 1:
            shapes = ", ".join(str(series.shape) for series in self.file.series[:4])
            logger.warning("%s holds images of shapes %s; took the first", path, shapes)
        self.num_sections, self.shape_yx = _sections_and_shape(path, self._series)
        if 0 in (self.num_sections, *self.shape_yx):
            raise InputError(f"{path} says that it has no pixels; copy it again from its source")
        self.dtype = check_dtype(str(path), self._series.dtype)
        self._whole = self._map_contiguous()

    def read_voxel_size_nm(self) -> tuple[float, float, float] | None:
        """z, y, x, where the file says it."""
        try:
            return read_voxel_size_nm(self.file, self.num_sections)
        except TIFF_ERRORS as error:
            raise _damaged(self.path, error) from error

    def read(self, z: int) -> Shaped[np.ndarray, "h w"]:
        """The grey values of section `z`."""
        if self._whole is not None:
            return np.array(self._whole[z], self.dtype)
        try:
            with self._lock:
                pixels = self._read_page(z)
        except TIFF_ERRORS as error:
            if isinstance(error, InputError):
                raise
            raise _damaged(self.path, error, f", page {z + 1}") from error
        return to_grey(pixels, str(self.path)).astype(self.dtype, copy=False)

    def _read_page(self, z: int) -> Shaped[np.ndarray, "h w *c"]:
        page = self._series.pages[z]
        if page is None:
            raise InputError(f"{self.path} lacks page {z + 1}; copy it again from its source")
        if page.keyframe is not None:
            check_pixels(self.path, page.keyframe, page.keyframe.shape)
        check_segments(self.path, self.file, page)
        pixels = page.asarray()
        return pixels.reshape(pixels.shape[-3:] if "S" in page.axes else pixels.shape[-2:])

    def _map_contiguous(self) -> Shaped[np.ndarray, "z h w"] | None:
        """The stack where one page stands for all of it, as ImageJ writes above 4 GB."""
        import tifffile

        if len(self._series.pages) == self.num_sections:
            return None
        if self._series.dataoffset is None or "S" in self._series.axes:
            raise InputError(
                f"{self.path} says it has {self.num_sections} sections but holds "
                f"{len(self._series.pages)} pages; save it again as a plain TIFF stack"
            )
        try:
            mapped = tifffile.memmap(self.path, series=0, mode="r")
        except TIFF_ERRORS as error:
            raise _damaged(self.path, error) from error
        return mapped.reshape((self.num_sections, *self.shape_yx))


def _open(path: Path) -> tifffile.TiffFile:
    import tifffile

    try:
        return tifffile.TiffFile(path)
    except TIFF_ERRORS as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception, where: str = "") -> InputError:
    return InputError(
        f"{path}{where} is not a whole TIFF file ({str(error) or type(error).__name__}); "
        "copy it again from its source"
    )


def _check_whole(path: Path, file: tifffile.TiffFile) -> None:
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
            f"{path} is cut short after page {num_pages}; copy it again from its source"
        )


def _check_section(path: Path, series: tifffile.TiffPageSeries) -> None:
    sizes = dict(zip(series.axes, series.shape, strict=True))
    shape = tuple(int(sizes.get(axis, 1)) for axis in "YXS")
    if (keyframe := series.keyframe) is not None:
        check_pixels(path, keyframe, shape)


def _sections_and_shape(path: Path, series: tifffile.TiffPageSeries) -> tuple[int, tuple[int, int]]:
    """The number of sections and their shape; every other axis must have length 1."""
    sizes = dict(zip(series.axes, series.shape, strict=True))
    if not {"Y", "X"} <= set(sizes):
        raise InputError(f"{path} has the axes {series.axes}; images need y and x")
    if "S" in sizes and not series.axes.endswith("S"):
        # tifffile writes a stack of 3 or 4 sections like this unless told otherwise
        raise InputError(
            f"{path} stores {sizes['S']} planes as colours; if they are sections, save them as a "
            "grey stack (tifffile: photometric='minisblack'), else save the image as grey"
        )
    if "S" in sizes:
        log_colour(str(path), sizes["S"])
    pairs = zip(series.axes, series.shape, strict=True)  # an axis letter may come twice
    others = [(axis, int(n)) for axis, n in pairs if axis not in "YXS" and n > 1]
    _check_only_sections(path, series, others)
    return others[0][1] if others else 1, (int(sizes["Y"]), int(sizes["X"]))


def _check_only_sections(
    path: Path, series: tifffile.TiffPageSeries, others: list[tuple[str, int]]
) -> None:
    """Raise if a long axis besides y and x is of channels or timepoints, or there are several."""
    for axis, plural, way_out in (
        ("C", "channels", "save the EM channel alone (in Fiji: Image > Color > Split Channels)"),
        ("T", "timepoints", "save one timepoint, or a z stack"),
    ):
        num = next((n for found, n in others if found == axis), 1)
        if num > 1:
            raise InputError(
                f"{path} has {num} {plural} (axes {series.axes}); {way_out}; if these "
                "are sections, mark them as z (in Fiji: Image > Properties)"
            )
    if len(others) > 1:
        raise InputError(
            f"{path} has the axes {series.axes} of shape {series.shape}; save one z stack a file"
        )
