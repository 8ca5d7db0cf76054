"""Another run's model, scored with the thresholds and the rival of its source."""

from __future__ import annotations

import shutil

from mitosam.workflows.automatic_report import automatic_content
from mitosam.workflows.automatic_results import read_automatic
from mitosam.workflows.evaluate_automatic import evaluate_automatic
from mitosam.workflows.transfer import transfer
from tests.automatic_runs import Counted
from tests.tiny_runs import Remembered, contents, write_phantom


def test_a_derived_run_takes_thresholds_and_rival_from_its_source(tmp_path, scored):
    before = contents(scored.folder)
    derived = scored.derive(tmp_path / "derived", scored.settings)
    progress = Counted()
    scores = evaluate_automatic(derived, progress=progress)
    assert not any("choosing" in title or "training" in title for title in progress.items)
    assert [s.scores for s in scores] == [s.scores for s in read_automatic(scored)]
    assert contents(scored.folder) == before
    assert (derived.folder / "automatic.html").exists()


def test_a_derived_run_never_trains_a_rival_into_its_source(tmp_path, trained):
    before = contents(trained.folder)
    derived = trained.derive(tmp_path / "derived", trained.settings)
    progress = Remembered()
    scores = evaluate_automatic(derived, methods=["head"], progress=progress)
    assert [score.method for score in scores] == ["head"]
    assert any("no U-Net stands beside the model" in text for text in progress.said)
    messages = automatic_content(derived, scores).messages
    assert any("No validation sections chose the thresholds of Inst" in text for text in messages)
    assert contents(trained.folder) == before


def test_another_volume_is_scored_with_the_thresholds_and_the_rival_of_the_source(tmp_path, scored):
    other = write_phantom(tmp_path / "other", seed=8, shape_zyx=(3, 96, 96))
    run = transfer(scored.folder, other.images, other.masks, tmp_path / "out", sections="2-3")
    progress = Counted()
    scores = evaluate_automatic(run, progress=progress)
    assert not any("choosing" in title or "training" in title for title in progress.items)
    assert [score.method for score in scores] == ["head", "prompted", "U-Net"]
    assert {score.sections for score in scores} == {range(1, 3)}
    assert [s.record.instances for s in scores] == [
        s.record.instances for s in read_automatic(scored)
    ]
    html = (run.folder / "automatic.html").read_text()
    assert "on validation sections of the volume that the model was trained on" in html


def test_a_model_file_by_itself_has_no_rival_and_that_is_said(tmp_path, scored, volume):
    alone = tmp_path / "alone.safetensors"
    shutil.copyfile(scored.tuned_weights, alone)
    run = transfer(alone, volume.images, volume.masks, tmp_path / "out", sections="9-10")
    scores = evaluate_automatic(run)
    assert [score.method for score in scores] == ["head", "prompted"]
    assert [s.scores for s in scores] == [s.scores for s in read_automatic(scored)[:2]]
    assert "No U-Net stands beside these methods" in (run.folder / "automatic.html").read_text()
