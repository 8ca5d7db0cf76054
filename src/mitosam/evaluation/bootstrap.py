"""How far a mean could be off: a bootstrap that resamples whole sections.

Patches of one section share its staining, focus and cells, so they are not independent, and
resampling them one by one would promise too much. Sections are drawn with replacement instead,
each with all its scores (the cluster bootstrap: Davison & Hinkley, Bootstrap Methods and their
Application, 1997, section 3.8). Below five sections there is too little to draw from, and single
scores are drawn; the interval says which it was. Neither tells of other volumes.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

MIN_SECTIONS = 5
NUM_RESAMPLES = 2000

Unit = Literal["sections", "single scores"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """Where 95 % of the resampled values lie (percentile method); NaN where there are no two."""

    low: float
    high: float
    resampled: Unit
    """What was drawn with replacement."""

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


def bootstrap_mean(
    values: Float[np.ndarray, " n"],
    sections: Sequence[Hashable],
    *,
    seed: int,
    num_resamples: int = NUM_RESAMPLES,
    level: float = 0.95,
) -> Interval:
    """The interval of the mean of `values`, where `sections` says which section each is from.

    With no or one value to draw from, both ends are NaN.

    >>> bootstrap_mean(np.array([0.5, 0.5, 0.5]), ["a", "b", "c"], seed=0)
    Interval(low=0.5, high=0.5, resampled='single scores')
    """
    clusters = _cluster_indices(sections)
    unit: Unit = "sections"
    if len(set(sections)) < MIN_SECTIONS:
        clusters, unit = np.arange(len(values)), "single scores"
    if len(values) < 2:
        return Interval(low=math.nan, high=math.nan, resampled=unit)
    means = _resampled_means(values, clusters, np.random.default_rng(seed), num_resamples)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(low=float(low), high=float(high), resampled=unit)


def _resampled_means(
    values: Float[np.ndarray, " n"],
    clusters: Int[np.ndarray, " n"],
    rng: np.random.Generator,
    num_resamples: int,
) -> Float[np.ndarray, " r"]:
    """Means of as many clusters as there are, drawn with replacement, each with all its values."""
    sums = np.bincount(clusters, weights=values)
    counts = np.bincount(clusters)
    means = np.empty(num_resamples)
    rows = max(1, _DRAWS_AT_ONCE // len(sums))
    for start in range(0, num_resamples, rows):
        shape = (min(rows, num_resamples - start), len(sums))
        drawn = rng.integers(len(sums), size=shape)
        means[start : start + rows] = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    return means


_DRAWS_AT_ONCE = 2_000_000  # 16 MB of indices at a time, however many scores there are


def _cluster_indices(sections: Sequence[Hashable]) -> Int[np.ndarray, " n"]:
    """Numbers from 0 for the sections, in order of first appearance."""
    numbers: dict[Hashable, int] = {}
    return np.array(
        [numbers.setdefault(section, len(numbers)) for section in sections], dtype=np.intp
    )
