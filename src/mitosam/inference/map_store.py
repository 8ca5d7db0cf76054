"""Maps of a volume on disk, and the instances made of them block by block.

Each stage leaves its blocks on disk, so that what a stop interrupts goes on from there; blocks may
be worked on in any order and by several processes. Memory holds a block and its margins.
"""

from __future__ import annotations

import hashlib
import io
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from jaxtyping import Int, UInt8, UInt32

from mitosam.checksums import read_sealed, write_sealed
from mitosam.errors import DamagedFileError
from mitosam.geometry import Box
from mitosam.inference.block_array import BlockArray
from mitosam.inference.blocks import BlockGrid, sections_grid, square_grid
from mitosam.inference.cores import REACH_PX, CoreSummary, margin_px, median_of_sections
from mitosam.inference.instance_settings import InstanceSettings
from mitosam.inference.instances import block_cores, block_instances
from mitosam.inference.joining import Extents, Joined, join_cores, number_kept
from mitosam.progress import SILENT, Progress

MAPS = "maps"
SECTIONS_PER_BLOCK = 16
BLOCK_VOXELS = 1 << 24
"""Voxels of a block of instances; each takes about 20 bytes of memory."""
SUMMARIES_HELD = 8
Maps = UInt8[np.ndarray, "2 height width"]
Summary = TypeVar("Summary", CoreSummary, Extents)


def sections_per_block(shape_yx: tuple[int, int]) -> int:
    """How many whole sections of this size a block holds, so that memory has a bound.

    >>> sections_per_block((768, 1024)), sections_per_block((4096, 4096))
    (16, 1)
    """
    return max(1, min(SECTIONS_PER_BLOCK, BLOCK_VOXELS // (shape_yx[0] * shape_yx[1])))


class EachBlock(Protocol):
    """What calls a function for each of some blocks, in any order and perhaps elsewhere."""

    def __call__(self, stage: Callable[[int], None], blocks: Sequence[int], title: str) -> None:
        """Have `stage(block)` done for all of them."""
        ...


class MapStore:
    """Foreground and boundary of each voxel, 0 to 255, in blocks of a grid of their own."""

    def __init__(
        self,
        folder: Path,
        shape_zyx: tuple[int, int, int],
        *,
        grid: BlockGrid | None = None,
        label_grid: BlockGrid | None = None,
    ) -> None:
        """By default maps lie in blocks of whole sections, and instances in blocks of a size."""
        self.folder = folder
        self.shape_zyx = shape_zyx
        self.grid = grid or sections_grid(shape_zyx, sections_per_block(shape_zyx[1:]))
        self.label_grid = label_grid or square_grid(shape_zyx, SECTIONS_PER_BLOCK, BLOCK_VOXELS)
        self.maps = BlockArray(folder / MAPS, self.grid, np.uint8, channels=2)

    def fill(
        self, compute: Callable[[int], Maps], *, title: str, progress: Progress = SILENT
    ) -> None:
        """Compute the maps of every section whose block, of whole sections, is not there yet."""
        missing = self.maps.missing()
        blocks = {n: range(*self.grid.box(n).slices[0].indices(self.shape_zyx[0])) for n in missing}
        sections = [z for block in blocks.values() for z in block]
        done = iter(progress.track(sections, title, unit="section"))
        for number, block in blocks.items():
            self.maps.write(number, np.stack([compute(next(done)) for _ in block], axis=1))
        next(done, None)  # so that the last section counts as done

    def check(self, progress: Progress = SILENT) -> None:
        """Read all blocks of maps that are done; those that were damaged count as missing."""
        done = sorted({*range(len(self.grid))} - {*self.maps.missing()})
        for number in progress.track(done, "checking what is done", unit="block"):
            self.maps.check(number)

    def section(self, z: int) -> Maps:
        """The maps of section `z`."""
        return np.asarray(self.maps.read(self._sections(z, z + 1))[:, 0])

    def foreground(self, z: int, radius: int = 0) -> UInt8[np.ndarray, "height width"]:
        """The foreground of section `z`, the median of it and its neighbours."""
        last = self.shape_zyx[0] - 1
        first = max(z - radius, 0)
        near = self.maps.read(self._sections(first, min(z + radius, last) + 1))[0]
        places = (min(max(z + step, 0), last) - first for step in range(-radius, radius + 1))
        return median_of_sections([near[place] for place in places])

    def label(
        self, settings: InstanceSettings, progress: Progress = SILENT
    ) -> Iterator[Int[np.ndarray, "height width"]]:
        """The sections' instances, one after the other, numbered through the stack from 1."""
        found = self.find(settings, in_turn(progress))
        depth = self.label_grid.block_zyx[0]
        for z in range(0, self.shape_zyx[0], depth):
            yield from found.read(self._sections(z, min(z + depth, self.shape_zyx[0])))

    def find(self, settings: InstanceSettings, each_block: EachBlock) -> FoundInstances:
        """Find the instances, where that is not done yet. Those of other settings are removed."""
        folder = self._folder_of(settings)
        blocks = range(len(self.label_grid))
        cores = CoreStage(self, settings, folder)
        each_block(cores, blocks, "finding instances")
        joined = join_cores(self.label_grid, lru_cache(SUMMARIES_HELD)(cores.summary),
                            settings.link_overlap)  # fmt: skip
        _write_numbers(folder / NUMBERS, joined)
        grown = InstanceStage(self, settings, folder)
        each_block(grown, blocks, "connecting instances")
        extents = (grown.summary(number) for number in range(len(self.label_grid)))
        final = number_kept(extents, joined.num_instances, self.shape_zyx[0], settings)
        write_sealed(folder / FINAL, _packed(final=final))
        return FoundInstances(grown.blocks, folder / FINAL)

    def clear(self) -> None:
        """Remove all that is stored."""
        shutil.rmtree(self.folder / MAPS, ignore_errors=True)
        for folder in self._label_folders():
            shutil.rmtree(folder)

    def _folder_of(self, settings: InstanceSettings) -> Path:
        facts = f"{settings.model_dump_json()} {self.label_grid}"
        folder = self.folder / f"instances-{hashlib.sha256(facts.encode()).hexdigest()[:16]}"
        for other in self._label_folders():
            if other != folder:
                shutil.rmtree(other)
        return folder

    def _label_folders(self) -> list[Path]:
        return list(self.folder.glob("instances-*"))

    def _sections(self, start: int, stop: int) -> Box:
        return Box((start, 0, 0), (stop, *self.shape_zyx[1:]))


class FoundInstances:
    """The instances of a volume, on disk; the file `numbers` says which are kept, and as what."""

    def __init__(self, blocks: BlockArray, numbers: Path) -> None:
        self._blocks = blocks
        self._path = numbers
        self._numbers: UInt32[np.ndarray, " n"] | None = None

    def __reduce__(self) -> tuple[type[FoundInstances], tuple[BlockArray, Path]]:
        return FoundInstances, (self._blocks, self._path)

    def read(self, box: Box) -> UInt32[np.ndarray, "z y x"]:
        """The instances of a box."""
        if self._blocks.is_blank(box):
            return np.zeros(box.shape_zyx, np.uint32)
        if self._numbers is None:
            with np.load(io.BytesIO(read_sealed(self._path)), allow_pickle=False) as held:
                self._numbers = held["final"]
        return np.asarray(self._numbers[self._blocks.read(box)[0]])


class Stage:
    """One step for each block: voxels and a summary of them, both on disk and both checked."""

    def __init__(
        self, store: MapStore, settings: InstanceSettings, folder: Path, name: str
    ) -> None:
        self.store = store
        self.settings = settings
        self.folder = folder
        self.blocks = BlockArray(folder / name, store.label_grid, np.uint32)

    def __call__(self, number: int) -> None:
        """Do a block, unless it is done and whole."""
        if not self._is_whole(number):
            self._write(number, *self._made(number))

    def _made(self, number: int) -> tuple[UInt32[np.ndarray, "z y x"], CoreSummary | Extents]:
        raise NotImplementedError

    def _is_whole(self, number: int) -> bool:
        try:
            read_sealed(self._path(number))
        except (FileNotFoundError, DamagedFileError):
            return False
        return self.blocks.check(number)

    def _path(self, number: int) -> Path:
        return self.blocks.folder / "summaries" / f"{number:09d}"

    def _outer(self, box: Box, margin_px: int) -> Box:
        radius = self.settings.z_radius
        return box.grown((radius, margin_px, margin_px), self.store.shape_zyx)

    def _write(
        self, number: int, labels: UInt32[np.ndarray, "z y x"], summary: CoreSummary | Extents
    ) -> None:
        _write_summary(self._path(number), summary)
        self.blocks.write(number, labels[None])


class CoreStage(Stage):
    """The cores of each block, numbered in it."""

    def __init__(self, store: MapStore, settings: InstanceSettings, folder: Path) -> None:
        super().__init__(store, settings, folder, "cores")

    def summary(self, number: int) -> CoreSummary:
        """What joins a block's cores with those of others."""
        return _read_summary(self._path(number), CoreSummary)

    def _made(self, number: int) -> tuple[UInt32[np.ndarray, "z y x"], CoreSummary]:
        box = self.blocks.grid.box(number)
        outer = self._outer(box, margin_px(self.settings))
        maps = self.store.maps.read(outer)
        return block_cores(maps, outer, box, self.store.shape_zyx, self.settings)


class InstanceStage(Stage):
    """The instances of each block, with the numbers that joining gave them."""

    def __init__(self, store: MapStore, settings: InstanceSettings, folder: Path) -> None:
        super().__init__(store, settings, folder, "grown")
        self._cores = BlockArray(folder / "cores", store.label_grid, np.uint32)
        self._joined: Joined | None = None

    def summary(self, number: int) -> Extents:
        """How far a block's instances reach in it."""
        return _read_summary(self._path(number), Extents)

    def _made(self, number: int) -> tuple[UInt32[np.ndarray, "z y x"], Extents]:
        box, shape_zyx = self.blocks.grid.box(number), self.store.shape_zyx
        outer = self._outer(box, REACH_PX)
        seen = box.grown((0, REACH_PX, REACH_PX), shape_zyx)
        return block_instances(
            self.store.maps.read(outer), self._instances_at_cores(seen),
            outer, box, shape_zyx, self.settings,
        )  # fmt: skip

    def _instances_at_cores(self, seen: Box) -> UInt32[np.ndarray, "z y x"]:
        self._joined = self._joined or _read_numbers(self.folder / NUMBERS)
        found = np.zeros(seen.shape_zyx, np.uint32)
        for number in self.blocks.grid.blocks_in(seen):
            instances = self._joined.of_block(number)
            if len(instances) == 1:
                continue  # it has no cores
            part = self.blocks.grid.box(number).common(seen)
            labels = self._cores.read(part)[0]
            found[part.seen_from(seen).slices] = instances[labels]
        return found


def in_turn(progress: Progress) -> EachBlock:
    """One block after the other, in this process."""

    def each_block(stage: Callable[[int], None], blocks: Sequence[int], title: str) -> None:
        for number in progress.track(blocks, title, unit="block"):
            stage(number)

    return each_block


NUMBERS, FINAL = "numbers", "final"


def _write_numbers(path: Path, joined: Joined) -> None:
    write_sealed(path, _packed(numbers=joined.numbers, starts=joined.starts))


def _read_numbers(path: Path) -> Joined:
    with np.load(io.BytesIO(read_sealed(path)), allow_pickle=False) as held:
        return Joined(numbers=held["numbers"], starts=held["starts"])


def _write_summary(path: Path, summary: CoreSummary | Extents) -> None:
    arrays: dict[str, np.ndarray] = {}
    for name in (field.name for field in fields(summary)):
        value = getattr(summary, name)
        planes = value if name in PLANES else [value]
        arrays |= {f"{name}{i}": np.asarray(plane) for i, plane in enumerate(planes)}
    write_sealed(path, _packed(**arrays))


def _read_summary(path: Path, kind: type[Summary]) -> Summary:
    with np.load(io.BytesIO(read_sealed(path)), allow_pickle=False) as held:
        values: dict[str, Any] = {}
        for name in (field.name for field in fields(kind)):
            values[name] = (
                tuple(held[f"{name}{i}"] for i in range(3)) if name in PLANES else held[f"{name}0"]
            )
        return kind(**values)


PLANES = ("faces", "seams")


def _packed(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()
