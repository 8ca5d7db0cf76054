from __future__ import annotations

import numpy as np
from hypothesis import given

from mitosam.evaluation.contingency import count_overlaps
from mitosam.evaluation.instances import score_instances
from mitosam.evaluation.outlines import classify_outlines
from tests.evaluation.label_arrays import label_pairs, labels


@given(label_pairs)
def test_every_instance_is_of_one_class_and_the_scores_count_as_many(pair):
    predicted, truth = pair
    classes = classify_outlines(predicted, truth)
    scores = score_instances(count_overlaps(predicted, truth))
    assert len(classes.hits) == len(classes.found) == scores.num_hits
    assert sorted([*classes.hits, *classes.false_finds]) == sorted(set(predicted.flat) - {0})
    assert sorted([*classes.found, *classes.missed]) == sorted(set(truth.flat) - {0})


@given(label_pairs)
def test_each_hit_has_an_iou_of_one_half_or_more_with_the_instance_it_found(pair):
    predicted, truth = pair
    classes = classify_outlines(predicted, truth)
    for hit, found in zip(classes.hits, classes.found, strict=True):
        both, either = (truth == found) & (predicted == hit), (truth == found) | (predicted == hit)
        assert 2 * both.sum() >= either.sum()


@given(labels)
def test_the_truth_is_all_hits(array):
    classes = classify_outlines(array, array)
    np.testing.assert_array_equal(classes.hits, classes.found)
    assert not classes.false_finds.size
    assert not classes.missed.size


def test_a_case_worked_by_hand():
    truth = np.array([[1, 1, 0, 2], [1, 1, 0, 2], [0, 0, 0, 2], [3, 3, 0, 2]])
    predicted = np.array([[8, 8, 0, 9], [8, 0, 0, 9], [0, 0, 0, 9], [0, 0, 7, 9]])
    classes = classify_outlines(predicted, truth, iou_threshold=0.8)
    assert (classes.hits.tolist(), classes.found.tolist()) == ([9], [2])
    assert classes.false_finds.tolist() == [7, 8]
    assert classes.missed.tolist() == [1, 3]
