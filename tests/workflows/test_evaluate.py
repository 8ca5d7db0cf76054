from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from mitosam.config import override_settings
from mitosam.errors import (
    InputError,
    InputNotFoundError,
    ModelError,
    OutputExistsError,
    SettingsError,
)
from mitosam.evaluation.metrics import dice
from mitosam.io.tables import write_table
from mitosam.workflows.evaluate import (
    ask,
    evaluate,
    evaluate_base,
    read_evaluation,
    read_masks,
)
from mitosam.workflows.models import load_base
from mitosam.workflows.prepare import prepare
from mitosam.workflows.report import report
from mitosam.workflows.runs import Run
from mitosam.workflows.score_files import read_scores
from mitosam.workflows.train import train
from tests.tiny_runs import Remembered, contents, short_settings, write_phantom, write_stacks


@pytest.fixture
def run(tmp_path, finished):
    shutil.copytree(finished.run.folder, tmp_path / "run")
    return Run.open(tmp_path / "run")


def test_what_was_scored_is_read_back(run, finished):
    progress = Remembered()
    assert evaluate(run, progress=progress).scores == finished.evaluation.scores
    assert progress.loops == []
    assert read_evaluation(run).scores == finished.evaluation.scores


@pytest.mark.parametrize("damage", ["missing", "cut short", "of other weights"])
def test_scores_that_cannot_be_trusted_are_made_again(run, finished, damage):
    path = run.evaluation_folder / "tuned.json"
    text = path.read_text()
    if damage == "missing":
        path.unlink()
    else:
        path.write_text(
            text[:20] if damage == "cut short" else text.replace('weights": "', 'weights": "0')
        )
    (run.evaluation_folder / "tuned.csv").write_text("half a tab")
    assert evaluate(run).scores == finished.evaluation.scores
    assert json.loads(path.read_text())["weights"] == json.loads(text)["weights"]


def test_the_saved_masks_have_the_saved_scores(run):
    asked = [q for one in ask(run) for q in one.questions]
    truths = [q.truth for q in asked if q.subject.protocol == "patch-box"]
    for method in ("base", "tuned"):
        scores = read_scores(run.evaluation_folder / f"{method}.csv")
        expected = [score.dice for score in scores if score.protocol == "patch-box"]
        masks = read_masks(run, method)
        assert dice(masks, np.stack(truths)).tolist() == pytest.approx(expected)


def test_questions_are_the_same_at_every_call(run):
    first, second = (
        [(q.subject, q.box_xyxy.tolist()) for one in ask(run) for q in one.questions]
        for _ in range(2)
    )
    assert first == second


def test_another_evaluation_has_a_folder_of_its_own_and_leaves_the_run_alone(tmp_path, run):
    before = contents(run.folder)
    settings = override_settings(run.settings, ["evaluation.objects=patch"])
    derived = run.derive(tmp_path / "by-patch", settings)
    evaluation = evaluate(derived)
    report(derived, evaluation)
    assert {score.method for score in evaluation.scores} >= {"base", "tuned"}
    assert Run.open(tmp_path / "by-patch") == derived
    assert contents(run.folder) == before
    text = (tmp_path / "by-patch" / "report.html").read_text("utf-8")
    assert "pieces of mitochondria within each patch" in text
    assert patch_scores(evaluation) == patch_scores(read_evaluation(run))
    with pytest.raises(SettingsError, match="only scores the model of"):
        train(derived)


def patch_scores(evaluation):
    """Without the predicted IoU, whose last digits depend on what is decoded at once."""
    found = (s for s in evaluation.scores if s.protocol == "patch-box")
    return [(s.subject, s.method, s.predicted_px, s.intersection_px) for s in found]


def test_the_report_of_another_evaluation_shows_the_training_curve(tmp_path, run):
    derived = run.derive(tmp_path / "again", run.settings)
    assert derived.training_curve == run.training_curve.resolve()


def test_only_the_evaluation_can_change_after_training(tmp_path, run):
    settings = override_settings(run.settings, ["training.epochs=9"])
    with pytest.raises(SettingsError, match=r"only settings of \[evaluation\].*training\.epochs"):
        run.derive(tmp_path / "other", settings)
    with pytest.raises(OutputExistsError):
        run.derive(run.folder, run.settings)


def test_a_trained_model_is_not_taken_for_the_base(run):
    model = load_base(run.settings)
    evaluate(run, model)
    before = contents(run.folder)
    with pytest.raises(ModelError, match="so it is no base model; load it again"):
        evaluate_base(run, model)
    assert contents(run.folder) == before


def test_an_untrained_run_has_scores_of_the_base_model_alone(tmp_path, sources, base_model):
    run = prepare(sources, tmp_path / "run", short_settings(base_model))
    with pytest.raises(InputNotFoundError, match="has no scores; run `mitosam evaluate"):
        read_evaluation(run)
    evaluation = evaluate(run)
    assert {s.method for s in evaluation.scores} == {"base", "filled box", "inscribed ellipse"}
    assert evaluation.differences == []
    assert report(run).exists()


def test_predicted_iou_stands_beside_the_true_one(run, finished):
    with (run.evaluation_folder / "iou_calibration.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    trust = finished.evaluation.trust
    assert [(r["protocol"], r["method"], r["mask"]) for r in rows] == [
        (protocol, method, mask)
        for protocol in ("patch-box", "object-box", "object-point")
        for method in ("base", "tuned")
        for mask in ("single", "chosen")
    ]
    assert [row.is_scored for row in trust] == [True, False] * 6
    found = json.loads((run.evaluation_folder / "iou_calibration.json").read_text())
    for row, read, written in zip(trust, rows, found, strict=True):
        assert float(read["mean_iou"]) == row.calibration.mean_true
        assert written["calibration"]["bias"] == row.calibration.bias
        assert len(written["calibration"]["bins"]) == len(row.calibration.bins)
    means = {(r.protocol, r.method): r.iou.mean for r in finished.evaluation.summary[::-1]}
    for row in trust[::2]:
        assert row.calibration.mean_true == pytest.approx(means[row.protocol, row.method])


def test_a_point_may_be_answered_by_the_candidate_that_is_scored_highest(tmp_path, run, finished):
    settings = override_settings(run.settings, ["evaluation.point_mask=chosen"])
    evaluation = evaluate(run.derive(tmp_path / "chosen", settings))
    single = {(s.subject, s.method): s for s in finished.evaluation.scores}
    for score in evaluation.scores:
        before = single[score.subject, score.method]
        if score.protocol != "object-point":
            assert replace(score, answers=()) == replace(before, answers=())
            continue
        best = max(before.answers[1:], key=lambda one: one.predicted_iou)
        assert (score.predicted_px, score.intersection_px, score.predicted_iou) == (
            pytest.approx((best.predicted_px, best.intersection_px, best.predicted_iou), rel=1e-4)
        )
    points = [row for row in evaluation.trust if row.protocol == "object-point"]
    assert [row.is_scored for row in points] == [False, True] * 2


@pytest.mark.parametrize("name", ["base.csv", "base.json", "tuned_masks.npy"])
def test_damaged_scores_are_refused_by_the_report_and_made_again(run, finished, name, caplog):
    path = run.evaluation_folder / name
    content = path.read_bytes()
    place = content.rindex(b"1")
    path.write_bytes(content[:place] + b"3" + content[place + 1 :])
    with pytest.raises(InputError, match=rf"{name} is damaged"):
        read_evaluation(run)
    assert evaluate(run).scores == finished.evaluation.scores
    assert "scoring again" in caplog.text
    assert read_evaluation(run).scores == finished.evaluation.scores
    if path.suffix != ".json":
        assert path.read_bytes() == content


def test_a_run_scored_before_candidates_were_kept_is_still_read_and_reported(run, finished):
    for method in ("base", "tuned"):
        path = run.evaluation_folder / f"{method}.csv"
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        write_table(
            path,
            [
                {k: v for k, v in row.items() if not k.startswith(("single", "candidate"))}
                for row in rows
            ],
        )
        identity = json.loads(path.with_suffix(".json").read_text())
        old = {key: value for key, value in identity.items() if key not in ("files", "checksum")}
        path.with_suffix(".json").write_text(json.dumps(old))
    for path in run.evaluation_folder.glob("iou_calibration.*"):
        path.unlink()
    old = read_evaluation(run)
    assert [replace(s, answers=()) for s in finished.evaluation.scores] == old.scores
    assert old.trust == [row for row in finished.evaluation.trust if row.mask == "single"]
    assert "Can its own scores be trusted?" in report(run).read_text("utf-8")


def test_empty_patches_are_scored_when_they_are_kept(tmp_path, base_model):
    labels = np.zeros((4, 128, 128), np.uint16)
    labels[:, 10:40, 10:40] = 1
    images = np.random.default_rng(0).integers(0, 255, labels.shape).astype(np.uint8)
    sources = write_stacks(tmp_path / "data", images, labels)
    settings = short_settings(base_model, "evaluation.keep_empty_patches=true")
    run = prepare(sources, tmp_path / "run", settings)
    patches = [s for s in evaluate(run).scores if s.protocol == "patch-box"]
    base = [s for s in patches if s.method == "base"]
    assert [s.truth_px for s in base] == [900, 0, 0, 0]
    for score in base[1:]:
        assert score.dice == score.iou == (1.0 if score.predicted_px == 0 else 0.0)
    text = report(run).read_text("utf-8")
    assert "of the scored patches, empty" in text


def test_fewer_sections_can_be_scored(tmp_path, base_model):
    sources = write_phantom(tmp_path / "data", shape_zyx=(6, 96, 96))
    settings = short_settings(
        base_model,
        "evaluation.max_sections=2",
        "split.kind=given",
        'split.train="1-2"',
        'split.test="3-6"',
    )
    run = prepare(sources, tmp_path / "run", settings)
    assert {score.section for score in evaluate(run).scores} <= {2, 5}
    assert "Only 2 sections were scored." in report(run).read_text("utf-8")


def test_test_sections_without_mitochondria_are_an_error_with_a_way_out(tmp_path, base_model):
    labels = np.zeros((4, 96, 96), np.uint16)
    labels[:2, 10:40, 10:40] = 1
    images = np.random.default_rng(0).integers(0, 255, labels.shape).astype(np.uint8)
    sources = write_stacks(tmp_path / "data", images, labels)
    run = prepare(sources, tmp_path / "run", short_settings(base_model))
    with pytest.raises(InputError, match="no mitochondria in the sections to report on"):
        evaluate(run)
