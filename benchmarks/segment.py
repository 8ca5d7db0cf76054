"""How long segmenting a volume takes without prompts: ours, SAM's grid of points, a U-Net."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.fresh import ROOT, Setup
from benchmarks.spread import Spread

# Where the project's tests look for it, too.
EPFL = ROOT.parent / "shared" / "data" / "epfl"
OURS = ("head", "prompted")
WAYS = (*OURS, "U-Net")
ENCODER_TARGET, GRID_TARGET = 1.5, 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How many sections are segmented, how often, and how many tiles get a grid of points."""

    rounds: int
    num_sections: int
    memory_sizes: tuple[int, ...]
    grid_warmup: int
    grid_tiles: int
    phantom_yx: tuple[int, int]


FULL = Effort(
    rounds=2,
    num_sections=32,
    memory_sizes=(8, 32, 64),
    grid_warmup=1,
    grid_tiles=3,
    phantom_yx=(768, 1024),
)
QUICK = Effort(
    rounds=1,
    num_sections=3,
    memory_sizes=(2, 4),
    grid_warmup=0,
    grid_tiles=1,
    phantom_yx=(256, 384),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Segmented:
    """What one way took for the whole stack, from images to report."""

    way: str
    num_sections: int
    num_instances: int
    total_s: Spread
    stages_s: dict[str, float]
    """Medians; they add up to about the total's."""
    peak_bytes: int

    @property
    def section_s(self) -> float:
        """Seconds a section, from the median."""
        return self.total_s.median / self.num_sections

    def times(self, stage: str) -> float:
        """The whole as a multiple of a stage; infinite where there is no such stage."""
        seconds = self.stages_s.get(stage, 0.0)
        return self.total_s.median / seconds if seconds else float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """SAM's grid of points, timed by the tile."""

    tile_s: Spread
    tiles_per_section: int
    peak_bytes: int

    @property
    def section_s(self) -> float:
        """Seconds a section, extrapolated."""
        return self.tiles_per_section * self.tile_s.median


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryAtDepth:
    """The most memory that segmenting by the head held."""

    num_sections: int
    peak_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentAnswer:
    """All ways on the same sections, and memory against their number."""

    subject: str
    shape_yx: tuple[int, int]
    ways: list[Segmented]
    grid: Grid
    memory: list[MemoryAtDepth]


def ask(setup: Setup) -> SegmentAnswer:
    """Every way once a round, in new processes, so that a slow spell hits all alike."""
    effort = QUICK if setup.quick else FULL
    own = replace(setup, folder=f"{setup.folder}/segment")
    images, masks = _sources(setup)
    sizes = sorted({effort.num_sections, *effort.memory_sizes})
    subject = own.fresh(
        "segment_subject", images=images, masks=masks, sizes=sizes, phantom_yx=effort.phantom_yx
    )
    rounds = [_round(own, effort) for _ in range(effort.rounds)]
    memory = [_peak(own, size) for size in effort.memory_sizes]
    return SegmentAnswer(
        subject=subject["name"],
        shape_yx=tuple(subject["shape_yx"]),
        ways=[_segmented(way, [one[way] for one in rounds]) for way in WAYS],
        grid=_grid([one["grid"] for one in rounds]),
        memory=memory,
    )


def _sources(setup: Setup) -> tuple[str | None, str | None]:
    """The images and masks that were given; else the EPFL volume, where it is there."""
    if setup.images or setup.quick:
        return setup.images, setup.masks
    paths = [EPFL / "training.tif", EPFL / "training_groundtruth.tif"]
    if not all(map(Path.exists, paths)):
        return None, None
    return str(paths[0]), str(paths[1])


def _round(setup: Setup, effort: Effort) -> dict[str, dict[str, Any]]:
    count = effort.num_sections
    answers = {way: setup.fresh("segmenting", way=way, num_sections=count) for way in WAYS}
    answers["grid"] = setup.fresh(
        "point_grid", num_sections=count, warmup=effort.grid_warmup, tiles=effort.grid_tiles
    )
    return answers


def _segmented(way: str, answers: Sequence[dict[str, Any]]) -> Segmented:
    stages = [answer["stages_s"] for answer in answers]
    return Segmented(
        way=way,
        num_sections=answers[0]["num_sections"],
        num_instances=answers[0]["num_instances"],
        total_s=Spread.of([answer["total_s"] for answer in answers]),
        stages_s={name: Spread.of([one[name] for one in stages]).median for name in stages[0]},
        peak_bytes=max(answer["peak_bytes"] for answer in answers),
    )


def _grid(answers: Sequence[dict[str, Any]]) -> Grid:
    return Grid(
        tile_s=Spread.of([seconds for answer in answers for seconds in answer["tile_s"]]),
        tiles_per_section=answers[0]["tiles_per_section"],
        peak_bytes=max(answer["peak_bytes"] for answer in answers),
    )


def _peak(setup: Setup, num_sections: int) -> MemoryAtDepth:
    answer = setup.fresh("segmenting", way="head", num_sections=num_sections)
    return MemoryAtDepth(num_sections=num_sections, peak_bytes=answer["peak_bytes"])
