"""All that one block tells of the instances in it, counted in one reading."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from mitosam.errors import InputError
from mitosam.geometry import Box
from mitosam.io.volume import Volume
from mitosam.morphometry.components import Faces, faces_of, find_regions
from mitosam.morphometry.crossings import NUM_IN_PLANE, Crossings, count_crossings
from mitosam.morphometry.runs import Ranked, Runs, rank_runs
from mitosam.morphometry.sums import NOWHERE, InstanceSums, SectionSums

RUNS_AT_ONCE = 2**18
"""Summed at a time, so that voxels which all differ take little memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A block's voxels with one voxel more past each upper end, where the volume goes on."""

    box: Box
    shape_zyx: tuple[int, int, int]
    """The volume's."""
    labels: Shaped[np.ndarray, "z y x"]
    probability: Shaped[np.ndarray, "z y x"] | None
    """Of the block alone, as the file has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockCounts:
    """A block's part in all sums, and its runs, in the volume's voxels.

    Of a binary mask, instances are the block's own regions, which `faces` joins with others.
    """

    sections: SectionSums
    instances: InstanceSums
    runs: Runs
    faces: Faces | None = None


def read_block(labels: Volume, probability: Volume | None, box: Box) -> Reading:
    """What `count_block` needs of the files."""
    stop = tuple(min(b + 1, n) for b, n in zip(box.stop_zyx, labels.shape_zyx, strict=True))
    return Reading(
        box=box,
        shape_zyx=labels.shape_zyx,
        labels=labels.box(Box(box.start_zyx, (stop[0], stop[1], stop[2]))),
        probability=probability.box(box) if probability else None,
    )


def count_block(
    reading: Reading, labels: Volume, probability: Volume | None, *, binary: bool
) -> BlockCounts:
    """The sums over one block.

    A crossing belongs to the block that holds the first corner of the smallest cell round it, so
    that each is counted once.

    Raises
    ------
    InputError
        Labels are not whole numbers, or negative; probabilities do not lie in [0, 1].
    """
    names = list(labels.section_names[reading.box.start_zyx[0] :])
    voxels = find_regions(reading.labels) if binary else reading.labels
    ranked = rank_runs(voxels, labels.name, names)
    faces = faces_of(voxels, _first_voxels(ranked, reading)) if binary else None
    crossings = count_crossings(_window(ranked.ranks, reading), len(ranked.ids))
    runs = _own(ranked.runs, reading.box.shape_zyx)
    z0, y0, x0 = reading.box.start_zyx
    sections = SectionSums.joined([_areas(runs), _perimeters(crossings, -1 if z0 == 0 else 0)])
    total = _probabilities(reading, ranked, probability)
    return BlockCounts(
        sections=_placed(sections, ranked.ids, reading.box.start_zyx),
        instances=InstanceSums(instance=ranked.ids, crossings=crossings.across, probability=total),
        runs=_by_instance(runs, ranked.ids).moved((-z0, -y0, -x0)),
        faces=faces,
    )


def _window(ranks: Int[np.ndarray, "z y x"], reading: Reading) -> Int[np.ndarray, "z y x"]:
    """The block and what it was read with, with background where the volume ends."""
    ends = zip(reading.box.start_zyx, reading.box.stop_zyx, reading.shape_zyx, strict=True)
    return np.pad(ranks, [(int(start == 0), int(stop == n)) for start, stop, n in ends])


def _own(runs: Runs, shape_zyx: tuple[int, int, int]) -> Runs:
    """The runs inside the block itself."""
    depth, height, width = shape_zyx
    own = runs.at((runs.z < depth) & (runs.y < height) & (runs.x0 < width))
    return Runs(instance=own.instance, z=own.z, y=own.y, x0=own.x0, x1=np.minimum(own.x1, width))


def _first_voxels(ranked: Ranked, reading: Reading) -> Int[np.ndarray, " regions"]:
    """Of each region the index of its first voxel in the volume."""
    _, at = np.unique(ranked.runs.instance, return_index=True)
    first = ranked.runs.at(at)
    (z, y, x), (_, height, width) = reading.box.start_zyx, reading.shape_zyx
    index: Int[np.ndarray, " regions"] = first.x0 + x
    index += ((first.z + z) * height + first.y + y) * width
    return index


def _areas(runs: Runs) -> SectionSums:
    """Area, box and moments of each instance on each section, from the block's corner."""
    pieces = range(0, max(len(runs), 1), RUNS_AT_ONCE)
    return SectionSums.joined(_areas_of(runs.at(slice(n, n + RUNS_AT_ONCE))) for n in pieces)


def _areas_of(runs: Runs) -> SectionSums:
    """Each run as a row of its own, then those of one instance and section as one."""
    num = runs.x1 - runs.x0
    # Sums of 0, 1, ..., num - 1 and of their squares, as moments count from the first pixel.
    x, xx, zero = num * (num - 1) // 2, (num - 1) * num * (2 * num - 1) // 6, np.zeros_like(num)
    rows = SectionSums(
        section=runs.z, instance=runs.instance, area=num,
        y0=runs.y, x0=runs.x0, y1=runs.y + 1, x1=runs.x1,
        moments=np.stack([zero, x, zero, zero, xx], axis=1).astype(np.float64),
        crossings=np.zeros((len(runs), NUM_IN_PLANE), np.int64),
    )  # fmt: skip
    return SectionSums.joined([rows])


def _perimeters(crossings: Crossings, first_section: int) -> SectionSums:
    """The crossings on each section, of instances that may lie in the next block."""
    num = len(crossings.plane)
    nowhere, none = np.full(num, NOWHERE), np.zeros(num, np.int64)
    return SectionSums(
        section=crossings.plane + first_section, instance=crossings.label, area=none,
        y0=nowhere, x0=nowhere, y1=none, x1=none,
        moments=np.zeros((num, 5)), crossings=crossings.in_plane,
    )  # fmt: skip


def _placed(
    sums: SectionSums, ids: Int[np.ndarray, " ids"], start_zyx: tuple[int, int, int]
) -> SectionSums:
    """The same in the volume's voxels and by ids, which ascend as their ranks do."""
    z, y, x = start_zyx
    inside = sums.area > 0
    return SectionSums(
        section=sums.section + z, instance=ids[sums.instance - 1], area=sums.area,
        y0=np.where(inside, sums.y0 + y, NOWHERE), x0=np.where(inside, sums.x0 + x, NOWHERE),
        y1=np.where(inside, sums.y1 + y, 0), x1=np.where(inside, sums.x1 + x, 0),
        moments=sums.moments, crossings=sums.crossings,
    )  # fmt: skip


def _by_instance(runs: Runs, ids: Int[np.ndarray, " ids"]) -> Runs:
    """The runs in the order of their instances, which are ids instead of ranks."""
    ordered = runs.at(np.argsort(runs.instance, kind="stable"))
    return Runs(
        instance=ids[ordered.instance - 1], z=ordered.z, y=ordered.y, x0=ordered.x0, x1=ordered.x1
    )


def _probabilities(
    reading: Reading, ranked: Ranked, probability: Volume | None
) -> Float[np.ndarray, " ids"]:
    """The sum of the file's values over each instance's voxels in the block."""
    num = len(ranked.ids)
    if reading.probability is None or probability is None:
        return np.full(num, np.nan)
    values = reading.probability
    _check_probability(values, probability, reading.box.start_zyx[0])
    depth, height, width = values.shape
    ranks = ranked.ranks[:depth, :height, :width]
    inside = ranks > 0
    return np.bincount(ranks[inside], values[inside], num + 1)[1:]


def full_scale(dtype: np.dtype[np.generic]) -> float:
    """What stands for the probability 1: of whole numbers, their largest."""
    return float(np.iinfo(dtype).max) if dtype.kind in "ui" else 1.0  # type: ignore[type-var]


def _check_probability(values: Shaped[np.ndarray, "z y x"], volume: Volume, first: int) -> None:
    if values.dtype.kind != "f" or (values.min() >= 0 and values.max() <= 1):  # NaN fails too
        return
    for z, section in enumerate(values, start=first):
        if not (section.min() >= 0 and section.max() <= 1):
            raise InputError(
                f"probabilities must lie in 0 to 1, but {volume.name}, {volume.section_names[z]} "
                f"holds {section.min():g} to {section.max():g}; give them as floats, or as 8 or "
                "16 bits"
            )


def check_shapes(labels: Volume, probability: Volume) -> None:
    """Raise InputError unless both volumes have one shape."""
    if labels.shape_zyx != probability.shape_zyx:
        raise InputError(
            "probabilities must have the labels' sections, rows and columns, but "
            f"{probability.name} has {probability.shape_zyx} and {labels.name} "
            f"{labels.shape_zyx}; give those that the labels were made from"
        )
