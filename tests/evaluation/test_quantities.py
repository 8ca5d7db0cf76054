from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitosam.evaluation.contingency import count_overlaps
from mitosam.evaluation.quantities import QuantityErrors, measure_quantities
from tests.evaluation.label_arrays import label_pairs, labels, slow_ious


def measure(predicted: np.ndarray, truth: np.ndarray) -> QuantityErrors:
    return measure_quantities(count_overlaps(predicted, truth))


def num_parts(mask: np.ndarray, parts: np.ndarray) -> int:
    """How many ids of `parts` cover a fifth of the mask or more."""
    return sum(np.mean(parts[mask] == part) >= 0.2 for part in set(parts[mask]) - {0})


@given(labels)
def test_the_truth_has_no_errors(array):
    errors = measure(array, array)
    assert (errors.count_error, errors.relative_count_error) == (0, 0)
    assert (errors.relative_volume_error, errors.num_splits, errors.num_merges) == (0, 0, 0)
    assert errors.median_volume_error == 0 or not array.any()


@given(label_pairs)
def test_what_splits_one_way_merges_the_other(pair):
    one, other = measure(*pair), measure(*pair[::-1])
    assert (one.num_splits, one.num_merges) == (other.num_merges, other.num_splits)
    assert one.count_error == -other.count_error


@given(label_pairs, st.permutations(range(1, 5)))
def test_relabelling_changes_no_error(pair, new):
    predicted, truth = pair
    renamed, before = measure(np.array([0, *new])[predicted], truth), measure(*pair)
    assert renamed.median_volume_error == pytest.approx(before.median_volume_error, nan_ok=True)
    assert (renamed.num_splits, renamed.num_merges) == (before.num_splits, before.num_merges)
    assert renamed.relative_volume_error == pytest.approx(before.relative_volume_error, nan_ok=True)


@given(label_pairs)
def test_counting_masks_one_by_one_agrees(pair):
    predicted, truth = pair
    errors = measure(predicted, truth)
    true_ids = set(truth.flat) - {0}
    split = [t for t in true_ids if num_parts(truth == t, predicted) >= 2]
    assert errors.num_splits == len(split)
    assert (errors.num_true, errors.num_predicted) == slow_ious(predicted, truth).shape
    assert errors.true_volume_voxels == np.count_nonzero(truth)
    assert errors.predicted_volume_voxels == np.count_nonzero(predicted)


def test_a_case_worked_by_hand():
    truth = np.array([[1, 1, 1, 1], [2, 2, 0, 3], [4, 4, 4, 4], [0, 0, 0, 0]])
    predicted = np.array([[5, 5, 6, 6], [7, 7, 7, 7], [8, 8, 8, 0], [0, 0, 0, 9]])
    errors = measure(predicted, truth)
    # 1 is split into 5 and 6, which are halves: one of them matches. 7 merges 2 (of which it is
    # twice the size, a match) and 3. 8 is a quarter smaller than 4. 9 is a false find.
    assert errors.count_error == 1
    assert errors.relative_count_error == 1 / 4
    assert errors.relative_volume_error == (12 - 11) / 11
    assert (errors.num_splits, errors.num_merges) == (1, 1)
    assert errors.median_volume_error == np.median([1 / 2, 1, 1 / 4])


def test_a_part_just_below_a_fifth_does_not_count():
    truth = np.ones((1, 11), int)
    predicted = np.array([[1] * 9 + [2] * 2])
    assert measure(predicted, truth).num_splits == 0
    assert measure(predicted[:, 1:], truth[:, 1:]).num_splits == 1  # 2 of 10 are a fifth


def test_errors_relative_to_nothing_are_undefined():
    something, nothing = np.ones((2, 2), int), np.zeros((2, 2), int)
    errors = measure(something, nothing)
    assert math.isnan(errors.relative_count_error)
    assert math.isnan(errors.relative_volume_error)
    assert math.isnan(errors.median_volume_error)
    assert measure(nothing, something).relative_volume_error == -1
    assert measure(nothing, nothing).relative_count_error == 0
