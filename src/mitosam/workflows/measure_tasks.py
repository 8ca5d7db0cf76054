"""What measuring does block by block and instance by instance, in any order and any process.

What a task finds lies in a folder of `Kept` results, each under the hash of all that it depends on,
so that a measurement that was stopped goes on, and never from what the labels were before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mitosam.data.masks import SurveyPart, survey_box
from mitosam.geometry import Box
from mitosam.io.volume import Volume
from mitosam.morphometry.block_counts import Reading, count_block, read_block
from mitosam.morphometry.block_grid import BlockGrid
from mitosam.morphometry.kept import Kept, content_key, kept_name
from mitosam.morphometry.kept_counts import KeptCounts
from mitosam.morphometry.runs import Runs
from mitosam.morphometry.shapes import VoxelSize, instance_surface, measure_shape

OpenVolume = Callable[[], Volume]
"""Opens a volume; for other processes something that can be pickled, as a partial is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SurveyBlocks:
    """What each block's masks look like."""

    labels: OpenVolume
    grid: BlockGrid

    def __call__(self) -> Callable[[int], SurveyPart]:
        """The survey of the block of a number."""
        volume = self.labels()
        return lambda number: survey_box(volume, self.grid.box(number))


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """That a block was counted: the key of what is kept of it, and its rows of sections."""

    key: str
    num_rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CountBlocks:
    """The sums over each block, kept in `folder` for `KeptCounts`."""

    labels: OpenVolume
    probability: OpenVolume | None
    grid: BlockGrid
    folder: Path
    binary: bool
    with_runs: bool
    """Whether lengths and surfaces will be measured, for which the runs are kept."""

    def __call__(self) -> Callable[[int], Counted]:
        """The counting of the block of a number."""
        labels = self.labels()
        trust = self.probability() if self.probability else None
        return lambda number: self._count(number, labels, trust)

    def _count(self, number: int, labels: Volume, trust: Volume | None) -> Counted:
        reading = read_block(labels, trust, self.grid.box(number))
        counts = KeptCounts(self.folder, self.binary)
        key = self._key(reading)
        if not counts.has(number, key, runs=self.with_runs):
            found = count_block(reading, labels, trust, binary=self.binary)
            counts.save(number, key, found, runs=self.with_runs)
        return Counted(key=key, num_rows=counts.num_rows(number))

    def _key(self, reading: Reading) -> str:
        box = [reading.box.start_zyx, reading.box.stop_zyx]
        facts = {"box": box, "shape_zyx": reading.shape_zyx, "binary": self.binary}
        return content_key(facts, {"labels": reading.labels, "probability": reading.probability})


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Some instances that lie near each other, their boxes, and the blocks that show them."""

    number: int
    key: str
    instances: tuple[int, ...]
    boxes: tuple[Box, ...]
    blocks: tuple[int, ...]


SHAPE_COLUMNS = ("length_nm", "skeleton_length_nm", "num_branch_points", "coarser")


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureShapes:
    """The shapes and surfaces of each group's instances, kept in `folder`."""

    folder: Path
    binary: bool
    voxel_size_nm: VoxelSize
    max_voxels: int

    def __call__(self) -> Callable[[Group], int]:
        """The measuring of a group, which gives its number."""
        blocks: dict[int, Runs] = {}

        def measured(group: Group) -> int:
            nonlocal blocks
            if Kept(self.folder).key(kept_name("shapes", group.number)) != group.key:
                counts = KeptCounts(self.folder, self.binary)
                blocks = {n: blocks[n] if n in blocks else counts.runs(n) for n in group.blocks}
                self._measure(group, list(blocks.values()))
            return group.number

        return measured

    def _measure(self, group: Group, blocks: list[Runs]) -> None:
        shapes, surfaces = [], []
        for instance, box in zip(group.instances, group.boxes, strict=True):
            runs = Runs.joined([_runs_of(instance, block) for block in blocks])
            shapes.append(measure_shape(runs, box, self.voxel_size_nm, self.max_voxels))
            surfaces.append(instance_surface(runs, box, self.max_voxels))
        columns = {
            name: np.array([getattr(shape, name) for shape in shapes]) for name in SHAPE_COLUMNS
        }
        counts = np.array([len(surface) for surface in surfaces])
        arrays = {**columns, "num_corners": counts, "corners": np.concatenate(surfaces)}
        Kept(self.folder).save(kept_name("shapes", group.number), group.key, arrays)


def _runs_of(instance: int, block: Runs) -> Runs:
    first, last = np.searchsorted(block.instance, [instance, instance + 1])
    return block.at(slice(first, last))


def kept_shapes(folder: Path, number: int) -> dict[str, np.ndarray]:
    """What was measured of a group: its columns, and `corners`, `num_corners` of each instance."""
    return Kept(folder).load(kept_name("shapes", number))
