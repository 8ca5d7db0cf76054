"""Many scores in a few rows: each method by itself, and two methods on the same subjects."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from mitosam.evaluation.bootstrap import Interval, bootstrap_mean
from mitosam.evaluation.scores import (
    METHODS,
    PROTOCOLS,
    Method,
    Protocol,
    Score,
    overlap_of,
    pair_scores,
)

Group = Literal["all", "none", "1", "2-3", "4 or more"]
GROUPS: tuple[Group, ...] = ("all", "none", "1", "2-3", "4 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistic:
    """Dice or IoU over many scores."""

    mean: float
    median: float
    interval: Interval
    """Of the mean."""
    pooled: float
    """Over all pixels at once, so that large objects weigh more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryRow:
    """One method under one protocol, on the patches of one group."""

    protocol: Protocol
    method: Method
    group: Group
    """Mitochondria per patch."""
    count: int
    dice: Statistic
    iou: Statistic


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Paired difference of Dice or IoU: positive where the method is better."""

    mean: float
    interval: Interval
    num_better: int
    num_worse: int
    num_pairs: int

    @property
    def share_improved(self) -> float:
        """Share of the pairs in which the method scored higher; NaN without pairs."""
        return self.num_better / self.num_pairs if self.num_pairs else math.nan

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.interval.low > 0 or self.interval.high < 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedDifference:
    """One method minus another on the same subjects, under one protocol and in one group."""

    protocol: Protocol
    method: Method
    against: Method
    group: Group
    num_pairs: int
    dice: Difference
    iou: Difference


def group_of(num_objects: int) -> Group:
    """The group of a patch with this many mitochondria.

    >>> [group_of(n) for n in (0, 1, 2, 3, 4, 9)]
    ['none', '1', '2-3', '2-3', '4 or more', '4 or more']
    """
    if num_objects == 0:
        return "none"
    if num_objects == 1:
        return "1"
    return "2-3" if num_objects <= 3 else "4 or more"


def summarise(scores: Sequence[Score], seed: int) -> list[SummaryRow]:
    """A row for every protocol, method and group that has scores, in that order."""
    rows = []
    for protocol in PROTOCOLS:
        for method in METHODS:
            own = [
                score for score in scores if (score.protocol, score.method) == (protocol, method)
            ]
            for group in GROUPS:
                members = [score for score in own if _belongs(score, group)]
                if members:
                    rows.append(_summary_row(protocol, method, group, members, seed))
    return rows


def compare(
    scores: Sequence[Score], seed: int, *, method: Method = "tuned", against: Method = "base"
) -> list[PairedDifference]:
    """`method` minus `against` for every protocol and group in which both scored something.

    Subjects that only one of them scored are left out.
    """
    rows = []
    for protocol in PROTOCOLS:
        pairs = pair_scores(scores, protocol, method=method, against=against)
        for group in GROUPS:
            members = [pair for pair in pairs if _belongs(pair[0], group)]
            if members:
                rows.append(_paired_difference(method, against, group, members, seed))
    return rows


def _belongs(score: Score, group: Group) -> bool:
    return group == "all" or group_of(score.num_objects) == group


def _summary_row(
    protocol: Protocol, method: Method, group: Group, scores: Sequence[Score], seed: int
) -> SummaryRow:
    overlap = overlap_of(scores)
    sections = _sections(scores)
    return SummaryRow(
        protocol=protocol,
        method=method,
        group=group,
        count=len(scores),
        dice=_statistic(overlap.dice, float(overlap.pooled.dice), sections, seed),
        iou=_statistic(overlap.iou, float(overlap.pooled.iou), sections, seed),
    )


def _statistic(
    values: Float[np.ndarray, " n"], pooled: float, sections: Sequence[Hashable], seed: int
) -> Statistic:
    return Statistic(
        mean=float(values.mean()),
        median=float(np.median(values)),
        interval=bootstrap_mean(values, sections, seed=seed),
        pooled=pooled,
    )


def _paired_difference(
    method: Method, against: Method, group: Group, pairs: Sequence[tuple[Score, Score]], seed: int
) -> PairedDifference:
    before = overlap_of([first for first, _ in pairs])
    after = overlap_of([second for _, second in pairs])
    sections = _sections([first for first, _ in pairs])
    return PairedDifference(
        protocol=pairs[0][0].protocol,
        method=method,
        against=against,
        group=group,
        num_pairs=len(pairs),
        dice=_difference(after.dice - before.dice, sections, seed),
        iou=_difference(after.iou - before.iou, sections, seed),
    )


def _difference(
    values: Float[np.ndarray, " n"], sections: Sequence[Hashable], seed: int
) -> Difference:
    return Difference(
        mean=float(values.mean()),
        interval=bootstrap_mean(values, sections, seed=seed),
        num_better=int(np.count_nonzero(values > 0)),
        num_worse=int(np.count_nonzero(values < 0)),
        num_pairs=len(values),
    )


def _sections(scores: Sequence[Score]) -> list[tuple[str, int]]:
    return [(score.volume, score.section) for score in scores]
