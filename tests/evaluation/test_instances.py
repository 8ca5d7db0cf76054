from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from mitosam.errors import InputError
from mitosam.evaluation.contingency import count_overlaps
from mitosam.evaluation.instances import (
    MSA_THRESHOLDS,
    InstanceScores,
    match,
    score_instances,
    section_instances,
    volume_instances,
)
from tests.evaluation.label_arrays import label_pairs, labels, slow_hits, slow_ious

thresholds = st.sampled_from(MSA_THRESHOLDS)


def score(predicted: np.ndarray, truth: np.ndarray) -> InstanceScores:
    return score_instances(count_overlaps(predicted, truth))


@given(label_pairs, thresholds)
def test_solving_the_assignment_problem_finds_as_many_hits(pair, threshold):
    found = match(count_overlaps(*pair), threshold)
    assert found.num_hits == slow_hits(*pair, threshold)
    assert len(set(found.true_index)) == len(set(found.predicted_index)) == found.num_hits


@given(label_pairs)
def test_scores_follow_from_the_definitions(pair):
    predicted, truth = pair
    ious = slow_ious(predicted, truth)
    num_true, num_predicted = ious.shape
    if not num_true + num_predicted:
        return
    accuracies = []
    for threshold in MSA_THRESHOLDS:
        hits = slow_hits(predicted, truth, threshold)
        accuracies.append(hits / (num_true + num_predicted - hits))
    hits = slow_hits(predicted, truth, 0.5)
    scores = score(predicted, truth)
    assert (scores.ap50, scores.ap75) == (accuracies[0], accuracies[5])
    assert scores.msa == pytest.approx(np.mean(accuracies))
    assert scores.f1 == 2 * hits / (num_true + num_predicted)
    assert scores.precision == (hits / num_predicted if num_predicted else 0)
    assert scores.recall == (hits / num_true if num_true else 0)
    # Of two halves of one instance only one counts, so rows and columns give one IoU at most.
    found = [row.max() for row in np.where(ious >= 0.5, ious, 0) if row.any()]
    if len(found) == hits:
        expected = sum(found) / (hits + (num_true - hits) / 2 + (num_predicted - hits) / 2)
        assert scores.panoptic_quality == pytest.approx(expected)


@given(labels)
def test_every_score_is_one_on_itself_even_when_empty(array):
    scores = score(array, array)
    for name in ("precision", "recall", "f1", "ap50", "ap75", "msa"):
        assert getattr(scores, name) == 1
    assert scores.segmentation_quality == scores.panoptic_quality == 1


@given(label_pairs, st.permutations(range(1, 5)), st.permutations(range(1, 5)))
def test_relabelling_changes_no_score(pair, new_predicted, new_true):
    predicted, truth = pair
    renamed = score(np.array([0, *new_predicted])[predicted], np.array([0, *new_true])[truth])
    before = score(predicted, truth)
    assert renamed.panoptic_quality == pytest.approx(before.panoptic_quality)
    assert replace(renamed, segmentation_quality=0, panoptic_quality=0) == replace(
        before, segmentation_quality=0, panoptic_quality=0
    )


@given(label_pairs)
def test_swapping_truth_and_prediction_swaps_precision_and_recall_alone(pair):
    one, other = score(*pair), score(*pair[::-1])
    assert (one.precision, one.recall) == (other.recall, other.precision)
    assert (one.f1, one.ap50, one.ap75, one.msa) == (other.f1, other.ap50, other.ap75, other.msa)
    assert one.panoptic_quality == pytest.approx(other.panoptic_quality)


@given(label_pairs)
def test_accuracy_never_rises_with_the_threshold(pair):
    contingency = count_overlaps(*pair)
    accuracies = [match(contingency, threshold).accuracy for threshold in MSA_THRESHOLDS]
    assert accuracies == sorted(accuracies, reverse=True)


@given(label_pairs)
def test_scores_keep_their_order(pair):
    scores = score(*pair)
    assert scores.ap75 <= scores.ap50 <= scores.f1
    assert scores.msa <= scores.ap50 + 1e-12  # a mean of equal numbers may round up
    assert 0 <= scores.panoptic_quality <= scores.f1


def test_a_case_worked_by_hand():
    truth = np.array([[1, 1, 0, 2], [1, 1, 0, 2], [0, 0, 0, 2], [3, 3, 0, 2]])
    predicted = np.array([[8, 8, 0, 9], [8, 0, 0, 9], [0, 0, 0, 9], [0, 0, 7, 9]])
    scores = score(predicted, truth)
    # 8 meets 1 with IoU 3/4, 9 meets 2 with 1; 7 meets none and 3 is missed.
    assert (scores.num_true, scores.num_predicted, scores.num_hits) == (3, 3, 2)
    assert (scores.precision, scores.recall, scores.f1) == (2 / 3, 2 / 3, 2 / 3)
    assert (scores.ap50, scores.ap75) == (2 / 4, 2 / 4)
    assert scores.msa == pytest.approx((6 * 2 / 4 + 4 * 1 / 5) / 10)
    assert scores.segmentation_quality == (3 / 4 + 1) / 2
    assert scores.panoptic_quality == pytest.approx(7 / 8 * 2 / 3)


def test_an_iou_of_exactly_three_fifths_reaches_the_threshold_of_0_6():
    contingency = count_overlaps(np.array([[1, 1, 1, 0, 0]]), np.array([[1, 1, 1, 1, 1]]))
    assert match(contingency, MSA_THRESHOLDS[2]).num_hits == 1


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_exact_halves_one_is_a_hit_and_the_other_a_false_find(order):
    halves, whole = np.array([[1, 1, 2, 2]]), np.array([[5, 5, 5, 5]])
    found = match(count_overlaps(*(halves, whole)[::order]))
    assert (found.num_hits, found.num_false + found.num_missed) == (1, 1)


def test_one_empty_array_scores_zero():
    something, nothing = np.ones((2, 2), int), np.zeros((2, 2), int)
    for scores in (score(something, nothing), score(nothing, something)):
        assert scores.precision == scores.recall == scores.f1 == scores.ap50 == scores.msa == 0
        assert scores.segmentation_quality == scores.panoptic_quality == 0


@pytest.mark.parametrize("threshold", [0.49, 1.01])
def test_thresholds_at_which_matches_are_not_unique_are_refused(threshold):
    contingency = count_overlaps(np.ones((1, 1), int), np.ones((1, 1), int))
    with pytest.raises(InputError, match=r"in \[0.5, 1\]"):
        match(contingency, threshold)


@given(labels)
def test_instances_of_a_section_are_the_pieces_of_each_id(array):
    section = array[0]
    found = section_instances(section)
    expected = sum(
        ndimage.label(section == value, np.ones((3, 3)))[1] for value in set(section.flat) - {0}
    )
    assert found.max() == expected
    np.testing.assert_array_equal(found > 0, section > 0)


@given(labels, st.sampled_from([(6, 1), (18, 2), (26, 3)]))
def test_instances_of_a_volume_are_those_scipy_finds(array, how):
    connectivity, rank = how
    found = volume_instances(array > 0, connectivity=connectivity)
    expected, _ = ndimage.label(array > 0, ndimage.generate_binary_structure(3, rank))
    assert score(found, expected).msa == 1


def test_voxels_that_meet_at_a_corner_are_one_instance_unless_told_otherwise():
    corner = np.zeros((2, 2, 2), bool)
    corner[0, 0, 0] = corner[1, 1, 1] = True
    assert volume_instances(corner).max() == 1
    assert volume_instances(corner, connectivity=18).max() == 2
