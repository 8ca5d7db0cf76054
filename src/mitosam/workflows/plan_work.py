"""How much a run has to do on each of its volumes, and on all together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from mitosam.config import RunSettings
from mitosam.data.splits import Split
from mitosam.inference.section_embedding import embedding_windows


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Means a section, measured on a few."""

    tiles_with: float
    """Tiles that hold mitochondria."""
    tiles: float
    questions: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Counts of what is encoded, asked and stored."""

    train_tiles: float = 0.0
    other_tiles: float = 0.0
    """Of validation and test sections."""
    questions: float = 0.0
    num_voxels: int = 0
    head_tiles: int = 0
    """Tiles of the sections that the head is trained, validated and scored on."""
    searched_sections: int = 0
    """Searched without prompts, to choose thresholds or to be scored."""
    searched_px: float = 0.0
    """Pixels of these sections."""

    @property
    def num_tiles(self) -> int:
        """Tiles that prompts are trained on and scored on."""
        return round(self.train_tiles + self.other_tiles)


def work_on(
    shape_zyx: tuple[int, int, int], split: Split, sample: Sample, settings: RunSettings
) -> Work:
    """What one volume with such sections takes."""
    depth, height, width = shape_zyx
    training, head = settings.training, settings.head
    train_tiles = len(split.train) * sample.tiles
    if training.augment and split.train:
        train_tiles = max(training.views_per_tile * train_tiles, training.min_views)
    num_test = min(len(split.test), settings.evaluation.max_sections or len(split.test))
    searched = len(split.test) + len(split.validation)
    windows = embedding_windows((height, width), settings.data.tile_side_px)
    encodes = head.enabled and head.use_embedding
    return Work(
        train_tiles=train_tiles * (sample.tiles_with / sample.tiles),
        other_tiles=len(split.validation) * sample.tiles_with + num_test * sample.tiles,
        questions=num_test * sample.questions,
        num_voxels=depth * height * width,
        head_tiles=(len(split.train) + searched) * len(windows) if encodes else 0,
        searched_sections=searched,
        searched_px=float(searched * height * width),
    )


def add_work(works: Sequence[Work]) -> Work:
    """All volumes together."""
    return Work(
        **{field.name: sum(getattr(work, field.name) for work in works) for field in fields(Work)}
    )
