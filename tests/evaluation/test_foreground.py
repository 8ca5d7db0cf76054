from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from mitosam.errors import InputError
from mitosam.evaluation.foreground import ForegroundCounter, ForegroundOverlap, near_boundary
from mitosam.evaluation.metrics import pooled_dice, pooled_iou

volumes = arrays(np.bool_, (3, 7, 8))
radii = st.integers(0, 4)


def count(predicted: np.ndarray, truth: np.ndarray, boundary_px: int = 2) -> ForegroundOverlap:
    counter = ForegroundCounter(boundary_px)
    for pair in zip(predicted, truth, strict=True):
        counter.add(*pair)
    return counter.result()


@given(volumes, volumes)
def test_sections_one_by_one_score_as_the_whole(predicted, truth):
    overlap = count(predicted, truth).everywhere
    assert overlap.iou == pooled_iou(predicted, truth)
    assert overlap.dice == pooled_dice(predicted, truth)


@given(volumes, radii)
def test_the_zone_is_where_the_distance_transform_says(volume, boundary_px):
    truth = volume[0]
    zone = near_boundary(truth, boundary_px)
    if truth.all() or not truth.any():
        assert not zone.any()
        return
    distance = ndimage.distance_transform_edt(truth) + ndimage.distance_transform_edt(~truth)
    np.testing.assert_array_equal(zone, distance <= boundary_px)


@given(volumes, volumes)
def test_without_a_zone_both_counts_are_equal(predicted, truth):
    overlap = count(predicted, truth, boundary_px=0)
    assert overlap.everywhere == overlap.off_boundary


@given(volumes, radii)
def test_a_prediction_that_errs_only_near_the_boundary_is_perfect_off_it(truth, boundary_px):
    zones = np.stack([near_boundary(section, boundary_px) for section in truth])
    assert count(truth ^ zones, truth, boundary_px).off_boundary.iou == 1


def test_a_case_worked_by_hand():
    truth = np.zeros((1, 4, 4), bool)
    truth[:, :, :2] = True
    predicted = np.zeros((1, 4, 4), bool)
    predicted[:, 0] = True
    overlap = count(predicted, truth, boundary_px=1)
    assert overlap.everywhere.iou == 2 / 10
    assert overlap.off_boundary.iou == 1 / 5  # the outer columns alone: 1 of 4, and 1 too many
    assert overlap.boundary_px == 1


def test_nothing_at_all_scores_one():
    assert ForegroundCounter().result().everywhere.iou == 1
    nothing = np.zeros((1, 3, 3), bool)
    assert count(nothing, nothing).off_boundary.dice == 1


def test_a_zone_of_negative_width_is_refused():
    with pytest.raises(InputError, match="0 or more, got -1"):
        ForegroundCounter(-1)


def test_labels_are_no_masks():
    with pytest.raises(InputError, match="pass mask > 0"):
        ForegroundCounter().add(np.ones((2, 2), int), np.ones((2, 2), bool))
