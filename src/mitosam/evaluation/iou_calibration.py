"""Whether a model's predicted IoU can be believed, and what choosing masks by it is worth."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from mitosam.errors import InputError
from mitosam.evaluation.bootstrap import Interval, bootstrap_mean

NUM_BINS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ReliabilityBin:
    """The masks whose predicted IoU lies in [low, high): what was expected and what was reached."""

    low: float
    high: float
    count: int
    mean_predicted: float
    mean_true: float
    interval: Interval
    """Of the mean true IoU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How predicted and true IoU of many masks go together; without masks every number is NaN."""

    count: int
    mean_predicted: float
    mean_true: float
    bias: float
    """Mean of predicted minus true: positive where the model is too sure."""
    bias_interval: Interval
    mean_absolute_error: float
    """Mean of |predicted - true|: how far off the score of one mask is."""
    expected_calibration_error: float
    """Mean over the bins of |mean predicted - mean true|, weighted by their counts: how far off
    the scores of many masks are together (M. P. Naeini and others, AAAI 2015)."""
    pearson: float
    """Correlation of the values; NaN where either does not vary."""
    spearman: float
    """Correlation of the ranks: whether the better mask gets the higher score."""
    bins: tuple[ReliabilityBin, ...]
    """From low to high, without those that hold no mask."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Mean IoU of what can be taken of several candidate masks for each prompt."""

    count: int
    """Prompts."""
    single: float
    """Of the single mask, which the model gives without candidates."""
    chosen: float
    """Of the candidate with the highest predicted IoU."""
    gain: float
    """Chosen minus single."""
    gain_interval: Interval
    candidates: float
    """Of all candidates: what choosing blindly gives on average."""
    oracle: float
    """Of the best candidate. Only the truth tells which that is: it bounds what choosing can give
    and is no result."""
    share_best: float
    """Share of the prompts for which no candidate is better than the chosen one."""


def calibrate_iou(
    predicted: Float[np.ndarray, " n"],
    true: Float[np.ndarray, " n"],
    sections: Sequence[Hashable],
    *,
    seed: int,
    num_bins: int = NUM_BINS,
) -> Calibration:
    """How well predicted IoU meets true IoU, where `sections` says which section each is from.

    Bins are equally wide in [0, 1]; a prediction outside, which SAM's head can make, counts to the
    nearest bin with its value as it is.

    Raises
    ------
    InputError
        As many predictions as true values and sections are needed, all of them numbers.

    >>> found = calibrate_iou(np.array([0.9, 0.5]), np.array([0.7, 0.5]), [0, 1], seed=0)
    >>> round(found.bias, 3), round(found.mean_absolute_error, 3)
    (0.1, 0.1)
    """
    _check(predicted, true, sections)
    error = predicted - true
    bins = _reliability(predicted, true, sections, seed, num_bins)
    off = [one.count * abs(one.mean_predicted - one.mean_true) for one in bins]
    return Calibration(
        count=len(true),
        mean_predicted=_mean(predicted),
        mean_true=_mean(true),
        bias=_mean(error),
        bias_interval=bootstrap_mean(error, sections, seed=seed),
        mean_absolute_error=_mean(np.abs(error)),
        expected_calibration_error=sum(off) / len(true) if off else math.nan,
        pearson=correlation(predicted, true),
        spearman=correlation(_ranks(predicted), _ranks(true)),
        bins=bins,
    )


def value_of_choosing(
    single: Float[np.ndarray, " n"],
    predicted: Float[np.ndarray, "n m"],
    true: Float[np.ndarray, "n m"],
    sections: Sequence[Hashable],
    *,
    seed: int,
) -> Choice:
    """What it is worth to take, of m candidates for each of n prompts, the one scored highest.

    `single` and `true` are true IoU, `predicted` the candidates' scores; of equal ones the first
    is chosen. At least one prompt is needed.

    >>> choice = value_of_choosing(
    ...     np.array([0.5]), np.array([[0.9, 0.2]]), np.array([[0.6, 0.8]]), [0], seed=0
    ... )
    >>> choice.single, choice.chosen, choice.oracle
    (0.5, 0.6, 0.8)
    """
    chosen = true[np.arange(len(true)), predicted.argmax(axis=1)]
    gain = chosen - single
    return Choice(
        count=len(true),
        single=_mean(single),
        chosen=_mean(chosen),
        gain=_mean(gain),
        gain_interval=bootstrap_mean(gain, sections, seed=seed),
        candidates=_mean(true),
        oracle=_mean(true.max(axis=1)),
        share_best=_mean(chosen == true.max(axis=1)),
    )


def correlation(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> float:
    """Pearson's correlation, NaN where either does not vary.

    >>> correlation(np.array([0.0, 1.0, 2.0]), np.array([5.0, 4.0, 3.0]))
    -1.0
    >>> correlation(np.array([1.0, 1.0]), np.array([0.0, 1.0]))
    nan
    """
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return math.nan
    x, y = a - a.mean(), b - b.mean()
    # Scaled first: squares of tiny differences would vanish.
    x, y = x / np.abs(x).max(), y / np.abs(y).max()
    return float(np.clip(x @ y / math.sqrt((x @ x) * (y @ y)), -1, 1))


def _reliability(
    predicted: Float[np.ndarray, " n"],
    true: Float[np.ndarray, " n"],
    sections: Sequence[Hashable],
    seed: int,
    num_bins: int,
) -> tuple[ReliabilityBin, ...]:
    edges = np.linspace(0, 1, num_bins + 1)
    place: Int[np.ndarray, " n"] = np.digitize(predicted, edges[1:-1])
    bins = []
    for number in np.unique(place):
        inside = np.flatnonzero(place == number).tolist()
        bins.append(
            ReliabilityBin(
                low=float(edges[number]),
                high=float(edges[number + 1]),
                count=len(inside),
                mean_predicted=_mean(predicted[inside]),
                mean_true=_mean(true[inside]),
                interval=bootstrap_mean(true[inside], [sections[i] for i in inside], seed=seed),
            )
        )
    return tuple(bins)


def _ranks(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Ranks from 1; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2)[inverse], np.float64)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else math.nan


def _check(predicted: np.ndarray, true: np.ndarray, sections: Sequence[Hashable]) -> None:
    if not len(predicted) == len(true) == len(sections):
        raise InputError(
            "each predicted IoU needs its true one and its section, got "
            f"{len(predicted)} predicted, {len(true)} true and {len(sections)} sections"
        )
    if not (np.isfinite(predicted).all() and np.isfinite(true).all()):
        raise InputError("predicted and true IoU must be numbers, got some that are NaN or not")
