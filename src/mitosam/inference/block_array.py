"""An array on disk that is written block by block, by several processes, and checked when read."""

from __future__ import annotations

import itertools
import logging
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from mitosam.checksums import checksum_of_parts, read_sealed, write_sealed
from mitosam.errors import DamagedFileError
from mitosam.geometry import Box
from mitosam.inference.blocks import STEP_PX, BlockGrid
from mitosam.io.ome_zarr_metadata import read_node
from mitosam.io.zarr_chunks import chunk_files
from mitosam.storage import disk_errors_of

log = logging.getLogger(__name__)

CHUNK_PX = 2 * STEP_PX
_ARRAY, _DONE = "array.zarr", "done"
_BLANK = b"blank"
"""Stands in the mark of a block of zeros, which has no chunks, for a checksum."""
READ_ERRORS = (
    *(OSError, ValueError, RuntimeError, LookupError),
    *(TypeError, ArithmeticError, AttributeError, EOFError, MemoryError),
)
"""What zarr and its codecs raise on chunks that are damaged."""
OPEN_ERRORS = (
    *(FileNotFoundError, NotADirectoryError, IsADirectoryError),
    *(error for error in READ_ERRORS if error is not OSError),
)
"""What opening an array raises that is not there or damaged: not what a lost disk does."""


class BlockArray:
    """Voxels of some channels, compressed; each block is whole or counts as not written.

    A block is done once its checksum is on the disk beside it. `check` finds the blocks that were
    damaged since, which then count as not written.
    """

    def __init__(
        self,
        folder: Path,
        grid: BlockGrid,
        dtype: type[Any],
        channels: int = 1,
        *,
        begin: bool = True,
    ) -> None:
        """An array that is not there, is damaged or of another kind is begun anew, if so asked.

        Raises
        ------
        DamagedFileError
            It would have to be begun anew, and was not to be, or its disk cannot be read.
        StorageError
            Its disk fails.
        """
        self.folder = folder
        self.grid = grid
        self._dtype = np.dtype(dtype)
        self._channels = channels
        self._array = self._opened(begin=begin)

    def __reduce__(self) -> tuple[partial[BlockArray], tuple[Any, ...]]:
        # What a worker is given has been begun; if it cannot see it, nothing is to be removed.
        again = partial(BlockArray, begin=False)
        return again, (self.folder, self.grid, self._dtype.type, self._channels)

    def is_done(self, number: int) -> bool:
        """Whether a block is written."""
        return self._mark(number).exists()

    def missing(self) -> list[int]:
        """The blocks that are not written."""
        done = self.folder / _DONE
        there = {path.name for path in done.iterdir()} if done.is_dir() else set()
        return [n for n in range(len(self.grid)) if self._mark(n).name not in there]

    def write(self, number: int, block: Shaped[np.ndarray, "channels z y x"]) -> None:
        """Write a block, and mark it as done."""
        self.forget(number)
        block = block.astype(self._dtype, copy=False)
        with disk_errors_of(self.folder):
            if block.any():
                self._array[:, *self.grid.box(number).slices] = block
            else:
                for chunk in self._chunks(number):  # that a stop may have left
                    chunk.unlink(missing_ok=True)
        write_sealed(self._mark(number), _digest(block))

    def is_blank(self, box: Box) -> bool:
        """Whether the blocks that hold a box are known to be zeros, without reading them."""
        try:
            marks = (read_sealed(self._mark(number)) for number in self.grid.blocks_in(box))
            return all(mark == _BLANK for mark in marks)
        except (FileNotFoundError, DamagedFileError):
            return False

    def read(self, box: Box) -> Shaped[np.ndarray, "channels z y x"]:
        """The voxels of a box of which all blocks are done.

        Raises
        ------
        DamagedFileError
            A chunk of it is damaged.
        """
        if self.is_blank(box):
            return np.zeros((self._channels, *box.shape_zyx), self._dtype)
        try:
            return np.asarray(self._array[:, *box.slices])
        except READ_ERRORS as error:
            raise DamagedFileError(
                f"{self.folder} is damaged near section {box.start_zyx[0] + 1} "
                f"({str(error) or type(error).__name__}); run again, and it is made anew"
            ) from error

    def check(self, number: int) -> bool:
        """Whether a block is done and holds what was written; if it does not, it is forgotten."""
        try:
            expected = read_sealed(self._mark(number))
            if expected == _BLANK:
                is_whole = not any(chunk.exists() for chunk in self._chunks(number))
            else:
                is_whole = _digest(self.read(self.grid.box(number))) == expected
            if is_whole:
                return True
        except FileNotFoundError:
            return False
        except DamagedFileError as error:
            log.warning("%s", error)
        log.warning("block %d of %s is damaged and will be made anew", number, self.folder)
        self.forget(number)
        return False

    def forget(self, number: int) -> None:
        """Take a block as not written."""
        self._mark(number).unlink(missing_ok=True)

    def _chunks(self, number: int) -> Iterator[Path]:
        channels = slice(0, self._channels)
        region = (channels, *self.grid.box(number).slices)
        return chunk_files(self.folder / _ARRAY, self._array, region)

    def _mark(self, number: int) -> Path:
        return self.folder / _DONE / f"{number:09d}"

    def _opened(self, *, begin: bool) -> Any:  # noqa: ANN401 (zarr is imported late)
        path = self.folder / _ARRAY
        try:
            return self._checked(path)
        except OPEN_ERRORS as error:
            if not begin or _is_of_disk(error.__cause__):
                raise DamagedFileError(
                    f"{path} cannot be opened ({error}); if its disk is there, run again"
                ) from error
        shutil.rmtree(self.folder, ignore_errors=True)
        return self._created(path)

    def _checked(self, path: Path) -> Any:  # noqa: ANN401
        import zarr

        with disk_errors_of(self.folder):
            read_node(path)  # raises where a codec could run what stands in a chunk
            array = zarr.open_array(store=path, mode="r+")
        block_zyx = array.attrs.get("block_zyx")
        if (array.shape, array.dtype) != (self._shape, self._dtype) or block_zyx != list(
            self.grid.block_zyx
        ):
            raise ValueError(f"it is {array.dtype} of {array.shape} in blocks of {block_zyx}")
        return array

    @property
    def _shape(self) -> tuple[int, ...]:
        return (self._channels, *self.grid.shape_zyx)

    def _created(self, path: Path) -> Any:  # noqa: ANN401
        import zarr
        from zarr.codecs import ZstdCodec

        shape = self._shape
        sides = zip(self.grid.block_zyx[1:], self.grid.shape_zyx[1:], strict=True)
        # The chunks of a block are its own, so that two processes never write one chunk.
        chunks = (self._channels, self.grid.block_zyx[0], *(_chunk_px(*side) for side in sides))
        with disk_errors_of(self.folder):
            return zarr.create_array(
                store=path,
                shape=shape,
                dtype=self._dtype,
                chunks=tuple(map(min, chunks, shape)),
                compressors=ZstdCodec(level=1, checksum=True),
                fill_value=0,
                attributes={"block_zyx": list(self.grid.block_zyx)},
            )


def _is_of_disk(cause: BaseException | None) -> bool:
    """Whether a disk failed, rather than that a file was missing, which a stop may have caused."""
    return isinstance(cause, OSError) and not isinstance(cause, OPEN_ERRORS)


def begun_grid(folder: Path) -> BlockGrid | None:
    """The blocks of the array in a folder; None where there is none that can be opened."""
    try:
        return _begun(folder)[1]
    except READ_ERRORS:
        return None


def find_damaged_blocks(folder: Path) -> tuple[int, list[str]]:
    """How many blocks are marked as done in an array's folder, and the marks that do not fit.

    Nothing is changed.

    Raises
    ------
    DamagedFileError
        The array itself cannot be opened.
    """
    try:
        array, grid = _begun(folder)
    except READ_ERRORS as error:
        raise DamagedFileError(f"{folder} is no array of blocks ({error}); run again") from error
    marks = [path for path in (folder / _DONE).glob("*") if path.name.isdigit()]
    return len(marks), [path.name for path in sorted(marks) if not _fits(array, grid, path)]


def _begun(folder: Path) -> tuple[Any, BlockGrid]:
    import zarr

    read_node(folder / _ARRAY)
    array: Any = zarr.open_array(store=folder / _ARRAY, mode="r")
    z, y, x = map(int, array.attrs["block_zyx"])
    return array, BlockGrid(array.shape[1:], (z, y, x))


def _fits(array: Any, grid: BlockGrid, mark: Path) -> bool:  # noqa: ANN401 (zarr is imported late)
    try:
        block = np.asarray(array[:, *grid.box(int(mark.name)).slices])
        return _digest(block) == read_sealed(mark)
    except (*READ_ERRORS, DamagedFileError):
        return False


def _chunk_px(block_px: int, length: int) -> int:
    """The side of a chunk: it divides the block's, unless there is one block alone."""
    sides = (CHUNK_PX, STEP_PX, block_px)
    return CHUNK_PX if block_px == length else next(px for px in sides if block_px % px == 0)


def _digest(block: Shaped[np.ndarray, "channels z y x"]) -> bytes:
    if not block.any():
        return _BLANK
    planes = itertools.product(range(block.shape[0]), range(block.shape[1]))
    return checksum_of_parts(np.ascontiguousarray(block[p]).data for p in planes).encode()
