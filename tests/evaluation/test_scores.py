from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays

from mitosam.errors import InputError
from mitosam.evaluation.metrics import dice, iou
from mitosam.evaluation.scores import Subject, overlap_of, pair_scores
from tests.evaluation.synthetic import make_score

SUBJECT = Subject(
    protocol="object-box", volume="cells", section=3, y=0, x=256, object_id=2, num_objects=4
)
masks = arrays(np.bool_, (4, 4))


@given(masks, masks)
def test_a_score_has_the_dice_and_iou_of_its_masks(predicted, truth):
    score = SUBJECT.score("tuned", predicted, truth, predicted_iou=0.9)
    assert score.dice == pytest.approx(float(dice(predicted, truth)))
    assert score.iou == pytest.approx(float(iou(predicted, truth)))


@given(masks, masks)
def test_a_score_remembers_its_subject(predicted, truth):
    assert SUBJECT.score("base", predicted, truth).subject == SUBJECT


def test_rivals_expect_no_iou():
    assert math.isnan(SUBJECT.score("filled box", *2 * [np.ones((2, 2), bool)]).predicted_iou)


def test_two_empty_masks_score_one():
    empty = np.zeros((2, 2), bool)
    score = SUBJECT.score("base", empty, empty)
    assert (score.dice, score.iou) == (1, 1)


def test_an_intersection_larger_than_a_mask_is_refused():
    with pytest.raises(InputError, match="intersection_px=101"):
        dataclasses.replace(make_score(50), intersection_px=101)


def test_overlap_of_keeps_the_order_and_takes_no_scores():
    np.testing.assert_array_equal(overlap_of([make_score(20), make_score(70)]).iou, [0.2, 0.7])
    assert overlap_of([]).iou.shape == (0,)


def test_pairs_hold_what_both_methods_scored():
    base = [make_score(50, x=0), make_score(60, x=256)]
    tuned = [make_score(80, x=256, method="tuned"), make_score(90, x=512, method="tuned")]
    assert pair_scores(base + tuned, "patch-box", method="tuned", against="base") == [
        (base[1], tuned[0])
    ]


def test_a_subject_scored_twice_is_refused():
    scores = [make_score(50), make_score(60)]
    with pytest.raises(InputError, match="scores each subject once, got 2 scores of 'base' on 1"):
        pair_scores(scores, "patch-box", method="tuned", against="base")
