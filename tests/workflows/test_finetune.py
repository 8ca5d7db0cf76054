from __future__ import annotations

import csv
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file

from mitosam.errors import InputError, ModelNotFoundError, OutputExistsError, SettingsError
from mitosam.io.open import open_volume
from mitosam.models.load import load_model
from mitosam.workflows.finetune import finetune
from mitosam.workflows.prepare import Sources
from mitosam.workflows.runs import Run
from tests.tiny_runs import KillAt, Remembered, contents, short_settings, write_phantom

# Most of a short run is spent on drawing its report, of which this leaves a third.
ONE_TABLE = 'evaluation.protocols=["patch-box"]'
TWO_TO_TEST = ("split.kind=given", 'split.train="1"', 'split.validation="2"', 'split.test="3-4"')
LATE = "training.parts=late"  # so that features of training tiles are kept


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, base_model, sources):
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    return finetune(sources, out, short_settings(base_model, ONE_TABLE, LATE, *TWO_TO_TEST)).run


def scores_of(folder):
    return {name: (folder / name).read_bytes() for name in ("scores.csv", "summary.csv")}


def test_a_run_holds_everything_it_promises(finished):
    folder = finished.run.folder
    assert finished.report == folder / "report.html"
    assert set(contents(folder)) == {
        "settings.toml",
        "run.json",
        "prepared/parts.json",
        "prepared/volume/images.npy",
        "prepared/volume/labels.npy",
        "prepared/volume/prepared.json",
        "model.safetensors",
        "training.csv",
        *(f"evaluation/{m}{end}" for m in ("base", "tuned") for end in END_OF_EVALUATION),
        "evaluation/iou_calibration.csv",
        "evaluation/iou_calibration.json",
        "report.html",
        "scores.csv",
        "scores.json",
        "summary.csv",
    }


END_OF_EVALUATION = (".csv", ".json", "_masks.npy")


def test_the_report_needs_no_other_file_and_no_network(finished):
    text = finished.report.read_text("utf-8")
    referred = re.findall(r"""(?:src|href)\s*=\s*["']([^"']*)["']|url\(([^)]*)\)""", text)
    targets = [a or b for a, b in referred]
    assert all(target.strip("'\"").startswith(("#", "data:")) for target in targets)
    assert "<script" not in text
    assert "@import" not in text
    assert text.count("<svg") >= 1


def test_the_scores_are_tables_of_base_tuned_and_rivals_on_the_same_subjects(finished):
    with (finished.run.folder / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    subject = ("protocol", "volume", "section", "y", "x", "object_id")
    asked = {}
    for row in rows:
        asked.setdefault(row["method"], set()).add(tuple(row[name] for name in subject))
    assert asked["base"] == asked["tuned"]
    assert asked["filled box"] == asked["inscribed ellipse"] < asked["base"]
    assert {row["protocol"] for row in rows} == {"patch-box", "object-box", "object-point"}
    assert all(0 <= float(row["dice"]) <= 1 for row in rows)
    assert len(json.loads((finished.run.folder / "scores.json").read_text())) > 0


def test_the_run_says_how_it_came_about(finished, sources, base_model):
    facts = json.loads((finished.run.folder / "run.json").read_text())
    volume = facts["volume volume"]
    assert volume["images_sha256"] == open_volume(sources.images).sha256()
    assert volume["masks_sha256"] == open_volume(sources.masks).sha256()
    assert facts["base_model_hash"] == load_model(base_model).weights_hash
    assert facts["packages"].keys() >= {"mitosam", "torch", "numpy"}
    assert facts["images"] == str(sources.images)
    assert Run.open(finished.run.folder).settings == short_settings(base_model)
    assert "seed = 0" in (finished.run.folder / "settings.toml").read_text()


STAGES = {
    "while images are written": KillAt("reading images", item=2),
    "while labels are written": KillAt("labelling masks", item=2),
    "after preparing": KillAt("volume: "),
    "while the base model is scored": KillAt("scoring the base model", item=1),
    "while training tiles are encoded": KillAt("encoding", item=3),
    "in training": KillAt("training", item=6),
    "while the tuned model is scored": KillAt("scoring the tuned model", item=1),
    "before the report": KillAt("drawing the report"),
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_killed_anywhere_resumes_to_the_same_scores(
    stage, tmp_path, undisturbed, sources, base_model
):
    cache = f"cache.folder={str(tmp_path / 'cache')!r}"
    settings = short_settings(base_model, ONE_TABLE, LATE, *TWO_TO_TEST, cache)
    with pytest.raises(KeyboardInterrupt):
        finetune(sources, tmp_path / "run", settings, progress=STAGES[stage])
    result = finetune(sources, tmp_path / "run", settings, resume=True)
    assert scores_of(tmp_path / "run") == scores_of(undisturbed.folder)
    trained, expected = (load_file(run.tuned_weights) for run in (result.run, undisturbed))
    assert trained.keys() == expected.keys()
    assert all(np.array_equal(trained[name], expected[name]) for name in trained)
    facts = result.run.provenance()
    assert facts["base_model_hash"]
    assert facts["volume volume"]
    assert contents(tmp_path / "run").keys() == contents(undisturbed.folder).keys()


def test_resuming_a_finished_run_repeats_nothing(tmp_path, undisturbed, sources, base_model):
    shutil.copytree(undisturbed.folder, tmp_path / "run")
    progress, settings = Remembered(), short_settings(base_model, ONE_TABLE, LATE, *TWO_TO_TEST)
    finetune(sources, tmp_path / "run", settings, resume=True, progress=progress)
    assert progress.loops == []
    assert scores_of(tmp_path / "run") == scores_of(undisturbed.folder)


def test_changed_settings_are_named_and_nothing_is_touched(finished, sources, base_model):
    before = contents(finished.run.folder)
    changed = short_settings(base_model, "training.epochs=2", "seed=5")
    with pytest.raises(SettingsError, match=r"seed: 0 -> 5; training\.epochs: 1 -> 2"):
        finetune(sources, finished.run.folder, changed, resume=True)
    assert contents(finished.run.folder) == before


@pytest.mark.parametrize("changed", ["images", "masks", "test_images", "voxel_size_nm"])
def test_other_data_is_not_resumed_with(changed, tmp_path, finished, sources, base_model):
    other = write_phantom(tmp_path / "other", seed=8)
    changes = {
        "images": {"images": other.images},
        "masks": {"masks": other.masks},
        "test_images": {"test_images": other.images, "test_masks": other.masks},
        "voxel_size_nm": {"voxel_size_nm": (7.0, 7.0, 7.0)},
    }
    before = contents(finished.run.folder)
    wrong = replace(sources, **changes[changed])
    with pytest.raises(SettingsError, match=r"was made (from other data|without test|with voxel)"):
        finetune(wrong, finished.run.folder, short_settings(base_model), resume=True)
    assert contents(finished.run.folder) == before


def test_an_existing_run_is_refused_and_untouched(finished, sources, base_model):
    before = contents(finished.run.folder)
    with pytest.raises(OutputExistsError, match="holds a run already; pass --resume"):
        finetune(sources, finished.run.folder, short_settings(base_model))
    assert contents(finished.run.folder) == before


def test_an_existing_folder_is_refused_and_untouched(tmp_path, sources, base_model):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputExistsError, match="exists already; choose another --out"):
        finetune(sources, tmp_path, short_settings(base_model))
    assert contents(tmp_path) == {"thesis.txt": b"years of work"}


def test_a_model_that_is_not_there_is_found_out_before_anything_is_written(tmp_path, sources):
    with pytest.raises(ModelNotFoundError):
        finetune(sources, tmp_path / "run", short_settings(tmp_path / "none"))
    assert not (tmp_path / "run").exists()


def test_data_that_cannot_be_used_leaves_no_run_behind(tmp_path, sources, base_model):
    swapped = Sources(images=sources.images, masks=sources.images)
    for out in (tmp_path / "new", tmp_path / "empty"):
        with pytest.raises(InputError, match="does not look like masks"):
            finetune(swapped, out, short_settings(base_model))
    assert not (tmp_path / "new").exists()


def test_an_empty_folder_that_was_there_stays_when_the_data_cannot_be_used(
    tmp_path, sources, base_model
):
    swapped = Sources(images=sources.images, masks=sources.images)
    with pytest.raises(InputError):
        finetune(swapped, tmp_path, short_settings(base_model))
    assert contents(tmp_path) == {}


def test_a_budget_ends_the_job_early_and_still_reports(tmp_path, sources, base_model):
    endless = short_settings(
        base_model, ONE_TABLE, "training.min_steps=100000", "training.validations=50"
    )
    result = finetune(sources, tmp_path / "run", endless, budget_s=4.0)
    facts = result.run.provenance()
    assert facts["stopped_by_budget"] is True
    assert 0 <= facts["best_step"] <= facts["steps"] < 100_000
    assert result.report.exists()


def test_one_section_is_trained_on_its_left_and_reported_on_its_right(tmp_path, base_model):
    sources = write_phantom(tmp_path / "data", shape_zyx=(1, 192, 320))
    result = finetune(sources, tmp_path / "run", short_settings(base_model, ONE_TABLE))
    left, right = result.run.parts()
    assert (left.split.train, left.split.test) == ((0,), ())
    assert (right.split.train, right.split.test) == ((), (0,))
    assert left.volume.info.columns[1] < right.volume.info.columns[0]
    assert {score.volume for score in result.evaluation.scores} == {"images right"}


def test_another_volume_can_be_reported_on(tmp_path, sources, base_model):
    other = write_phantom(tmp_path / "other", seed=8, shape_zyx=(2, 128, 192))
    both = replace(sources, test_images=other.images, test_masks=other.masks)
    settings = short_settings(base_model, ONE_TABLE)
    result = finetune(both, tmp_path / "run", settings)
    train, test = result.run.parts()
    assert (train.volume.shape_zyx, train.split.test) == ((4, 192, 192), ())
    assert (test.volume.shape_zyx, test.split.test) == ((2, 128, 192), (0, 1))
    assert {(s.section, s.y < 128) for s in result.evaluation.scores} == {(0, True), (1, True)}
    resumed = finetune(both, tmp_path / "run", settings, resume=True)
    assert resumed.evaluation.scores == result.evaluation.scores


def test_a_random_split_is_called_leaky_in_the_report(tmp_path, sources, base_model):
    settings = short_settings(base_model, ONE_TABLE, "split.kind=random")
    result = finetune(sources, tmp_path / "run", settings)
    assert "LEAKY SPLIT" in result.report.read_text("utf-8")
