from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays

from mitosam.errors import InputError
from mitosam.evaluation.metrics import pooled_dice, pooled_iou
from mitosam.evaluation.thresholds import NUM_THRESHOLDS, ThresholdCounter, ThresholdCurve

SHAPE = (2, 4, 5)


def curve_of(probability: np.ndarray, truth: np.ndarray) -> ThresholdCurve:
    counter = ThresholdCounter()
    for pair in zip(probability, truth, strict=True):
        counter.add(*pair)
    return counter.curve()


@given(arrays(np.uint8, SHAPE), arrays(np.bool_, SHAPE))
def test_each_point_is_the_score_of_the_map_cut_there(probability, truth):
    curve = curve_of(probability, truth)
    for threshold in range(0, NUM_THRESHOLDS, 15):
        predicted = probability >= threshold
        assert curve.overlap.iou[threshold] == pooled_iou(predicted, truth)
        assert curve.overlap.dice[threshold] == pooled_dice(predicted, truth)


@given(arrays(np.uint8, SHAPE), arrays(np.bool_, SHAPE))
def test_no_other_threshold_is_better(probability, truth):
    curve = curve_of(probability, truth)
    best = curve.best()
    assert best.iou == curve.overlap.iou.max()
    assert best.dice == curve.overlap.dice.max()
    assert best.iou == pooled_iou(probability >= best.threshold, truth)


@pytest.mark.parametrize(
    ("low", "high", "expected"), [(10, 90, 90), (100, 250, 128), (200, 220, 201)]
)
def test_of_equally_good_thresholds_the_one_nearest_one_half_is_taken(low, high, expected):
    probability = np.array([[[low, high]]], np.uint8)
    assert curve_of(probability, probability > low).best().threshold == expected


def test_probabilities_from_0_to_1_are_refused_with_the_way_out():
    with pytest.raises(InputError, match="scale probabilities to 0-255"):
        ThresholdCounter().add(np.full((2, 2), 0.5), np.ones((2, 2), bool))


def test_truth_of_another_shape_is_refused():
    with pytest.raises(InputError, match="one shape"):
        ThresholdCounter().add(np.zeros((2, 2), np.uint8), np.ones((2, 3), bool))
