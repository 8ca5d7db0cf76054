from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from mitosam.evaluation.iou_calibration import calibrate_iou
from mitosam.evaluation.scores import Answer, Score
from mitosam.evaluation.trust import measure_trust
from mitosam.reporting import ink
from mitosam.reporting.build import render
from mitosam.reporting.trust import sentences, verdict_of
from mitosam.reporting.trust_figure import trust_svg
from tests.reporting.pages import assert_needs_nothing_else
from tests.reporting.synthetic import make_report, make_scores


def expecting(scores: list[Score], surplus: float) -> list[Score]:
    """The models' scores with a predicted IoU too high by `surplus`, and two worse candidates."""
    answered = []
    for score in (s for s in scores if s.method in ("base", "tuned")):
        expected = score.iou + surplus
        masks = tuple(
            Answer(predicted_px=px, intersection_px=px, predicted_iou=expected - 0.1 * number)
            for number, px in enumerate([score.predicted_px, score.predicted_px - 10, 5])
        )
        answered.append(dataclasses.replace(score, predicted_iou=expected, answers=masks))
    return answered


SCORES = make_scores(protocols=["patch-box", "object-box", "object-point"])
HONEST, SURE = (measure_trust(expecting(SCORES, by), seed=0) for by in (0.01, 0.3))


@pytest.mark.parametrize(
    ("predicted", "true", "verdict"),
    [
        ([0.1, 0.5, 0.9], [0.1, 0.5, 0.9], "trusted"),
        ([0.7, 0.8, 0.9], [0.1, 0.2, 0.3], "order"),
        ([0.49, 0.5, 0.51], [0.5, 0.5, 0.5], "level"),
        ([0.9, 0.8, 0.7], [0.1, 0.2, 0.3], "neither"),
        ([0.5], [0.5], "level"),
    ],
)
def test_scores_are_judged_by_level_and_order(predicted, true, verdict):
    found = calibrate_iou(np.array(predicted), np.array(true), list(range(len(true))), seed=0)
    assert verdict_of(found) == verdict


def test_scores_that_are_right_are_called_so():
    said = sentences(HONEST)
    assert len(said) == 4
    assert said[0] == (
        "With one box per patch, the scores of the tuned model can be trusted: they are about "
        "right, and better masks get the higher ones; a score is off by 0.01 on average "
        "(base model: 0.01)."
    )


def test_what_is_too_high_is_told_with_its_number_and_what_it_is_good_for():
    assert "are too high by 0.30, but better masks get the higher ones" in sentences(SURE)[1]


def test_the_choice_among_candidates_is_told_with_what_needs_the_annotation():
    last = sentences(HONEST)[-1]
    assert "taking the candidate that the tuned model scores highest" in last
    assert "for which one needs the annotation" in last


def test_a_model_alone_is_judged_alone():
    base = measure_trust([s for s in expecting(SCORES, 0.3) if s.method == "base"], seed=0)
    assert "of the base model" in sentences(base)[0]
    assert "(base model" not in sentences(base)[0]


@pytest.mark.parametrize("rows", [HONEST, SURE, HONEST[:1]])
def test_the_figure_is_well_formed_and_takes_the_colours_of_the_page(rows):
    with ink.page_style():
        svg = trust_svg(rows)
    assert ET.fromstring(svg).tag == "svg"
    assert "#00000" not in svg


def test_one_mask_is_drawn_without_an_interval():
    with ink.page_style():
        assert trust_svg(measure_trust(expecting(make_scores(1), 0.1), seed=0))


def test_the_report_has_a_section_only_where_predictions_were_kept():
    html = render(make_report(trust=SURE))
    assert_needs_nothing_else(html)
    assert "Can its own scores be trusted?" in html
    assert 'id="trust"' not in render(make_report())
