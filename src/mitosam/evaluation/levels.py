"""What a level of a study scored, and how it differs from the base on the same sections and seeds.

A study's runs are scored on the same test sections, and each setting is run with the same seeds.
Both are drawn anew for an interval: sections, because the objects of one are not independent, and
seeds, because a training ends elsewhere each time (the pigeonhole bootstrap: A. B. Owen, The
pigeonhole bootstrap, Annals of Applied Statistics 1, 2007, which is rather too wide than too
narrow). With one seed nothing is known of the second, and the interval speaks of sections alone.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from mitosam.errors import InputError
from mitosam.evaluation.bootstrap import MIN_SECTIONS, NUM_RESAMPLES
from mitosam.evaluation.clicks import ClickScore, prompted_msa
from mitosam.evaluation.scores import Score
from mitosam.evaluation.sections import SectionScore

Metric = Literal["dice", "iou", "msa"]
Resampled = Literal["sections", "sections and seeds", "nothing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SectionTotal:
    """All scores of one method under one prompt on one test section."""

    prompt: str
    """"patch-box", "object-box", "object-point", or "automatic" and a method without prompts."""
    method: Literal["base", "tuned"]
    clicks: int
    """Correcting clicks after the prompt."""
    volume: str
    section: int
    count: int
    """Patches or objects."""
    dice: float
    """Their sum."""
    iou: float
    """Their sum."""
    msa: float
    """Of the section, at IoU 0.5 to 0.95, with one mask an object; NaN where masks are patches."""


def total_scores(scores: Iterable[Score]) -> list[SectionTotal]:
    """A row for each prompt, model and section; rivals are left out."""
    groups: dict[tuple[str, str, str, int], list[Score]] = defaultdict(list)
    for score in scores:
        if score.method in ("base", "tuned"):
            groups[score.protocol, score.method, score.volume, score.section].append(score)
    return [
        _total(prompt, method, 0, volume, section, [one.iou for one in group])
        for (prompt, method, volume, section), group in groups.items()
    ]


def total_clicks(scores: Iterable[ClickScore]) -> list[SectionTotal]:
    """A row for each first prompt, model, section and number of clicks above 0."""
    groups: dict[tuple[str, str, int, str, int], list[float]] = defaultdict(list)
    for one in scores:
        if one.clicks:
            groups[one.start, one.method, one.clicks, one.volume, one.section].append(one.iou)
    return [_total(*key, ious) for key, ious in groups.items()]


def total_sections(
    method: str, volume: str, scores: Iterable[SectionScore], *, first: int
) -> list[SectionTotal]:
    """A row for each section that a method without prompts was scored on, and that holds any.

    Dice and IoU are of the foreground's pixels. `first` is the place of the first in its volume.
    """
    return [
        SectionTotal(
            prompt=f"automatic {method}",
            method="tuned",
            clicks=0,
            volume=volume,
            section=first + one.section,
            count=1,
            dice=_dice_of(one.iou),
            iou=one.iou,
            msa=one.msa,
        )
        for one in scores
        if not one.is_empty
    ]


def _total(
    prompt: str, method: str, clicks: int, volume: str, section: int, ious: Sequence[float]
) -> SectionTotal:
    return SectionTotal(
        prompt=prompt,
        method=method,  # type: ignore[arg-type]
        clicks=clicks,
        volume=volume,
        section=section,
        count=len(ious),
        dice=math.fsum(_dice_of(iou) for iou in ious),
        iou=math.fsum(ious),
        msa=math.nan if prompt == "patch-box" else prompted_msa(np.array(ious)),
    )


def _dice_of(iou: float) -> float:
    return 2 * iou / (1 + iou)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One metric of one level: what each seed's run scored on each section.

    A seed's mean is the sum of its `sums` over the sum of its `counts`.
    """

    sections: tuple[Hashable, ...]
    sums: Float[np.ndarray, "seeds sections"]
    counts: Float[np.ndarray, "seeds sections"]

    @property
    def mean(self) -> float:
        """The mean of the seeds' means."""
        return float((self.sums.sum(axis=1) / self.counts.sum(axis=1)).mean())


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean or a difference of means, and where 95 % of the resampled values lie."""

    mean: float
    low: float
    high: float
    """Both NaN where there are fewer than five sections."""
    resampled: Resampled

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0


def sample_of(seeds: Sequence[Iterable[SectionTotal]], metric: Metric) -> Sample:
    """One metric of each seed's totals, on the sections that all of them scored.

    The mSA is a mean over sections; Dice and IoU are means over patches or objects.

    Raises
    ------
    InputError
        They share no section.
    """
    found = [{(one.volume, one.section): one for one in totals} for totals in seeds]
    shared = sorted(set.intersection(*(set(one) for one in found))) if found else []
    if not shared:
        raise InputError("runs can be compared on the sections that all of them scored, got none")
    rows = [[one[section] for section in shared] for one in found]
    counts = [[1 if metric == "msa" else total.count for total in row] for row in rows]
    return Sample(
        sections=tuple(shared),
        sums=np.array([[getattr(total, metric) for total in row] for row in rows], float),
        counts=np.array(counts, float),
    )


def estimate_mean(sample: Sample, *, seed: int) -> Estimate:
    """The mean over seeds and sections.

    >>> ones = np.ones((1, 5))
    >>> estimate_mean(Sample(sections=tuple("abcde"), sums=0.5 * ones, counts=ones), seed=0)
    Estimate(mean=0.5, low=0.5, high=0.5, resampled='sections')
    """
    return _estimate(sample.mean, [(1, sample)], seed)


def estimate_difference(sample: Sample, against: Sample, *, seed: int) -> Estimate:
    """`sample` minus `against`, each section and seed drawn for both at once.

    Raises
    ------
    InputError
        They have other sections or another number of seeds.
    """
    if sample.sections != against.sections or len(sample.sums) != len(against.sums):
        raise InputError("paired differences need the same sections and seeds on both sides")
    return _estimate(sample.mean - against.mean, [(1, sample), (-1, against)], seed)


def on_shared_sections(first: Sample, second: Sample) -> tuple[Sample, Sample]:
    """Both, on the sections that both have."""
    shared = [one for one in first.sections if one in set(second.sections)]
    return _only(first, shared), _only(second, shared)


def _only(sample: Sample, sections: Sequence[Hashable]) -> Sample:
    places = {section: place for place, section in enumerate(sample.sections)}
    chosen = [places[section] for section in sections]
    return Sample(
        sections=tuple(sections), sums=sample.sums[:, chosen], counts=sample.counts[:, chosen]
    )


def _estimate(mean: float, terms: Sequence[tuple[int, Sample]], seed: int) -> Estimate:
    num_seeds, num_sections = terms[0][1].sums.shape
    if num_sections < MIN_SECTIONS:
        return Estimate(mean=mean, low=math.nan, high=math.nan, resampled="nothing")
    rng = np.random.default_rng(seed)
    of_sections = _draws(num_sections, rng)
    of_seeds = _draws(num_seeds, rng)
    values = sum(sign * _drawn_means(sample, of_sections, of_seeds) for sign, sample in terms)
    low, high = np.quantile(values, [0.025, 0.975])
    unit: Resampled = "sections and seeds" if num_seeds > 1 else "sections"
    return Estimate(mean=mean, low=float(low), high=float(high), resampled=unit)


def _draws(count: int, rng: np.random.Generator) -> Float[np.ndarray, "r n"]:
    """How often each of `count` things is drawn, when as many are drawn with replacement."""
    return rng.multinomial(count, np.full(count, 1 / count), size=NUM_RESAMPLES).astype(float)


def _drawn_means(
    sample: Sample, of_sections: Float[np.ndarray, "r s"], of_seeds: Float[np.ndarray, "r k"]
) -> Float[np.ndarray, " r"]:
    means = (of_sections @ sample.sums.T) / (of_sections @ sample.counts.T)
    drawn: Float[np.ndarray, " r"] = (of_seeds * means).sum(axis=1) / of_seeds.sum(axis=1)
    return drawn


def by_prompt(totals: Iterable[SectionTotal]) -> Mapping[tuple[str, int], list[SectionTotal]]:
    """The totals of each prompt and number of clicks."""
    groups: dict[tuple[str, int], list[SectionTotal]] = defaultdict(list)
    for one in totals:
        groups[one.prompt, one.clicks].append(one)
    return groups
