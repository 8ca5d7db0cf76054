from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from monai.metrics import compute_dice, compute_iou
from scipy.spatial.distance import dice as scipy_dice_distance

from mitosam.errors import InputError
from mitosam.evaluation.metrics import dice, iou, measure_overlap, pooled_dice, pooled_iou

SHAPE = (3, 5, 4)
masks = arrays(np.bool_, SHAPE)


@given(masks, masks)
def test_both_are_symmetric(first, second):
    np.testing.assert_array_equal(dice(first, second), dice(second, first))
    np.testing.assert_array_equal(iou(first, second), iou(second, first))


@given(masks)
def test_a_mask_scores_one_on_itself_even_when_empty(mask):
    np.testing.assert_array_equal(dice(mask, mask), np.ones(3))
    np.testing.assert_array_equal(iou(mask, mask), np.ones(3))


@given(masks, masks)
def test_dice_follows_from_iou(first, second):
    jaccard = iou(first, second)
    np.testing.assert_allclose(dice(first, second), 2 * jaccard / (1 + jaccard), atol=1e-12)


@given(masks, masks, st.permutations(range(SHAPE[1])))
def test_moving_pixels_in_both_masks_alike_changes_no_score(first, second, rows):
    np.testing.assert_array_equal(dice(first, second), dice(first[:, rows], second[:, rows]))


@given(masks, masks)
def test_pooled_scores_are_the_scores_of_the_masks_laid_side_by_side(first, second):
    one, other = np.concatenate(list(first)), np.concatenate(list(second))
    assert pooled_dice(first, second) == pytest.approx(float(dice(one, other)))
    assert pooled_iou(first, second) == pytest.approx(float(iou(one, other)))


@given(masks, masks)
def test_monai_agrees(first, second):
    predicted, truth = (torch.from_numpy(mask[:, None].copy()).float() for mask in (first, second))
    expected_dice = compute_dice(predicted, truth, ignore_empty=False).numpy().ravel()
    expected_iou = compute_iou(predicted, truth, ignore_empty=False).numpy().ravel()
    some_truth = second.any(axis=(1, 2))  # MONAI scores an empty truth by its own rule
    np.testing.assert_allclose(dice(first, second)[some_truth], expected_dice[some_truth], 1e-6)
    np.testing.assert_allclose(iou(first, second)[some_truth], expected_iou[some_truth], 1e-6)


@given(arrays(np.bool_, 20), arrays(np.bool_, 20))
def test_scipy_agrees(first, second):
    if first.any() or second.any():  # where both are empty SciPy divides by zero
        score = float(dice(first.reshape(4, 5), second.reshape(4, 5)))
        assert score == pytest.approx(1 - scipy_dice_distance(first, second))


def test_a_case_worked_by_hand():
    truth = np.array([[1, 1, 0], [1, 1, 0]], bool)
    predicted = np.array([[0, 1, 1], [0, 1, 1]], bool)
    assert float(dice(predicted, truth)) == 0.5  # 2 * 2 / (4 + 4)
    assert float(iou(predicted, truth)) == pytest.approx(1 / 3)  # 2 / 6


def test_an_empty_prediction_of_something_scores_zero():
    truth = np.ones((2, 2), bool)
    assert float(dice(~truth, truth)) == float(iou(~truth, truth)) == 0


def test_masks_of_another_shape_are_refused():
    with pytest.raises(InputError, match=r"one shape .* \(2, 2\) predicted and \(2, 3\) true"):
        measure_overlap(np.ones((2, 2), bool), np.ones((2, 3), bool))


def test_masks_coded_0_and_255_are_refused_with_the_way_out():
    with pytest.raises(InputError, match="pass mask > 0"):
        dice(np.full((2, 2), 255, np.uint8), np.ones((2, 2), bool))
