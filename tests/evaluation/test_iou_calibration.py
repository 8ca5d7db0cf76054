from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mitosam.errors import InputError
from mitosam.evaluation.iou_calibration import calibrate_iou, correlation, value_of_choosing

shares = st.floats(0, 1)
pairs = st.lists(st.tuples(shares, shares), min_size=1, max_size=40)


def calibrate(values, **kwargs):
    predicted, true = np.array(values, float).reshape(-1, 2).T
    return calibrate_iou(predicted, true, list(range(len(true))), seed=0, **kwargs)


def test_a_calibration_worked_by_hand():
    found = calibrate([(0.92, 0.7), (0.96, 0.9), (0.42, 0.5), (0.44, 0.3)])
    assert found.count == 4
    assert found.mean_predicted == pytest.approx(0.685)
    assert found.mean_true == pytest.approx(0.6)
    assert found.bias == pytest.approx(0.085)
    assert found.mean_absolute_error == pytest.approx((0.22 + 0.06 + 0.08 + 0.14) / 4)
    # two bins of two: 0.94 expected for 0.80, and 0.43 for 0.40
    assert found.expected_calibration_error == pytest.approx((2 * 0.14 + 2 * 0.03) / 4)
    assert [(one.low, one.high, one.count) for one in found.bins] == [
        (pytest.approx(0.4), 0.5, 2),
        (0.9, 1.0, 2),
    ]
    assert [one.mean_true for one in found.bins] == pytest.approx([0.4, 0.8])
    # ranks 3, 4, 1, 2 against 3, 4, 2, 1
    assert found.spearman == pytest.approx(0.8)


def test_a_model_that_knows_is_calibrated():
    found = calibrate([(x, x) for x in np.linspace(0.05, 0.95, 19)])
    assert (found.bias, found.mean_absolute_error) == (0, 0)
    assert found.expected_calibration_error == pytest.approx(0)
    assert (found.pearson, found.spearman) == pytest.approx((1, 1))


def test_a_constant_guess_may_be_right_on_average_and_orders_nothing():
    found = calibrate([(0.6, 0.2), (0.6, 1.0)])
    assert found.bias == pytest.approx(0)
    assert found.expected_calibration_error == pytest.approx(0)
    assert found.mean_absolute_error == pytest.approx(0.4)
    assert math.isnan(found.pearson)
    assert math.isnan(found.spearman)


@settings(max_examples=40)
@given(pairs)
def test_bins_share_out_all_masks_and_bias_is_no_larger_than_the_errors(values):
    found = calibrate(values)
    assert sum(one.count for one in found.bins) == found.count == len(values)
    means = [one.count * one.mean_true for one in found.bins]
    assert sum(means) / len(values) == pytest.approx(found.mean_true)
    tiny = 1e-9
    assert abs(found.bias) <= found.expected_calibration_error + tiny
    assert found.expected_calibration_error <= found.mean_absolute_error + tiny


@settings(max_examples=40)
@given(pairs, st.floats(-0.3, 0.3))
def test_a_shift_of_all_predictions_changes_the_bias_and_no_correlation(values, shift):
    predicted, true = np.round(np.array(values).T, 3)
    sections = list(range(len(true)))
    before = calibrate_iou(predicted, true, sections, seed=0)
    after = calibrate_iou(predicted + shift, true, sections, seed=0)
    assert after.bias == pytest.approx(before.bias + shift)
    assert after.pearson == pytest.approx(before.pearson, abs=1e-6, nan_ok=True)


@settings(max_examples=40)
@given(pairs.filter(lambda values: len(values) > 1))
def test_scipy_finds_the_same_correlations(values):
    predicted, true = np.round(np.array(values).T, 2)
    found = calibrate_iou(predicted, true, list(range(len(true))), seed=0)
    if np.ptp(predicted) == 0 or np.ptp(true) == 0:
        assert math.isnan(found.pearson)
        return
    assert found.pearson == pytest.approx(stats.pearsonr(predicted, true).statistic, abs=1e-9)
    assert found.spearman == pytest.approx(stats.spearmanr(predicted, true).statistic, abs=1e-9)


@given(st.lists(st.floats(-1e300, 1e300), min_size=2, max_size=6))
def test_a_correlation_lies_between_minus_one_and_one(values):
    found = correlation(np.array(values), np.array(values[::-1]))
    assert math.isnan(found) or -1 <= found <= 1


def test_predictions_outside_zero_to_one_count_to_the_nearest_bin():
    found = calibrate([(-0.2, 0.1), (1.3, 0.9)])
    assert [(one.low, one.mean_predicted) for one in found.bins] == [(0, -0.2), (0.9, 1.3)]


def test_no_masks_give_no_numbers():
    found = calibrate([])
    assert (found.count, found.bins) == (0, ())
    assert math.isnan(found.bias)
    assert math.isnan(found.expected_calibration_error)


def test_a_missing_prediction_is_refused():
    with pytest.raises(InputError, match="must be numbers"):
        calibrate([(math.nan, 0.5)])
    with pytest.raises(InputError, match="got 2 predicted, 1 true and 1 sections"):
        calibrate_iou(np.ones(2), np.ones(1), [0], seed=0)


def test_a_choice_worked_by_hand():
    choice = value_of_choosing(
        np.array([0.5, 0.7]),
        np.array([[0.9, 0.2, 0.1], [0.3, 0.8, 0.4]]),
        np.array([[0.6, 0.8, 0.1], [0.2, 0.9, 0.4]]),
        [0, 1],
        seed=0,
    )
    assert (choice.count, choice.single) == (2, pytest.approx(0.6))
    assert choice.chosen == pytest.approx((0.6 + 0.9) / 2)
    assert choice.gain == pytest.approx((0.1 + 0.2) / 2)
    assert choice.candidates == pytest.approx((1.5 + 1.5) / 6)
    assert choice.oracle == pytest.approx((0.8 + 0.9) / 2)
    assert choice.share_best == 0.5


@settings(max_examples=40)
@given(st.integers(1, 9), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_the_oracle_bounds_the_choice_and_the_order_of_candidates_is_nothing(n, m, seed):
    rng = np.random.default_rng(seed)
    single, predicted, true = rng.random(n), rng.random((n, m)), rng.random((n, m))
    sections = list(range(n))
    choice = value_of_choosing(single, predicted, true, sections, seed=0)
    assert true.min(axis=1).mean() - 1e-9 <= choice.chosen <= choice.oracle + 1e-9
    order = rng.permutation(m)
    again = value_of_choosing(single, predicted[:, order], true[:, order], sections, seed=0)
    assert (again.chosen, again.oracle) == pytest.approx((choice.chosen, choice.oracle))


def test_a_model_that_knows_chooses_the_best():
    true = np.random.default_rng(0).random((6, 3))
    choice = value_of_choosing(np.zeros(6), true / 2, true, list(range(6)), seed=0)
    assert choice.chosen == choice.oracle
    assert choice.share_best == 1
