"""OME-Zarr images and label volumes, and plain zarr arrays, read one section at a time."""

from __future__ import annotations

import logging
import lzma
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Shaped

from mitosam.errors import InputError, MitosamError
from mitosam.geometry import Box
from mitosam.io.axes import axis_order
from mitosam.io.limits import PAGES, SECTION
from mitosam.io.ome_zarr_metadata import Node, is_zarr, read_multiscale, read_node
from mitosam.io.tiff_voxels import Sizes, plausible_voxel_size_nm
from mitosam.io.volume import READ_ERRORS, Volume, check_dtype, page_names
from mitosam.io.zarr_folder import Folder, local_folder
from mitosam.io.zarr_limits import open_guarded

if TYPE_CHECKING:
    import zarr

logger = logging.getLogger(__name__)

SLAB_CACHE_BYTES = 2**30
"""Decoded pixels held at a time, so that sections of one layer of chunks decode it once."""

ZARR_ERRORS: tuple[type[Exception], ...] = (
    *READ_ERRORS,
    ArithmeticError,
    AttributeError,
    EOFError,
    lzma.LZMAError,
)
"""What zarr and its codecs raise on folders that are incomplete or damaged."""


def open_ome_zarr(place: Path | Folder) -> Volume:
    """The image, label volume or plain array in a zarr folder, as a volume.

    Of a multiscale image, the finest level is read. Its axes may be t, c, z, y and x, in any order,
    where t and c have the length 1.

    Raises
    ------
    InputError
        The folder holds no single image, or is damaged.
    RemoteError
        The folder's store cannot be reached, refuses, or was lost on the way.
    """
    folder = local_folder(place) if isinstance(place, Path) else place
    node = read_node(folder)
    if node.is_array:
        return _volume(node, node, node.axis_names, (None, None, None))
    image = read_multiscale(node)
    if image is None:
        raise InputError(_what_to_name(folder))
    level = folder.at(image.datasets[0].path)
    if not is_zarr(level):
        raise InputError(f"{level} is missing or no zarr array; copy {folder} again")
    return _volume(node, read_node(level), image.axis_names, image.sizes_nm(str(folder)))


def _what_to_name(folder: Folder) -> str:
    inside = [name for name in folder.children() if is_zarr(folder.at(name))]
    if not inside:
        return f"{folder} is a zarr group without an image; copy it again from its source"
    choices = ", ".join(str(folder.at(name)) for name in inside[:4])
    return f"{folder} is a group and no image itself; name one of {choices}"


def _volume(node: Node, level: Node, axis_names: tuple[str, ...] | None, sizes: Sizes) -> Volume:
    reader = _SlabReader(level, axis_names)
    num_sections = reader.shape_zyx[0]
    PAGES.check(node.folder, num_sections)
    name = node.folder.name
    single = num_sections == 1
    return Volume(
        name=name.removesuffix(".zarr").removesuffix(".ome"),
        shape_zyx=reader.shape_zyx,
        dtype=reader.dtype,
        section_names=(name,) if single else page_names(num_sections),
        read_section=reader.read,
        read_box=reader.read_box,
        chunk_zyx=reader.chunk_zyx,
        voxel_size_nm=plausible_voxel_size_nm(str(node.folder), sizes, num_sections),
        named=single,
    )


class _SlabReader:
    """An array whose current layer of chunks stays decoded, as far as the cache reaches.

    A slab is a layer of chunks, and a strip one row of its chunks along x.
    """

    def __init__(self, level: Node, axis_names: tuple[str, ...] | None) -> None:
        self.folder = level.folder
        self._array = _open_array(level)
        self._axes = axis_order(str(level.folder), self._array.shape, axis_names)
        self.shape_zyx = self._axes.lengths(self._array.shape)
        if 0 in self._array.chunks:
            raise InputError(f"{level.folder} is damaged, its chunks are {self._array.chunks}")
        self.dtype = check_dtype(str(level.folder), self._array.dtype)
        self.chunk_zyx = self._axes.lengths(self._array.chunks)
        self._depth, self._rows, _ = self.chunk_zyx
        self._lock = threading.Lock()
        self._slab = -1
        self._strips: dict[int, Shaped[np.ndarray, "z y x"]] = {}
        self._num_kept = self._num_kept_strips()

    def _num_kept_strips(self) -> int:
        depth, width = min(self._depth, self.shape_zyx[0]), self.shape_zyx[2]
        strip_bytes = depth * self._rows * width * self.dtype.itemsize
        num_strips = -(-self.shape_zyx[1] // self._rows)
        num_kept = SLAB_CACHE_BYTES // strip_bytes
        if depth > 1 and num_kept < num_strips:
            logger.warning(
                "%s: its chunks are %d sections deep, and one layer of them (%.1f GB) is more than "
                "is kept in memory; much is decoded for each section anew",
                self.folder, depth, num_strips * strip_bytes / 1e9,
            )  # fmt: skip
        return num_kept if depth > 1 else 0

    def read(self, z: int) -> Shaped[np.ndarray, "h w"]:
        """The values of section `z`."""
        _, height, width = self.shape_zyx
        SECTION.check(self.folder, height * width * self.dtype.itemsize)
        with self._lock:
            if z // self._depth != self._slab:
                self._strips.clear()
                self._slab = z // self._depth
            with self._damage_near(z):
                rows = [self._rows_of(z, y) for y in range(0, self.shape_zyx[1], self._rows)]
        section: Shaped[np.ndarray, "h w"] = np.concatenate(rows)
        return section.astype(self.dtype, copy=False)

    def read_box(self, box: Box) -> Shaped[np.ndarray, "z y x"]:
        """The values of a box; no chunk of it stays decoded."""
        with self._damage_near(box.start_zyx[0]):
            return self._decoded(box).astype(self.dtype, copy=False)

    @contextmanager
    def _damage_near(self, z: int) -> Iterator[None]:
        try:
            yield
        except MitosamError:
            raise
        except ZARR_ERRORS as error:
            raise InputError(
                f"{self.folder} is damaged near section {z + 1} "
                f"({str(error) or type(error).__name__}); copy it again from its source"
            ) from error

    def _rows_of(self, z: int, y: int) -> Shaped[np.ndarray, "rows w"]:
        start = self._slab * self._depth
        if y // self._rows >= self._num_kept:
            start, strip = z, self._decoded(self._strip(z, z + 1, y))
        elif y in self._strips:
            strip = self._strips[y]
        else:
            strip = self._strips[y] = self._decoded(self._strip(start, start + self._depth, y))
        rows: Shaped[np.ndarray, "rows w"] = strip[z - start]
        return rows

    def _strip(self, start: int, stop: int, y: int) -> Box:
        depth, height, width = self.shape_zyx
        return Box((start, y, 0), (min(stop, depth), min(y + self._rows, height), width))

    def _decoded(self, box: Box) -> Shaped[np.ndarray, "z y x"]:
        return self._axes.as_zyx(np.asarray(self._array[self._axes.selection(box)]))


def _open_array(level: Node) -> zarr.Array[Any]:
    try:
        return open_guarded(level.folder, level.compressor, zarr_format=level.zarr_format)
    except MitosamError:
        raise
    except ZARR_ERRORS as error:
        raise InputError(
            f"{level.folder} is no readable zarr array ({str(error) or type(error).__name__}); "
            "copy it again from its source"
        ) from error
