"""Scores of single sections, as 2D methods are scored, and their means with intervals.

Sections that hold nothing in truth and prediction alike would score 1 without anything having been
found, so they are left out of the means, and counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Shaped

from mitosam.evaluation.bootstrap import Interval, bootstrap_mean
from mitosam.evaluation.contingency import count_overlaps
from mitosam.evaluation.instances import score_instances, section_instances
from mitosam.evaluation.label_pairs import pair_sections
from mitosam.evaluation.metrics import measure_overlap


@dataclass(frozen=True, slots=True, kw_only=True)
class SectionScore:
    """How well the instances and the foreground of one section were found; each in [0, 1]."""

    section: int
    """Index of the section among those scored, from 0."""
    num_true: int
    num_predicted: int
    msa: float
    ap50: float
    f1: float
    iou: float
    """Of the foreground."""

    @property
    def is_empty(self) -> bool:
        """Whether neither truth nor prediction hold anything."""
        return not self.num_true and not self.num_predicted


@dataclass(frozen=True, slots=True, kw_only=True)
class SectionMean:
    """A mean over sections and its 95 % interval, from drawing sections with replacement."""

    mean: float
    interval: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class SectionMeans:
    """Means over the sections that hold anything in truth or prediction; 1 where none does."""

    num_sections: int
    """Sections that the means are taken over."""
    num_empty: int
    """Sections left out, as truth and prediction are both empty there."""
    msa: SectionMean
    ap50: SectionMean
    f1: SectionMean
    iou: SectionMean


def score_section(
    predicted: Shaped[np.ndarray, "height width"],
    truth: Shaped[np.ndarray, "height width"],
    *,
    section: int = 0,
) -> SectionScore:
    """The scores of one section; its instances are the 8-connected pieces of each id."""
    scores = score_instances(count_overlaps(section_instances(predicted), section_instances(truth)))
    return SectionScore(
        section=section,
        num_true=scores.num_true,
        num_predicted=scores.num_predicted,
        msa=scores.msa,
        ap50=scores.ap50,
        f1=scores.f1,
        iou=float(measure_overlap(predicted != 0, truth != 0).iou),
    )


def score_sections(
    predicted: Iterable[Shaped[np.ndarray, "height width"]],
    truth: Iterable[Shaped[np.ndarray, "height width"]],
) -> list[SectionScore]:
    """The scores of each section, read in step; ids need not agree between sections.

    Raises
    ------
    InputError
        The sections differ in number or shape, or are no labels.
    """
    pairs = pair_sections(predicted, truth)
    return [score_section(pair.predicted, pair.truth, section=z) for z, pair in enumerate(pairs)]


def average_sections(scores: Sequence[SectionScore], *, seed: int) -> SectionMeans:
    """The means of section scores, with intervals from resampling whole sections.

    Neighbouring sections of a volume resemble each other, so that the intervals are rather too
    narrow than too wide, and say nothing of other volumes.
    """
    counted = [score for score in scores if not score.is_empty]
    return SectionMeans(
        num_sections=len(counted),
        num_empty=len(scores) - len(counted),
        msa=_mean([score.msa for score in counted], seed),
        ap50=_mean([score.ap50 for score in counted], seed),
        f1=_mean([score.f1 for score in counted], seed),
        iou=_mean([score.iou for score in counted], seed),
    )


def _mean(values: Sequence[float], seed: int) -> SectionMean:
    return SectionMean(
        mean=float(np.mean(values)) if values else 1.0,
        interval=bootstrap_mean(np.array(values), range(len(values)), seed=seed),
    )
