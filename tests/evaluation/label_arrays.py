"""Small label arrays, and scores of them the slow way."""

from __future__ import annotations

from itertools import product

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linear_sum_assignment

SHAPE = (3, 4, 5)
labels = arrays(np.uint16, SHAPE, elements=st.integers(0, 4))
label_pairs = st.tuples(labels, labels)


def slow_ious(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """IoU of each true instance (rows) with each predicted one, mask by mask."""
    true_ids, predicted_ids = (np.unique(array[array > 0]) for array in (truth, predicted))
    ious = np.zeros((len(true_ids), len(predicted_ids)))
    for (i, t), (j, p) in product(enumerate(true_ids), enumerate(predicted_ids)):
        inside, found = truth == t, predicted == p
        ious[i, j] = (inside & found).sum() / (inside | found).sum()
    return ious


def slow_hits(predicted: np.ndarray, truth: np.ndarray, threshold: float) -> int:
    """The most pairs that reach the threshold, from solving the assignment problem."""
    reached = slow_ious(predicted, truth) >= threshold
    return int(reached[linear_sum_assignment(reached, maximize=True)].sum())
