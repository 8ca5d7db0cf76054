"""Scores after clicks, on a whole run with a tiny model."""

from __future__ import annotations

import csv
import json
import shutil

import pytest

from mitosam.config import override_settings
from mitosam.errors import SettingsError
from mitosam.workflows.evaluate import evaluate, read_evaluation
from mitosam.workflows.evaluate_clicks import evaluate_clicks, read_clicks
from mitosam.workflows.report import report
from mitosam.workflows.runs import Run


@pytest.fixture(scope="module")
def run(finished, tmp_path_factory):
    folder = tmp_path_factory.mktemp("clicked") / "run"
    shutil.copytree(finished.run.folder, folder)
    return Run.open(folder)


@pytest.fixture(scope="module")
def summary(run):
    return evaluate_clicks(run, num_clicks=2)


def test_no_click_scores_as_evaluate_does(run, summary):
    expected = {
        (row.protocol, row.method): (row.iou.mean, row.count)
        for row in read_evaluation(run).summary
        if row.group == "all" and row.protocol != "patch-box" and row.method in ("base", "tuned")
    }
    found = {
        (row.start, row.method): (row.mean_iou, row.num_objects)
        for row in summary
        if row.clicks == 0
    }
    assert found.keys() == expected.keys()
    for key, (iou, count) in expected.items():
        assert found[key] == (pytest.approx(iou, abs=1e-6), count)


def test_every_object_has_a_row_for_each_number_of_clicks(run, summary):
    with (run.folder / "clicks.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(row.num_objects for row in summary)
    assert {row["clicks"] for row in rows} == {"0", "1", "2"}


def test_the_summary_is_read_back_and_stands_in_the_report(run, summary):
    assert read_clicks(run) == summary
    assert "What a few clicks buy" in report(run).read_text()


def test_what_the_model_expects_after_each_click_is_kept(run, summary):
    with (run.folder / "clicks.csv").open() as file:
        rows = list(csv.DictReader(file))
    first = summary[0]
    own = [
        float(row["predicted_iou"])
        for row in rows
        if (row["start"], row["method"], int(row["clicks"]))
        == (first.start, first.method, first.clicks)
    ]
    assert first.mean_predicted_iou == pytest.approx(sum(own) / len(own))
    gap = abs(first.mean_predicted_iou - first.mean_iou)
    assert first.iou_error >= gap - 1e-9


def test_clicks_from_before_that_are_still_read(run, summary):
    path = run.folder / "clicks.json"
    text = path.read_text("utf-8")
    old = [
        {k: v for k, v in row.items() if k not in ("mean_predicted_iou", "iou_error")}
        for row in json.loads(text)
    ]
    path.write_text(json.dumps(old))
    assert [row.mean_iou for row in read_clicks(run)] == [row.mean_iou for row in summary]
    path.write_text(text)


def test_the_first_point_may_be_answered_by_a_candidate(run, tmp_path):
    settings = override_settings(run.settings, ["evaluation.point_mask=chosen"])
    derived = run.derive(tmp_path / "chosen", settings)
    expected = {
        row.method: row.calibration.mean_true
        for row in evaluate(derived).trust
        if (row.protocol, row.mask) == ("object-point", "chosen")
    }
    found = {
        row.method: row.mean_iou
        for row in evaluate_clicks(derived, num_clicks=1)
        if (row.start, row.clicks) == ("object-point", 0)
    }
    assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("clicks", [-1, 51])
def test_a_senseless_number_of_clicks_is_refused(run, clicks):
    with pytest.raises(SettingsError, match="clicks must lie in 0 to 50"):
        evaluate_clicks(run, num_clicks=clicks)
