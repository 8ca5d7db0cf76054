from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mitosam.evaluation.scores import Answer, answers_of
from mitosam.evaluation.trust import measure_trust
from tests.evaluation.synthetic import make_score


def answered(iou_percent, expected, *candidates, taken=0, **where):
    """A score of 100 true pixels whose masks have these IoU in percent and predicted IoU."""
    masks = [(iou_percent, expected), *candidates]
    answers = tuple(
        Answer(predicted_px=px, intersection_px=px, predicted_iou=score) for px, score in masks
    )
    px, score = masks[taken]
    return dataclasses.replace(
        make_score(px, **where), predicted_iou=score, answers=answers if candidates else ()
    )


def test_single_and_chosen_masks_have_a_row_each():
    scores = [
        answered(50, 0.9, (60, 0.8), (90, 0.7)),
        answered(70, 0.9, (40, 0.2), (80, 0.6), x=1),
    ]
    single, chosen = measure_trust(scores, seed=0)
    assert (single.mask, single.is_scored, single.choice) == ("single", True, None)
    assert single.calibration.mean_true == pytest.approx(0.6)
    assert single.calibration.bias == pytest.approx(0.3)
    assert (chosen.mask, chosen.is_scored) == ("chosen", False)
    assert chosen.calibration.mean_true == pytest.approx(0.7)
    assert chosen.choice.oracle == pytest.approx(0.85)
    assert chosen.choice.gain == pytest.approx(0.1)


def test_the_rows_say_which_masks_were_scored():
    scores = [answered(50, 0.9, (60, 0.8), (90, 0.7), taken=1)]
    assert [row.is_scored for row in measure_trust(scores, seed=0)] == [False, True]


def test_scores_from_before_candidates_were_kept_have_one_row():
    rows = measure_trust([answered(50, 0.9), answered(70, 0.5, method="tuned")], seed=0)
    assert [(row.method, row.mask, row.is_scored) for row in rows] == [
        ("base", "single", True),
        ("tuned", "single", True),
    ]


def test_rivals_expect_nothing_and_empty_subjects_have_no_iou_to_expect():
    empty = dataclasses.replace(
        make_score(0), truth_px=0, predicted_px=5, intersection_px=0, predicted_iou=0.5
    )
    assert measure_trust([make_score(50, method="filled box"), make_score(50), empty], 0) == []


def test_answers_hold_the_counts_of_each_mask():
    truth = np.array([[True, True, False]])
    masks = np.array([[[True, False, False]], [[True, True, True]]])
    first, second = answers_of(masks, truth, np.array([0.25, 0.5], np.float32))
    assert (first.predicted_px, first.intersection_px, first.predicted_iou) == (1, 1, 0.25)
    assert (first.iou(2), second.iou(2)) == (0.5, 2 / 3)
