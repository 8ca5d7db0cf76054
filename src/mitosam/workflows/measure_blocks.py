"""A label volume of any size measured by blocks: sums first, then each instance in its own box."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mitosam.data.masks import MaskSurvey, joined_survey, survey_masks
from mitosam.geometry import Box
from mitosam.io.tables import write_csv
from mitosam.io.volume import Volume
from mitosam.morphometry.block_counts import check_shapes, full_scale
from mitosam.morphometry.block_grid import BlockGrid, plan_blocks
from mitosam.morphometry.components import connect
from mitosam.morphometry.instances import InstanceRow, Totals, instance_rows
from mitosam.morphometry.kept import content_key
from mitosam.morphometry.kept_counts import KeptCounts
from mitosam.morphometry.neighbours import SurfaceStore, nearest_distances
from mitosam.morphometry.sections import SectionRow, section_rows
from mitosam.morphometry.settings import MeasureSettings
from mitosam.morphometry.shapes import BYTES_A_BOX_VOXEL
from mitosam.morphometry.summary import VolumeSummary, summarise
from mitosam.morphometry.sums import Extents, Gathered, SectionSums
from mitosam.progress import SILENT, Progress
from mitosam.storage import disk_errors_of
from mitosam.workflows.measure_tasks import (
    SHAPE_COLUMNS,
    CountBlocks,
    Counted,
    Group,
    MeasureShapes,
    OpenVolume,
    SurveyBlocks,
    kept_shapes,
)
from mitosam.workflows.voxel_sizes import VoxelSize
from mitosam.workflows.workers import InProcess, Task, Workers

BYTES_A_PIXEL = 64
"""What surveying a section takes."""
BYTES_A_ROW = 1000
"""Of sections, while those of several blocks are brought together and written."""
MAX_GROUP = 32
"""Instances that are measured, and kept, together."""
DEFAULTS = MeasureSettings()


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The rows of all instances by id, their summary, and what a user should know of them."""

    instances: tuple[InstanceRow, ...]
    volume: VolumeSummary
    remarks: tuple[str, ...]


def survey_labels(
    labels: OpenVolume,
    settings: MeasureSettings = DEFAULTS,
    *,
    workers: Workers | None = None,
    progress: Progress = SILENT,
) -> MaskSurvey:
    """What kind of labels these are, read by sections where memory holds them, else by blocks.

    Raises
    ------
    InputError
        They are no labels.
    """
    volume = labels()
    grid = survey_grid(volume, settings)
    if grid is None:
        return survey_masks(volume, progress, empty_ok=True)
    task = Task(_identity("survey"), SurveyBlocks(labels=labels, grid=grid))
    found = (workers or InProcess()).run(
        task, range(len(grid)), title=f"reading masks {volume.name}", unit="block",
        progress=progress,
    )  # fmt: skip
    parts = dict(found)
    return joined_survey(volume, (parts[number] for number in range(len(grid))))


def survey_grid(volume: Volume, settings: MeasureSettings) -> BlockGrid | None:
    """The blocks that labels are surveyed in; None where memory holds layers of whole sections."""
    if volume.read_box is None:
        return None
    depth = volume.chunk_zyx[0] if volume.chunk_zyx else 1
    pixels = volume.shape_zyx[1] * volume.shape_zyx[2]
    if pixels * (depth * volume.dtype.itemsize + BYTES_A_PIXEL) <= settings.working_bytes:
        return None
    return plan_blocks(volume, settings.working_bytes)


def measure_volume(
    labels: OpenVolume,
    section_table: Path,
    voxel_size_nm: VoxelSize | None,
    probability: OpenVolume | None = None,
    *,
    scratch: Path,
    binary: bool = False,
    grid: BlockGrid | None = None,
    settings: MeasureSettings = DEFAULTS,
    workers: Workers | None = None,
    progress: Progress = SILENT,
) -> Measured:
    """The rows of all instances and their summary; the sections' rows go into `section_table`.

    `labels` hold instance ids, or, if `binary`, masks whose connected regions are the instances.
    What is found of each block is kept in the folder `scratch`, and taken from there if it is found
    again to be of the same voxels. The blocks are those of `grid`, by default as memory allows, and
    change no result.

    Raises
    ------
    InputError
        The labels are no ids; the probabilities differ from them in shape, or are none.
    StorageError
        The disk is full or cannot be written.
    """
    volume = labels()
    trust = probability() if probability else None
    if trust is not None:
        check_shapes(volume, trust)
    in_nm = voxel_size_nm if len(volume) > 1 else None
    grid = grid or plan_blocks(volume, settings.working_bytes)
    task = CountBlocks(
        labels=labels, probability=probability, grid=grid, folder=scratch, binary=binary,
        with_runs=in_nm is not None,
    )  # fmt: skip
    run = _Run(KeptCounts(scratch, binary), grid, settings, workers or InProcess(), progress)
    counted = run.count(task)
    gathered = Gathered()
    write_csv(section_table, run.rows(counted, gathered, voxel_size_nm), SectionRow)
    totals = Totals(
        shape_zyx=volume.shape_zyx, extents=gathered.extents, sums=gathered.instances,
        full_scale=full_scale(trust.dtype) if trust else 1.0,
    )  # fmt: skip
    shapes = run.shapes(totals, counted, in_nm) if in_nm else {}
    coarser = shapes.pop("coarser", np.empty(0, np.int64))
    rows = tuple(instance_rows(totals, voxel_size_nm, shapes))
    return Measured(
        instances=rows,
        volume=summarise(rows, volume.shape_zyx, voxel_size_nm),
        remarks=_coarse_remarks(totals.extents.instance, coarser),
    )


@dataclass(frozen=True, slots=True)
class _Run:
    """One measurement: where its parts are kept, and who does them."""

    counts: KeptCounts
    grid: BlockGrid
    settings: MeasureSettings
    workers: Workers
    progress: Progress

    def count(self, task: CountBlocks) -> list[Counted]:
        """Count all blocks, and join their regions where instances are such."""
        numbers = range(len(self.grid))
        found = self.workers.run(
            Task(_identity("count"), task), numbers, title="counting voxels", unit="block",
            progress=self.progress,
        )  # fmt: skip
        counted = dict(found)
        if self.counts.binary:
            for number, ids in enumerate(connect(self.grid, self.counts.faces)):
                self.counts.save_ids(number, ids)
        return [counted[number] for number in numbers]

    def rows(
        self, counted: list[Counted], gathered: Gathered, voxel_size_nm: VoxelSize | None
    ) -> Iterator[SectionRow]:
        """The sections' rows in order; `gathered` has all sums once the last is taken."""
        most = max(1, int(self.settings.working_bytes / BYTES_A_ROW))
        layers = self.grid.layers()
        for layer in self.progress.track(layers, "writing sections", unit="layer"):
            num_rows = sum(counted[number].num_rows for number in layer)
            for sections in self._stretches(layer, -(-num_rows // most)):
                whole = self._whole_sections(layer, sections)
                gathered.add_sections(whole)
                yield from section_rows(whole, voxel_size_nm)
            for number in layer:
                gathered.add_instances(self.counts.instances(number))

    def _stretches(self, layer: range, num: int) -> Iterator[range]:
        """The layer's sections in about so many stretches."""
        box = self.grid.box(layer[0])
        first, past = box.start_zyx[0], box.stop_zyx[0]
        step = max(1, -(-(past - first) // max(num, 1)))
        for start in range(first, past, step):
            yield range(start, min(start + step, past))

    def _whole_sections(self, layer: range, sections: range) -> SectionSums:
        return SectionSums.joined(
            self.counts.sections(number).between(sections.start, sections.stop) for number in layer
        )

    def shapes(
        self, totals: Totals, counted: list[Counted], voxel_size_nm: VoxelSize
    ) -> dict[str, np.ndarray]:
        """The columns of shapes and neighbours, in the instances' order."""
        max_voxels = int(self.settings.working_bytes / BYTES_A_BOX_VOXEL)
        task = MeasureShapes(
            folder=self.counts.folder, binary=self.counts.binary, voxel_size_nm=voxel_size_nm,
            max_voxels=max_voxels,
        )  # fmt: skip
        groups = self._groups(totals.extents, counted, [*voxel_size_nm, max_voxels])
        found = self.workers.run(
            Task(_identity("shapes"), task), groups,
            title="measuring instances", unit="group", progress=self.progress,
        )  # fmt: skip
        for _ in found:
            pass  # what is found is kept
        return self._collected(totals.extents, groups, voxel_size_nm)

    def _groups(self, extents: Extents, counted: list[Counted], facts: list[float]) -> list[Group]:
        """The instances in groups, block by block of where their boxes begin."""
        boxes = [_box(*ends) for ends in zip(extents.start_zyx, extents.stop_zyx, strict=True)]
        blocks = [self.grid.touched(box) for box in boxes]
        order = sorted(range(len(boxes)), key=lambda index: (blocks[index][0], index))
        groups: list[Group] = []
        for chosen in _cut(order, [blocks[index][0] for index in order]):
            touched = sorted({number for index in chosen for number in blocks[index]})
            instances = tuple(int(extents.instance[index]) for index in chosen)
            group_boxes = tuple(boxes[index] for index in chosen)
            groups.append(
                Group(
                    number=len(groups),
                    key=self._key(instances, touched, counted, facts),
                    instances=instances,
                    boxes=group_boxes,
                    blocks=tuple(touched),
                )
            )
        return groups

    def _key(
        self, instances: tuple[int, ...], touched: list[int], counted: list[Counted],
        facts: list[float],
    ) -> str:  # fmt: skip
        """Of all that a group's shapes depend on; a block's key stands for its voxels."""
        keys = [counted[number].key for number in touched]
        binary = self.counts.binary
        ids = {str(number): self.counts.ids(number) for number in touched} if binary else {}
        return content_key({"instances": instances, "blocks": keys, "settings": facts}, ids)

    def _collected(
        self, extents: Extents, groups: list[Group], voxel_size_nm: VoxelSize
    ) -> dict[str, np.ndarray]:
        """What was kept of all groups, and from each surface the distance to the nearest other."""
        found: dict[str, list[np.ndarray]] = {name: [np.empty(0)] for name in SHAPE_COLUMNS}
        with disk_errors_of(self.counts.folder), SurfaceStore(self.counts.folder) as surfaces:
            for group in groups:
                kept = kept_shapes(self.counts.folder, group.number)
                for corners in np.split(kept["corners"], np.cumsum(kept["num_corners"])[:-1]):
                    surfaces.add(corners)
                for name in SHAPE_COLUMNS:
                    found[name].append(kept[name])
            distances = nearest_distances(surfaces, voxel_size_nm)
        columns = {name: np.concatenate(parts) for name, parts in found.items()}
        columns["nearest_neighbour_nm"] = distances
        instances = np.array([i for group in groups for i in group.instances], np.int64)
        order = np.argsort(instances)
        for name in ("num_branch_points", "coarser"):
            columns[name] = columns[name].astype(np.int64)
        assert np.array_equal(instances[order], extents.instance)
        return {name: column[order] for name, column in columns.items()}


def _identity(what: str) -> str:
    """A name of its own for each run of a task, so that no worker reads files it opened before."""
    return f"measure: {what} {uuid.uuid4()}"


def _box(start_zyx: np.ndarray, stop_zyx: np.ndarray) -> Box:
    (z0, y0, x0), (z1, y1, x1) = start_zyx.tolist(), stop_zyx.tolist()
    return Box((z0, y0, x0), (z1, y1, x1))


def _cut(order: list[int], blocks: list[int]) -> Iterator[list[int]]:
    """Stretches of `order` of at most `MAX_GROUP` that share a block."""
    chosen: list[int] = []
    for position, index in enumerate(order):
        if chosen and (len(chosen) == MAX_GROUP or blocks[position] != blocks[position - 1]):
            yield chosen
            chosen = []
        chosen.append(index)
    if chosen:
        yield chosen


def _coarse_remarks(instances: np.ndarray, coarser: np.ndarray) -> tuple[str, ...]:
    """Which instances' middle lines were measured with fewer voxels, for each number of them."""
    remarks = []
    for factor in np.unique(coarser[coarser > 1]).tolist():
        chosen = instances[coarser == factor].tolist()
        names = ", ".join(map(str, chosen[:20])) + (", ..." if len(chosen) > 20 else "")
        remarks.append(
            f"{len(chosen)} instances have boxes too large for the memory allowed, so their middle "
            f"lines were measured on voxels {factor} times as long, wide and high ({names}); "
            "length_nm, skeleton_length_nm and num_branch_points are less exact; "
            "allow more with --memory"
        )
    return tuple(remarks)
