from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitosam.reporting import words
from mitosam.reporting.words import headline, lead, verdicts
from tests.evaluation.synthetic import make_score
from tests.reporting.synthetic import make_report, make_scores


def test_a_clear_gain_is_said_plainly_with_its_interval():
    report = make_report()
    row = report.differences[0]
    assert headline(report) == "Tuning helped"
    assert "With one box per patch, mean Dice rose from 0." in lead(report)
    assert f"(95 % interval {words.interval(row.dice.interval)})" in lead(report)


def test_a_clear_loss_is_said_as_plainly():
    report = make_report(make_scores(gain_percent=-20))
    assert headline(report) == "Tuning made it worse"
    assert "mean Dice fell from" in lead(report)


def test_no_clear_difference_is_not_sold_as_a_gain():
    report = make_report(make_scores(gain_percent=0))
    assert headline(report) == "Tuning made no clear difference"
    assert "mean Dice went from" in lead(report)


def test_protocols_that_disagree_are_named():
    scores = make_scores() + make_scores(gain_percent=0, protocols=["object-box"])
    assert headline(make_report(scores)) == (
        "With one box per patch tuning helped; "
        "with one box per mitochondrion tuning made no clear difference"
    )


def test_a_tuned_model_below_a_rival_is_told_so():
    report = make_report(make_scores(gain_percent=1))
    sentence = verdicts(report)[0].sentences[-1]
    assert "the tuned model does not pass the inscribed ellipse" in sentence


def test_a_tuned_model_above_its_rivals_is_told_so():
    assert verdicts(make_report())[0].sentences[-1].endswith("the tuned model is above.")


def test_an_interval_from_few_sections_says_so_at_once():
    scores = [score for score in make_scores() if score.section < 3]
    assert ", from fewer than five sections)" in lead(make_report(scores))


def test_one_patch_gives_no_interval_and_says_so():
    report = make_report(make_scores(1))
    assert headline(report) == "Tuning made no clear difference"
    assert "too few scores for an interval" in lead(report)


def test_a_model_scored_alone_is_reported_alone():
    report = make_report([make_score(50, section=i) for i in range(6)])
    assert headline(report) == "What was scored"
    assert "the base model reached a mean Dice of 0.667" in lead(report)
    assert verdicts(report) == []


def test_nothing_scored_is_said():
    assert headline(make_report([])) == "Nothing was scored"
    assert lead(make_report([])) == ""


@given(st.floats(-1, 1))
def test_numbers_read_back_as_what_they_were(value):
    assert float(words.number(value).replace(words.MINUS, "-")) == pytest.approx(value, abs=5e-4)
    assert float(words.signed(value).replace(words.MINUS, "-")) == pytest.approx(value, abs=5e-4)


def test_a_hair_below_zero_has_no_sign():
    assert words.number(-0.0001) == words.signed(-0.0001) == words.signed(0.0001) == "0.000"


def test_what_is_missing_is_a_dash():
    assert words.number(math.nan) == words.percent(math.nan) == words.MISSING


@given(st.integers(0, 500), st.integers(1, 500))
def test_only_all_is_100_percent_and_only_none_is_0(part, more):
    share = part / (part + more)
    assert words.percent(share) != "100 %"
    assert (words.percent(share) == "0 %") == (part == 0)
