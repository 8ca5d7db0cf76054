"""OME-Zarr label volumes and images, written block by block and taken up again after a stop.

A `ZarrDraft` is a folder that holds the growing volume, what it is to become (`draft.json`) and
which blocks are in it (`done-*.txt`, one file for each process that wrote some); `finish` adds the
pyramid and the metadata and moves the volume to its place. Memory holds one block, and for the
pyramid the eight chunks that one is made of.
"""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import tempfile
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Shaped

from mitosam.errors import InputError, OutputExistsError
from mitosam.io.ome_zarr_attributes import check_place, image_attributes, list_label
from mitosam.io.ome_zarr_metadata import read_node
from mitosam.io.ome_zarr_pyramid import Level, Zyx, chunk_blocks, fill_block, plan_levels, span
from mitosam.io.ome_zarr_spec import VolumeSpec, create_array
from mitosam.io.volume import READ_ERRORS
from mitosam.io.zarr_chunks import chunk_files
from mitosam.progress import SILENT, Progress
from mitosam.storage import disk_errors_of, require_free, write_text

_SPEC, _DONE, _VOLUME = "draft.json", "done*.txt", "volume"
_WHOLE = "."
"""Ends each note of what is done, for a number that was cut short is a number still."""


def draft_folder(path: Path) -> Path:
    """The hidden folder beside `path` in which it is usually drafted."""
    return path.with_name(f".{path.name}.draft")


class ZarrDraft:
    """A volume that is being written; `open_or_create` makes one.

    Blocks begin and end where chunks do, or at the volume's end, so that each chunk is written at
    once and whole. Several processes may write different blocks of the same draft.
    """

    def __init__(self, folder: Path, spec: VolumeSpec) -> None:
        import zarr

        self.folder = folder
        self.spec = spec
        read_node(folder / _VOLUME / "0")  # raises where a codec could run what stands in a chunk
        self._array = zarr.open_array(store=folder / _VOLUME / "0", mode="r+")
        self._done = self._read_done()

    @classmethod
    def open_or_create(cls, folder: Path, spec: VolumeSpec) -> ZarrDraft:
        """The draft in `folder` with what is done already, or a new one.

        Raises
        ------
        InputError
            The draft in `folder` is of another volume.
        OutputExistsError
            There is something else in `folder`.
        StorageError
            The disk is full or cannot be written.
        """
        begun = folder / _SPEC
        if not (begun.exists() and (folder / _VOLUME).is_dir()):
            _create(folder, spec)
        elif begun.read_bytes() != spec.to_json().encode():
            raise InputError(
                f"{folder} was begun for a volume of another shape, type, voxel size or chunks; "
                "remove it to begin anew"
            )
        return cls(folder, spec)

    @property
    def sections_done(self) -> int:
        """How many sections, counted from the first, are complete: where a stopped run goes on."""
        layers = self._done.all(axis=(1, 2))
        complete = layers.size if layers.all() else int(layers.argmin())
        return min(complete * self.spec.chunk_zyx[0], self.spec.shape_zyx[0])

    def write_sections(self, z0: int, sections: Shaped[np.ndarray, "z height width"]) -> None:
        """Write a slab of whole sections; `z0` is a multiple of the chunks' depth.

        Raises
        ------
        InputError
            The slab does not begin and end where chunks do, or is of another size or dtype.
        """
        self.write_block((z0, 0, 0), sections)

    def write_block(self, start_zyx: Zyx, block: Shaped[np.ndarray, "z y x"]) -> None:
        """Write a block, and note that it is done once it is on the disk.

        Raises
        ------
        InputError
            The block does not begin and end where chunks do, or is of another dtype.
        StorageError
            The disk is full or cannot be written.
        """
        z, y, x = (start + n for start, n in zip(start_zyx, block.shape, strict=True))
        stop_zyx = (z, y, x)
        self._check_block(start_zyx, stop_zyx, block.dtype)
        region = tuple(slice(a, b) for a, b in zip(start_zyx, stop_zyx, strict=True))
        with disk_errors_of(self.folder):
            if block.any():
                self._array[region] = block
                self._flush(region)
            else:
                for chunk in self._chunk_files(0, self._array, region):  # that a stop may have left
                    chunk.unlink(missing_ok=True)
            self._note(" ".join(str(n) for n in (*start_zyx, *stop_zyx)))
        self._done[self._chunks_of(start_zyx, stop_zyx)] = True

    def holds(self, start_zyx: Zyx, block: Shaped[np.ndarray, "z y x"]) -> bool:
        """Whether a block of these voxels is done there."""
        z, y, x = (start + n for start, n in zip(start_zyx, block.shape, strict=True))
        if not self._done[self._chunks_of(start_zyx, (z, y, x))].all():
            return False
        region = tuple(slice(a, b) for a, b in zip(start_zyx, (z, y, x), strict=True))
        try:
            return np.array_equal(np.asarray(self._array[region]), block)
        except READ_ERRORS:  # a chunk that was damaged
            return False

    def finish(self, into: Path, progress: Progress = SILENT) -> Path:
        """Add the coarser levels and the metadata, and move the volume to `into`.

        `into` lies on the draft's disk. In the `labels` folder of an OME-Zarr image, the volume is
        added to that image's list of labels. A finish that was stopped is repeated from the level
        at which it stopped.

        Raises
        ------
        InputError
            Blocks are missing.
        OutputExistsError
            `into` holds something already.
        StorageError
            The disk is full or cannot be written.
        """
        require_free(into)
        check_place(into, self.spec.ngff_version)
        self._done = self._read_done()
        if not self._done.all():
            raise InputError(
                f"{self.folder} lacks {np.count_nonzero(~self._done)} of {self._done.size} blocks, "
                f"the first from section {self.sections_done + 1}; write them before finishing it"
            )
        levels = plan_levels(self.spec.shape_zyx, self.spec.voxel_size_nm)
        with disk_errors_of(into):
            for number in range(1, len(levels)):
                self._add_level(number, levels[number], progress)
            self._describe(levels, into)
            self._move(into)
        return into

    def _check_block(self, start_zyx: Zyx, stop_zyx: Zyx, dtype: np.dtype[Any]) -> None:
        spec = self.spec
        bounds = zip(start_zyx, stop_zyx, spec.shape_zyx, spec.chunk_zyx, strict=True)
        fits = all(
            0 <= a < b <= n and a % chunk == 0 and (b % chunk == 0 or b == n)
            for a, b, n, chunk in bounds
        )
        if not fits or dtype != spec.dtype:
            raise InputError(
                f"blocks must be of {spec.dtype} and begin and end at multiples of the chunks "
                f"{spec.chunk_zyx} or at the volume's end {spec.shape_zyx}, got {dtype} "
                f"from {start_zyx} to {stop_zyx}"
            )

    def _chunks_of(self, start_zyx: Zyx, stop_zyx: Zyx) -> tuple[slice, ...]:
        bounds = zip(start_zyx, stop_zyx, self.spec.chunk_zyx, strict=True)
        return tuple(slice(a // chunk, -(-b // chunk)) for a, b, chunk in bounds)

    def _chunk_files(self, level: int, array: Any, region: tuple[slice, ...]) -> Iterator[Path]:  # noqa: ANN401
        return chunk_files(self.folder / _VOLUME / str(level), array, region)

    def _flush(self, region: tuple[slice, ...]) -> None:
        """Have the chunks of a block on the disk itself."""
        files = [file for file in self._chunk_files(0, self._array, region) if file.exists()]
        for path in (*files, *{file.parent for file in files}):
            _sync(path)

    def _note(self, line: str) -> None:
        """Append a line to this process's own file: over networks no two may append to one."""
        name = f"done-{socket.gethostname()}-{os.getpid()}.txt"
        descriptor = os.open(self.folder / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            os.write(descriptor, f"\n{line} {_WHOLE}\n".encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _notes(self) -> list[list[str]]:
        """The words of each note of what is done; one that a stop cut short does not count."""
        files = self.folder.glob(_DONE)
        texts = [path.read_text(encoding="ascii", errors="replace") for path in files]
        lines = [line.split() for text in texts for line in text.splitlines()]
        return [words[:-1] for words in lines if words and words[-1] == _WHOLE]

    def _read_done(self) -> Bool[np.ndarray, "gz gy gx"]:
        done = np.zeros(self.spec.grid_zyx, bool)
        for words in self._notes():
            if len(words) == 6 and all(map(str.isdecimal, words)):
                z0, y0, x0, z1, y1, x1 = map(int, words)
                done[self._chunks_of((z0, y0, x0), (z1, y1, x1))] = True
        return done

    def _add_level(self, number: int, level: Level, progress: Progress) -> None:
        import zarr

        if ["level", str(number)] in self._notes():
            return
        volume = self.folder / _VOLUME
        fine = zarr.open_array(store=volume / str(number - 1), mode="r")
        coarse = create_array(volume, number, level.shape_zyx, self.spec)
        blocks = list(chunk_blocks(level.shape_zyx, coarse.chunks))
        for block in progress.track(blocks, f"pyramid level {number}", unit="block"):
            source = span(block, level.halved_zyx)
            if any(file.exists() for file in self._chunk_files(number - 1, fine, source)):
                fill_block(fine, coarse, block, level.halved_zyx, self.spec.kind)
        self._note(f"level {number}")

    def _describe(self, levels: tuple[Level, ...], into: Path) -> None:
        import zarr

        attributes = image_attributes(
            levels,
            name=self.spec.name or into.name.removesuffix(".zarr").removesuffix(".ome"),
            kind=self.spec.kind,
            voxel_size_nm=self.spec.voxel_size_nm,
            ngff_version=self.spec.ngff_version,
            in_image=into.parent.name == "labels",
        )
        zarr.open_group(store=self.folder / _VOLUME, mode="r+").attrs.put(attributes)

    def _move(self, into: Path) -> None:
        volume = self.folder / _VOLUME
        for partial in volume.rglob("*.partial"):  # of a chunk that was being written at a kill
            partial.unlink()
        into.parent.mkdir(parents=True, exist_ok=True)
        list_label(into, self.spec.ngff_version)
        volume.rename(into)
        _sync(into.parent)
        shutil.rmtree(self.folder)


def write_ome_zarr(
    path: Path,
    sections: Iterable[Shaped[np.ndarray, "height width"]],
    spec: VolumeSpec,
    progress: Progress = SILENT,
) -> None:
    """Write sections as they come; as many as a chunk is deep are in memory at a time.

    Raises
    ------
    InputError
        The sections are more or fewer than `spec` says, or of another size or dtype.
    OutputExistsError
        `path` holds something already.
    """
    require_free(path)
    with disk_errors_of(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        draft = ZarrDraft.open_or_create(Path(folder), spec)
        remaining = iter(sections)
        for z0 in range(0, spec.shape_zyx[0], spec.chunk_zyx[0]):
            num = min(spec.chunk_zyx[0], spec.shape_zyx[0] - z0)
            draft.write_sections(z0, _slab(path, list(itertools.islice(remaining, num)), num))
        if next(remaining, None) is not None:
            raise InputError(f"{path} was to hold {spec.shape_zyx[0]} sections, but more came")
        draft.finish(path, progress)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _slab(
    path: Path, sections: list[Shaped[np.ndarray, "height width"]], num: int
) -> Shaped[np.ndarray, "z height width"]:
    if len(sections) < num or len({section.shape for section in sections}) > 1:
        shapes = sorted({section.shape for section in sections})
        raise InputError(
            f"the next {num} sections of {path} must be equally large, "
            f"but {len(sections)} came, of the shapes {shapes}"
        )
    return np.stack(sections)


def _create(folder: Path, spec: VolumeSpec) -> None:
    """A new draft in `folder`, which may hold what is left of one never begun or just finished."""
    import zarr

    held = {item.name for item in folder.iterdir()} if folder.is_dir() else set()
    ours = (_SPEC, _DONE, _VOLUME, f".{_SPEC}*")
    foreign = [name for name in held if not any(fnmatchcase(name, own) for own in ours)]
    if folder.is_file() or foreign:
        raise OutputExistsError(f"{folder} holds something else; choose another folder")
    with disk_errors_of(folder):
        shutil.rmtree(folder, ignore_errors=True)
        (folder / _VOLUME).mkdir(parents=True)
        zarr.create_group(store=folder / _VOLUME, zarr_format=spec.zarr_format)
        create_array(folder / _VOLUME, 0, spec.shape_zyx, spec)
        write_text(folder / _SPEC, spec.to_json())  # last: where it stands, the array does


def _sync(path: Path) -> None:
    if path.is_dir() and os.name == "nt":
        return  # Windows opens no folders
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
