"""The labels that each method is scored by, and that nothing is computed twice."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile

from mitosam.evaluation.automatic import score_automatic
from mitosam.workflows.automatic_report import automatic_content
from mitosam.workflows.automatic_results import read_automatic, read_confidence, write_scores
from mitosam.workflows.evaluate_automatic import evaluate_automatic
from tests.automatic_runs import Counted, copy_run, replace_labels, results, without_checksums
from tests.tiny_runs import VOXEL_SIZE_NM, KillAt, rows_of


def test_every_method_has_a_line_and_each_of_its_sections_too(scored):
    rows = rows_of(scored.folder / "automatic.csv")
    assert [row["method"] for row in rows] == ["head", "prompted", "U-Net"]
    assert {(row["first_section"], row["last_section"]) for row in rows} == {("8", "9")}
    sections = [
        (row["method"], row["section"]) for row in rows_of(scored.folder / "automatic_sections.csv")
    ]
    assert sections == [(m, z) for m in ("head", "prompted", "U-Net") for z in ("8", "9")]
    full = json.loads((scored.folder / "automatic.json").read_text())
    assert [one["method"] for one in full] == ["head", "prompted", "U-Net"]
    assert all((scored.folder / one["labels"]).is_file() for one in full)


def test_scores_are_of_the_saved_labels_and_the_masks_as_they_were_given(scored, volume):
    truth = tifffile.imread(volume.masks)[8:10]
    for score in read_automatic(scored):
        expected = score_automatic(tifffile.imread(score.labels), truth, VOXEL_SIZE_NM)
        assert score.scores.instances == expected.instances
        assert score.scores.foreground == expected.foreground
        assert score.scores.surfaces == expected.surfaces


def test_each_instance_has_a_confidence_and_the_page_says_what_it_is_worth(scored):
    judged = 0
    for score in read_automatic(scored):
        confidence = read_confidence(score.labels.parent)
        assert set(confidence) == set(np.unique(tifffile.imread(score.labels)).tolist()) - {0}
        assert all(0 <= sure <= 1 for sure in confidence.values())
        found = score.scores.confidence
        assert (found.count if found else 0) == len(confidence)
        judged += found is not None
    page = (scored.folder / "automatic.html").read_text("utf-8")
    assert ("Are the surer finds the better ones?" in page) == (judged > 0)


def test_labels_from_before_confidence_was_kept_are_scored_without(run):
    without_checksums(run)
    for path in run.automatic_folder("").glob("*/confidence.csv"):
        path.unlink()
    scores = read_automatic(run)
    assert {score.scores.confidence for score in scores} == {None}
    write_scores(run.folder, scores)
    assert rows_of(run.folder / "automatic.csv")[0]["mean_confidence"] == ""


def test_the_truth_in_the_place_of_the_labels_scores_1(run, volume):
    replace_labels(run, tifffile.imread(volume.masks)[8:10])
    scores = read_automatic(run)
    assert {score.scores.instances.panoptic_quality for score in scores} == {1.0}
    assert {score.scores.section_means.msa.mean for score in scores} == {1.0}
    content = automatic_content(run, scores)
    assert {row.count_error for row in content.methods} == {0}
    assert all("0 false, 0 missed" in picture.caption for picture in content.pictures)


def test_what_was_segmented_and_chosen_is_not_computed_again(run):
    before, progress = results(run), Counted()
    evaluate_automatic(run, progress=progress)
    assert results(run) == before
    assert set(progress.items) == {"scoring without prompts"}


def test_a_method_that_comes_later_leaves_the_others_alone(run):
    progress = Counted()
    scores = evaluate_automatic(run, methods=["grid"], rival="none", progress=progress)
    assert [score.method for score in scores] == ["head", "prompted", "grid", "U-Net"]
    segmented = {title for title in progress.items if title.startswith("segmenting")}
    assert segmented == {"segmenting (grid)"}


@pytest.mark.parametrize(
    "text", ["choosing thresholds (prompted)", "segmenting (head)", "segmenting (U-Net)"]
)
def test_an_evaluation_that_was_killed_goes_on_and_ends_the_same(tmp_path, trained, scored, text):
    run = copy_run(trained, tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        evaluate_automatic(run, progress=KillAt(text, item=1))
    evaluate_automatic(run)
    assert results(run) == results(scored)
