"""Where to cut a probability map: foreground overlap at every threshold, from two histograms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int, UInt8

from mitosam.errors import InputError
from mitosam.evaluation.metrics import Overlap

NUM_THRESHOLDS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class BestThreshold:
    """Foreground is where the probability (0 to 255) is `threshold` or more."""

    threshold: int
    iou: float
    dice: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ThresholdCurve:
    """The pixel counts of all thresholds, entry `t` for foreground where probability >= t."""

    overlap: Overlap

    def best(self) -> BestThreshold:
        """The threshold of the highest IoU, which has the highest Dice too.

        Of equally good ones it is the one nearest to 128, a probability of one half. Choose on
        validation data: a threshold chosen on what is reported flatters the report.
        """
        ious = self.overlap.iou
        equals = np.flatnonzero(ious == ious.max())
        threshold = int(equals[np.argmin(np.abs(equals - NUM_THRESHOLDS // 2))])
        return BestThreshold(
            threshold=threshold,
            iou=float(ious[threshold]),
            dice=float(self.overlap.dice[threshold]),
        )


class ThresholdCounter:
    """Adds up the histograms of sections: two of 256 bins are all that is kept.

    >>> counter = ThresholdCounter()
    >>> counter.add(np.array([[10, 90, 200]], np.uint8), np.array([[False, True, True]]))
    >>> counter.curve().best()
    BestThreshold(threshold=90, iou=1.0, dice=1.0)
    """

    def __init__(self) -> None:
        self._inside = np.zeros(NUM_THRESHOLDS, np.int64)
        self._outside = np.zeros(NUM_THRESHOLDS, np.int64)

    def add(
        self,
        probability: UInt8[np.ndarray, "height width"],
        truth: Bool[np.ndarray, "height width"],
    ) -> None:
        """Take in one section.

        Raises
        ------
        InputError
            The shapes differ, or the dtypes are not uint8 and bool.
        """
        if probability.shape != truth.shape:
            raise InputError(
                "probabilities and truth must have one shape, "
                f"got {probability.shape} and {truth.shape}"
            )
        if probability.dtype != np.uint8 or truth.dtype != np.bool_:
            raise InputError(
                "a threshold is chosen from uint8 probabilities and a boolean truth, "
                f"got {probability.dtype} and {truth.dtype}; scale probabilities to 0-255"
            )
        self._inside += np.bincount(probability[truth], minlength=NUM_THRESHOLDS)
        self._outside += np.bincount(probability[~truth], minlength=NUM_THRESHOLDS)

    def curve(self) -> ThresholdCurve:
        """The counts of everything added so far, at every threshold."""
        intersection = _at_least(self._inside)
        return ThresholdCurve(
            overlap=Overlap(
                truth_px=np.full(NUM_THRESHOLDS, self._inside.sum()),
                predicted_px=intersection + _at_least(self._outside),
                intersection_px=intersection,
            )
        )


def _at_least(histogram: Int[np.ndarray, " 256"]) -> Int[np.ndarray, " 256"]:
    """How many values lie in each bin or above it."""
    return np.cumsum(histogram[::-1])[::-1]
