from __future__ import annotations

import csv
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitosam.errors import InputError, InputNotFoundError
from mitosam.evaluation.scores import METHODS, PROTOCOLS, Answer, Score
from mitosam.reporting.tables import (
    read_scores,
    write_scores_csv,
    write_scores_json,
    write_summary_csv,
)
from tests.reporting.synthetic import make_report, make_scores

counts = st.integers(0, 2**40)
any_answer = st.builds(
    Answer,
    predicted_px=counts,
    intersection_px=st.just(0),
    predicted_iou=st.floats(-0.1, 1.1) | st.none().map(lambda _: math.nan),
)
any_score = st.builds(
    lambda shared, more_true, more_predicted, **rest: Score(
        truth_px=shared + more_true,
        predicted_px=shared + more_predicted,
        intersection_px=shared,
        **rest,
    ),
    shared=counts,
    more_true=counts,
    more_predicted=counts,
    protocol=st.sampled_from(PROTOCOLS),
    method=st.sampled_from(METHODS),
    volume=st.text(st.characters(exclude_categories=["Cs"])),
    section=counts,
    y=counts,
    x=counts,
    object_id=counts,
    num_objects=counts,
    predicted_iou=st.floats(0, 1) | st.none().map(lambda _: math.nan),
    answers=st.lists(any_answer, max_size=4).map(tuple),
)


@given(st.lists(any_score, max_size=4))
def test_scores_come_back_as_they_went(tmp_path_factory, scores):
    path = tmp_path_factory.mktemp("scores") / "scores.json"
    write_scores_json(path, scores)
    # NaN differs from itself, so the texts are compared.
    assert [repr(score) for score in read_scores(path)] == [repr(score) for score in scores]


@given(st.lists(any_score, max_size=4))
def test_the_csv_says_the_same_whatever_a_volume_is_called(tmp_path_factory, scores):
    path = tmp_path_factory.mktemp("scores") / "scores.csv"
    write_scores_csv(path, scores)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["volume"] for row in rows] == [score.volume for score in scores]
    assert [float(row["iou"]) for row in rows] == [score.iou for score in scores]
    for row, score in zip(rows, scores, strict=True):
        assert (row["predicted_iou"] == "") == math.isnan(score.predicted_iou)
        for number, answer in enumerate(score.answers[1:], start=1):
            assert float(row[f"candidate_{number}_iou"]) == answer.iou(score.truth_px)


def test_json_holds_null_where_there_is_no_number(tmp_path):
    write_scores_json(tmp_path / "scores.json", make_scores(1))
    rows = json.loads((tmp_path / "scores.json").read_text(), parse_constant=pytest.fail)["scores"]
    assert rows[2]["method"] == "filled box"
    assert rows[2]["predicted_iou"] is None


def test_the_summary_holds_every_row_and_the_differences(tmp_path):
    report = make_report()
    write_summary_csv(tmp_path / "summary.csv", report.summaries, report.differences)
    with (tmp_path / "summary.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(report.summaries) + len(report.differences)
    assert float(rows[0]["dice_mean"]) == report.summaries[0].dice.mean
    change = next(row for row in rows if row["method"] == "tuned minus base")
    assert float(change["iou_low"]) == report.differences[0].iou.interval.low
    assert change["iou_median"] == ""


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"scores": 3}', '{"scores": [{}]}', '{"scores": [{"protocol": "x"}]}'],
)
def test_a_damaged_file_is_refused_with_the_way_out(tmp_path, text):
    path = tmp_path / "scores.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"does not hold scores .* run the evaluation again"):
        read_scores(path)


def test_an_unknown_method_is_refused(tmp_path):
    path = tmp_path / "scores.json"
    write_scores_json(path, make_scores(1))
    path.write_text(path.read_text().replace("filled box", "filled bag"))
    with pytest.raises(InputError, match="filled bag"):
        read_scores(path)


def test_a_missing_file_is_told_as_missing(tmp_path):
    with pytest.raises(InputNotFoundError, match="is not there"):
        read_scores(tmp_path / "scores.json")
