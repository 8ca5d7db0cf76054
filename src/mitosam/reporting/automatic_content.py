"""What is told of a segmentation without prompts that was held against the truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mitosam.evaluation.iou_calibration import Calibration
from mitosam.reporting.outlines import OutlinedSection

AutomaticMethod = Literal["head", "prompted", "grid", "U-Net"]
AUTOMATIC_METHODS: tuple[AutomaticMethod, ...] = ("head", "prompted", "grid", "U-Net")


@dataclass(frozen=True, slots=True, kw_only=True)
class SectionPoint:
    """The scores of one section in 2D, each in [0, 1]."""

    section: int
    """Index of the section in its volume, from 0."""
    f1: float
    iou: float
    """Of the foreground."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodScores:
    """One method's scores on the same sections as the others'; NaN where there is none."""

    method: AutomaticMethod
    place: str = ""
    """Where they are from, as "liver, sections 20 to 33", if not all methods' are from one."""
    foreground_iou: float
    foreground_dice: float
    msa: float
    ap50: float
    ap75: float
    f1: float
    panoptic_quality: float
    """These of the whole volume, its instances in 3D."""
    num_true: int
    num_predicted: int
    relative_volume_error: float
    """(predicted - true) / true, of all instances together."""
    section_iou: float
    section_msa: float
    section_ap50: float
    section_f1: float
    """Means over the sections, each scored by itself in 2D."""
    section_ap75: float = math.nan
    section_panoptic_quality: float = math.nan
    asd_nm: float = math.nan
    hd95_nm: float = math.nan
    sections: Sequence[SectionPoint] = ()
    confidence: Calibration | None = None
    """How sure it was of its instances against how good they are."""

    @property
    def count_error(self) -> int:
        """How many instances too many; negative where too few."""
        return self.num_predicted - self.num_true


@dataclass(frozen=True, slots=True, kw_only=True)
class AutomaticContent:
    """Everything that the page, or its section in a run's report, shows.

    Scores of several places each have tables of their own, and nothing is pooled.
    """

    title: str
    methods: Sequence[MethodScores]
    thresholds_from: str
    """Where the thresholds were chosen, as "on validation sections 105 to 108"; empty where they
    are defaults."""
    thresholds: Sequence[tuple[str, str]] = ()
    """Their values, as label and text."""
    pictures: Sequence[OutlinedSection] = ()
    """Of one method, chosen with `choose_examples`."""
    pictures_of: AutomaticMethod = "head"
    messages: Sequence[str] = ()
    """Warnings that a reader must see before any number."""
    provenance: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A section worth a picture, and why."""

    why: Literal["best", "median", "worst"]
    point: SectionPoint


def choose_examples(points: Sequence[SectionPoint]) -> list[Example]:
    """The sections with the best, the median and the worst F1, each section once.

    Sections of equal F1 are ranked by their foreground's IoU, then by their place.

    >>> points = [SectionPoint(section=i, f1=f1, iou=0.5) for i, f1 in enumerate([0.2, 0.9, 0.7])]
    >>> [(example.why, example.point.section) for example in choose_examples(points)]
    [('best', 1), ('median', 2), ('worst', 0)]
    """
    ranked = sorted(points, key=lambda point: (-point.f1, -point.iou, point.section))
    chosen: dict[int, Example] = {}
    for why, place in (("best", 0), ("worst", -1), ("median", len(ranked) // 2)):
        if ranked and ranked[place].section not in chosen:
            point = ranked[place]
            chosen[point.section] = Example(why=why, point=point)  # type: ignore[arg-type]
    return sorted(chosen.values(), key=lambda example: ranked.index(example.point))
