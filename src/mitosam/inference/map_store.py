"""Maps of a stack on disk, in blocks of sections: what a killed segmentation goes on from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8

from mitosam.inference.instances import (
    Extents,
    GlobalCores,
    InstanceSettings,
    grow_section,
    is_sure,
    label_cores,
    median_of_sections,
    section_cores,
)
from mitosam.progress import SILENT, Progress
from mitosam.storage import atomic_path

SECTIONS_PER_BLOCK = 16
BLOCK_PX = 1 << 24
"""Pixels of a block from which it holds fewer sections; each takes about 20 bytes of memory."""
MAPPED_BLOCKS = 5
"""Files that are mapped at once: a block and those that a median reaches into."""
Maps = UInt8[np.ndarray, "2 height width"]


def sections_per_block(shape_yx: tuple[int, int]) -> int:
    """How many sections of this size a block holds, so that memory has a bound.

    >>> sections_per_block((768, 1024)), sections_per_block((4096, 4096))
    (16, 1)
    """
    return max(1, min(SECTIONS_PER_BLOCK, BLOCK_PX // (shape_yx[0] * shape_yx[1])))


class MapStore:
    """Foreground and boundary of each section, 0 to 255, and the instances made of them.

    A block's file appears under its name once it is whole. Only a block is held at a time.
    """

    def __init__(
        self, folder: Path, num_sections: int, *, sections_per_block: int = SECTIONS_PER_BLOCK
    ) -> None:
        self.folder = folder
        self.num_sections = num_sections
        self._size = sections_per_block
        self._opened: dict[Path, np.ndarray] = {}

    @property
    def blocks(self) -> list[range]:
        """The sections of each block."""
        starts = range(0, self.num_sections, self._size)
        return [range(z, min(z + self._size, self.num_sections)) for z in starts]

    def fill(
        self, compute: Callable[[int], Maps], *, title: str, progress: Progress = SILENT
    ) -> None:
        """Compute the maps of every section whose block is not there yet."""
        missing = [block for block in self.blocks if not self._maps(block).exists()]
        sections = [z for block in missing for z in block]
        done = iter(progress.track(sections, title, unit="section"))
        for block in missing:
            self._write(self._maps(block), np.stack([compute(next(done)) for _ in block]))
        next(done, None)  # so that the last section counts as done

    def section(self, z: int) -> Maps:
        """The maps of section `z`."""
        return np.asarray(self._read(self._maps(self._block_of(z)), z % self._size))

    def foreground(self, z: int, radius: int = 0) -> UInt8[np.ndarray, "height width"]:
        """The foreground of section `z`, the median of it and its neighbours."""
        return self._median(z, 0, radius)

    def label(
        self, settings: InstanceSettings, progress: Progress = SILENT
    ) -> Iterator[Int[np.ndarray, "height width"]]:
        """The sections' instances, one after the other, numbered through the stack from 1."""
        cores = self._connect(settings, progress)
        final = self._grow(cores, settings, progress).keep(settings)
        for block in self.blocks:
            for z in block:
                yield final[self._read(self._grown(block), z % self._size)]

    def clear(self) -> None:
        """Remove all that is stored."""
        self._opened.clear()
        for block in self.blocks:
            self._maps(block).unlink(missing_ok=True)
            self._grown(block).unlink(missing_ok=True)

    def _median(self, z: int, kind: int, radius: int) -> UInt8[np.ndarray, "height width"]:
        last = self.num_sections - 1
        near = [min(max(z + step, 0), last) for step in range(-radius, radius + 1)]
        return median_of_sections([self.section(section)[kind] for section in near])

    def _connect(self, settings: InstanceSettings, progress: Progress) -> GlobalCores:
        """Write each block's cores, and say how they hang together."""
        found = GlobalCores(settings.link_overlap)
        for block in progress.track(self.blocks, "finding instances", unit="block"):
            parts = [self._parts(z, settings) for z in block]
            cores = label_cores(np.stack([core for _, core in parts]))
            found.add(cores)
            self._write(self._grown(block), _grown(cores.labels, [mask for mask, _ in parts]))
        return found

    def _parts(self, z: int, settings: InstanceSettings) -> tuple[np.ndarray, np.ndarray]:
        radius = settings.z_radius
        return section_cores(self._median(z, 0, radius), self._median(z, 1, radius), settings)

    def _grow(self, cores: GlobalCores, settings: InstanceSettings, progress: Progress) -> Extents:
        """Give the grown cores their numbers in the whole stack; how far each one reaches."""
        numbers = cores.resolve()
        count = 1 + max((int(block.max()) for block in numbers), default=0)
        extents = Extents(count, self.num_sections)
        tracked = progress.track(self.blocks, "connecting instances", unit="block")
        for block, number in zip(tracked, numbers, strict=True):
            labels = np.asarray(self._read(self._grown(block)))
            for z, section in zip(block, labels, strict=True):
                foreground = self.foreground(z, settings.z_radius)
                extents.add(z, section, number, is_sure(foreground, settings))
            self._write(self._grown(block), number[labels])
        return extents

    def _block_of(self, z: int) -> range:
        return self.blocks[z // self._size]

    def _maps(self, block: range) -> Path:
        return self.folder / f"maps_{block.start:06d}.npy"

    def _grown(self, block: range) -> Path:
        return self.folder / f"labels_{block.start:06d}.npy"

    def _read(self, path: Path, index: int | None = None) -> np.ndarray:
        if path not in self._opened:
            while len(self._opened) >= MAPPED_BLOCKS:
                self._opened.pop(next(iter(self._opened)))
            self._opened[path] = np.load(path, mmap_mode="r", allow_pickle=False)
        array = self._opened[path]
        return array if index is None else array[index]

    def _write(self, path: Path, array: np.ndarray) -> None:
        self._opened.pop(path, None)
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            # Not np.save: on a full disk its error has no number.
            header = np.lib.format.header_data_from_array_1_0(array)
            np.lib.format.write_array_header_1_0(file, header)
            file.write(np.ascontiguousarray(array).data)


def _grown(labels: np.ndarray, masks: list[np.ndarray]) -> np.ndarray:
    return np.stack([grow_section(core, mask) for core, mask in zip(labels, masks, strict=True)])
