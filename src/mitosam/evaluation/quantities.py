"""What a biologist would report from a prediction, against what the truth gives: how many
mitochondria, how large, and which were cut up or run together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from mitosam.evaluation.contingency import Contingency
from mitosam.evaluation.instances import match

MIN_SHARE = 0.2
"""What share of an object another must cover to count as one of its parts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantityErrors:
    """Errors of counts and volumes; relative ones are (predicted - true) / true."""

    num_true: int
    num_predicted: int
    true_volume_voxels: int
    predicted_volume_voxels: int
    median_volume_error: float
    """Median over matched pairs of |predicted - true| / true volume; NaN without pairs."""
    num_splits: int
    """True instances of which two or more predicted ones cover a fifth each, or more."""
    num_merges: int
    """Predicted instances of which two or more true ones cover a fifth each, or more."""

    @property
    def count_error(self) -> int:
        """How many too many were predicted; negative where too few."""
        return self.num_predicted - self.num_true

    @property
    def relative_count_error(self) -> float:
        """The count error as a share of the true count; see `relative_volume_error`."""
        return _relative_error(self.num_predicted, self.num_true)

    @property
    def relative_volume_error(self) -> float:
        """The error of the total volume as a share of the true one.

        It is 0 where both are 0, and NaN where only the true one is.
        """
        return _relative_error(self.predicted_volume_voxels, self.true_volume_voxels)


def measure_quantities(contingency: Contingency) -> QuantityErrors:
    """The errors of what would be reported; pairs are those that match at an IoU of 0.5.

    >>> from mitosam.evaluation.contingency import count_overlaps
    >>> truth = np.array([[1, 1, 1, 1, 0, 2]])
    >>> predicted = np.array([[5, 5, 6, 6, 0, 7]])
    >>> errors = measure_quantities(count_overlaps(predicted, truth))
    >>> errors.count_error, errors.num_splits, errors.num_merges
    (1, 1, 0)
    """
    overlaps = contingency.overlaps
    true_shares = overlaps / contingency.true_sizes[contingency.true_index]
    predicted_shares = overlaps / contingency.predicted_sizes[contingency.predicted_index]
    return QuantityErrors(
        num_true=contingency.num_true,
        num_predicted=contingency.num_predicted,
        true_volume_voxels=int(contingency.true_sizes.sum()),
        predicted_volume_voxels=int(contingency.predicted_sizes.sum()),
        median_volume_error=_median_volume_error(contingency),
        num_splits=_num_in_parts(contingency.true_index, true_shares),
        num_merges=_num_in_parts(contingency.predicted_index, predicted_shares),
    )


def _median_volume_error(contingency: Contingency) -> float:
    found = match(contingency)
    if not found.num_hits:
        return math.nan
    true = contingency.true_sizes[found.true_index]
    predicted = contingency.predicted_sizes[found.predicted_index]
    return float(np.median(np.abs(predicted - true) / true))


def _num_in_parts(whole: Int[np.ndarray, " n"], shares: Float[np.ndarray, " n"]) -> int:
    """How many instances come at least twice with a share that counts."""
    return int(np.count_nonzero(np.bincount(whole[shares >= MIN_SHARE]) >= 2))


def _relative_error(predicted: int, true: int) -> float:
    if not true:
        return math.nan if predicted else 0.0
    return (predicted - true) / true
