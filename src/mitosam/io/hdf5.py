"""Volumes in HDF5 files, read by boxes; nothing that a file points at outside of itself is."""

from __future__ import annotations

import json
import math
import re
import weakref
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Shaped

from mitosam.errors import InputError, MitosamError
from mitosam.geometry import Box
from mitosam.io.axes import axis_order
from mitosam.io.limits import CHUNK, PAGES, SECTION
from mitosam.io.remote import RemoteFile
from mitosam.io.tiff_voxels import Sizes, plausible_voxel_size_nm
from mitosam.io.volume import READ_ERRORS, Volume, check_dtype, page_names

if TYPE_CHECKING:
    import h5py

SUFFIXES = (".h5", ".hdf5", ".hdf")
CHUNK_CACHE_BYTES = 2**28
"""Decoded chunks that are held at a time, so that sections of one layer decode it once."""

MAX_OBJECTS = 10_000
"""Groups and datasets that are looked through for images."""

HDF5_ERRORS: tuple[type[Exception], ...] = (*READ_ERRORS, AttributeError)
"""What h5py raises on files that are damaged."""

_NAMED = re.compile(rf"(.+(?:{'|'.join(map(re.escape, SUFFIXES))})):(/.*)", re.IGNORECASE)
_BDV = re.compile(r"t\d+/s\d+/(\d+)/cells")


def split_dataset(place: str) -> tuple[str, str | None]:
    """A file, and the dataset in it that is named behind a colon.

    >>> split_dataset("data/a.h5:/volumes/raw")
    ('data/a.h5', '/volumes/raw')
    >>> split_dataset("data/a.h5")
    ('data/a.h5', None)
    """
    named = _NAMED.fullmatch(place)
    return (named[1], named[2]) if named else (place, None)


def names_dataset(path: Path) -> bool:
    """Whether a path is that of a dataset in a file which is there."""
    file, dataset = split_dataset(path.as_posix())
    return dataset is not None and Path(file).is_file()


def open_hdf5(source: Path | RemoteFile, dataset: str | None = None) -> Volume:
    """A dataset of an HDF5 file as a volume; without a name, the only one that can be an image.

    Raises
    ------
    InputError
        The file is damaged, holds no image or several, or the dataset lies in another file.
    """
    reader = _Hdf5Reader(source, dataset)
    num_sections = reader.shape_zyx[0]
    name, single = reader.name, num_sections == 1
    return Volume(
        name=name,
        shape_zyx=reader.shape_zyx,
        dtype=reader.dtype,
        section_names=(name,) if single else page_names(num_sections),
        read_section=reader.read,
        read_box=reader.read_box,
        chunk_zyx=reader.chunk_zyx,
        voxel_size_nm=plausible_voxel_size_nm(reader.what, reader.sizes_nm(), num_sections),
        named=single,
    )


class _Hdf5Reader:
    """An open HDF5 file; it closes when nobody can read from it any more."""

    def __init__(self, source: Path | RemoteFile, dataset: str | None) -> None:
        self._source = source
        self.file_name = str(source) if isinstance(source, Path) else str(source.remote)
        self._file = self._opened()
        weakref.finalize(self, self._file.close)
        try:
            self._dataset = _dataset_of(self._file, self.file_name, dataset)
            self._path = str(self._dataset.name).strip("/")
            self.what = f"{self.file_name}:/{self._path}"
            _check_inside(self._dataset, self.what)
            self._is_bdv = _BDV.fullmatch(self._path) is not None
            shape = tuple(int(n) for n in self._dataset.shape)
            self._axes = axis_order(self.what, shape, _axis_names(self._dataset, shape))
            self.dtype = self._checked_dtype()
            chunks = self._dataset.chunks or (*(1 for _ in shape[:-2]), *shape[-2:])
        except HDF5_ERRORS as error:
            raise self._explained(error) from error
        self.shape_zyx = self._axes.lengths(shape)
        self.chunk_zyx = self._axes.lengths(chunks)
        PAGES.check(self.what, self.shape_zyx[0])
        if self._dataset.chunks is not None:
            CHUNK.check(self.what, math.prod(chunks) * self.dtype.itemsize)

    @property
    def name(self) -> str:
        """The file's name, and the dataset's where it says more than that it holds an image."""
        return PurePosixPath(self.file_name.replace("\\", "/")).stem

    def read(self, z: int) -> Shaped[np.ndarray, "h w"]:
        """The values of section `z`."""
        _, height, width = self.shape_zyx
        SECTION.check(self.what, height * width * self.dtype.itemsize)
        section: Shaped[np.ndarray, "h w"] = self.read_box(Box((z, 0, 0), (z + 1, height, width)))[
            0
        ]
        return section

    def read_box(self, box: Box) -> Shaped[np.ndarray, "z y x"]:
        """The values of a box."""
        try:
            voxels = self._axes.as_zyx(np.asarray(self._dataset[self._axes.selection(box)]))
        except READ_ERRORS as error:
            raise self._explained(error) from error
        native = voxels.astype(voxels.dtype.newbyteorder("="), copy=False)
        return native.view(np.uint16) if native.dtype != self.dtype else native

    def sizes_nm(self) -> Sizes:
        """The voxel size by the conventions that define one.

        `element_size_um` is that of Fiji's HDF5 plugin and of what follows it: z, y, x in µm. In
        CREMI's files (https://cremi.org/data), `resolution` is z, y, x in nm.
        """
        for name, nm in (("element_size_um", 1000.0), ("resolution", 1.0)):
            if name == "resolution" and not self._path.startswith("volumes/"):
                continue
            steps = _numbers(self._dataset, name)
            if len(steps) == 3 and all(step > 0 for step in steps):
                return steps[0] * nm, steps[1] * nm, steps[2] * nm
        return None, None, None

    def _opened(self) -> h5py.File:
        import h5py

        if isinstance(self._source, RemoteFile):
            # HDF5 must not be the first to ask a store that refuses: after some errors of a file
            # that it opens, it crashes as the process ends.
            self._source.read_range(0, 1)
        try:
            return h5py.File(
                self._source, "r", rdcc_nbytes=CHUNK_CACHE_BYTES, rdcc_nslots=100_003,
                locking=False if isinstance(self._source, Path) else None,
            )  # fmt: skip
        except READ_ERRORS as error:
            raise self._explained(error) from error

    def _checked_dtype(self) -> np.dtype[Any]:
        dtype = check_dtype(self.what, self._dataset.dtype)
        # BigDataViewer's values are unsigned; Java, which wrote the first of them, knows no such
        return np.dtype(np.uint16) if self._is_bdv and dtype == np.int16 else dtype

    def _explained(self, error: Exception) -> MitosamError:
        failure = self._source.failure if isinstance(self._source, RemoteFile) else None
        if isinstance(error, MitosamError) or failure is not None:
            return error if isinstance(error, MitosamError) else failure or InputError(str(error))
        detail = " ".join(str(error).split()) or type(error).__name__
        if "filter" in detail or "plugin" in detail:
            return InputError(
                f"{self.file_name} is compressed in a way that h5py does not know ({detail}); "
                "save it with gzip, or as OME-Zarr"
            )
        return InputError(
            f"{self.file_name} is not a whole HDF5 file ({detail}); copy it again from its source"
        )


def _dataset_of(file: h5py.File, what: str, wanted: str | None) -> h5py.Dataset:
    """The dataset of a name, or the only one that can be an image."""
    if wanted is not None and wanted.strip("/"):
        return _named(file, what, wanted)
    images = _images(file)
    if not images:
        raise InputError(f"{what} holds no image: no dataset of numbers with two or more axes")
    if len(images) > 1:
        choices = ", ".join(f"{what}:/{path}" for path in images[:4])
        more = ", ..." if len(images) > 4 else ""
        raise InputError(f"{what} holds {len(images)} datasets; name one of {choices}{more}")
    return file[images[0]]


def _images(file: h5py.File) -> list[str]:
    """The paths of what can be an image; of BigDataViewer's pyramids, only the finest levels."""
    import h5py

    found: list[str] = []
    seen = 0

    def look(path: str, item: object) -> Literal[True] | None:
        nonlocal seen
        seen += 1
        if isinstance(item, h5py.Dataset) and item.ndim >= 2 and item.dtype.kind in "buif":
            level = _BDV.fullmatch(path)
            is_table = path.rpartition("/")[2] in ("resolutions", "subdivisions")
            if not is_table and (level is None or level[1] == "0"):
                found.append(path)
        return True if seen >= MAX_OBJECTS else None

    file.visititems(look)  # follows no link out of the file, and none twice
    return sorted(found)


def _named(file: h5py.File, what: str, wanted: str) -> h5py.Dataset:
    """The dataset at a path, none of whose parts leads out of the file."""
    import h5py

    item: Any = file
    for part in [part for part in wanted.split("/") if part]:
        link = item.get(part, getlink=True) if isinstance(item, h5py.Group) else None
        if link is None:
            raise InputError(_not_there(file, what, wanted))
        if not isinstance(link, h5py.HardLink):
            target = getattr(link, "filename", None) or "elsewhere"
            raise InputError(
                f"{what}:{wanted} is a link to {target}:{link.path}; name that itself, as only "
                "what lies in a file is read from it"
            )
        item = item[part]
    if isinstance(item, h5py.Dataset):
        return item
    raise InputError(_not_there(file, what, wanted))


def _not_there(file: h5py.File, what: str, wanted: str) -> str:
    images = _images(file)
    choices = ", ".join(f"{what}:/{path}" for path in images[:4])
    return f"{what} has no dataset {wanted}; name one of {choices or 'another file'}"


def _check_inside(dataset: h5py.Dataset, what: str) -> None:
    """Raise if a dataset's values lie in other files."""
    if dataset.is_virtual or dataset.external:
        kind = "virtual" if dataset.is_virtual else "external"
        raise InputError(
            f"{what} is a {kind} dataset, whose values lie in other files; name those, or copy "
            "them into one (h5repack)"
        )


def _numbers(dataset: h5py.Dataset, name: str) -> list[float]:
    """An attribute that is a list of numbers, or nothing."""
    if name not in dataset.attrs:
        return []
    values = np.atleast_1d(np.asarray(dataset.attrs[name]))
    return [float(value) for value in values] if values.dtype.kind in "uif" else []


def _axis_names(dataset: h5py.Dataset, shape: tuple[int, ...]) -> tuple[str, ...] | None:
    """What a dataset calls its axes (ilastik's `axistags`, or labels), or, with more than three
    axes of which only three are long, where those must be.
    """
    tags = dataset.attrs.get("axistags")
    try:
        axes = json.loads(tags)["axes"] if tags is not None else []
        names = tuple(str(axis["key"]).lower() for axis in axes)
    except (ValueError, TypeError, LookupError):
        names = ()
    labels = tuple(str(dimension.label).lower() for dimension in dataset.dims)
    for found in (names, labels):
        if len(found) == len(shape) and set(found) <= set("tczyx"):
            return found
    if len(shape) == 4:
        return ("z", "y", "x", "c") if shape[-1] == 1 < shape[0] else ("c", "z", "y", "x")
    return ("t", "c", "z", "y", "x") if len(shape) == 5 else None
