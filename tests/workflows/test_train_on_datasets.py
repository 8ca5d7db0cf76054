"""Whole runs on the volumes of a manifest."""

from __future__ import annotations

import csv

import pytest

from mitosam.evaluation.volumes import MEAN_OF_VOLUMES
from mitosam.workflows.datasets import describe_dataset
from mitosam.workflows.evaluate import evaluate
from mitosam.workflows.finetune import finetune
from mitosam.workflows.plan import plan
from mitosam.workflows.prepare import Sources
from mitosam.workflows.report import report
from mitosam.workflows.transfer import transfer_dataset
from tests.tiny_datasets import write_dataset
from tests.tiny_runs import contents, short_settings

HEAD = (
    *("head.enabled=true", "head.steps=6", "head.crop_px=64", "head.batch_crops=2"),
    *("head.width=4", "head.rival=none", "head.validations=1"),
)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("set"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory, manifest, base_model):
    out = tmp_path_factory.mktemp("together") / "run"
    return finetune(Sources.of_manifest(manifest), out, short_settings(base_model, *HEAD))


def test_volumes_of_different_size_dtype_and_pixel_size_train_together(trained):
    assert trained.run.tuned_weights.exists()
    assert {score.volume for score in trained.evaluation.scores} == {"fine", "coarse"}
    assert {score.method for score in trained.evaluation.scores} >= {"base", "tuned"}


def test_the_scores_of_each_volume_stand_beside_the_mean_of_volumes(trained):
    rows = [
        row
        for row in trained.evaluation.volumes
        if (row.protocol, row.method) == ("object-box", "tuned")
    ]
    assert [row.volume for row in rows] == ["fine", "coarse", MEAN_OF_VOLUMES]
    fine, coarse, mean = rows
    assert mean.iou == pytest.approx((fine.iou + coarse.iou) / 2)


def test_the_report_has_a_line_for_each_volume(trained):
    page = trained.report.read_text()
    assert "Volume by volume" in page
    assert "Mean of 2 volumes" in page
    with (trained.run.folder / "volumes.csv").open(newline="") as file:
        assert {row["volume"] for row in csv.DictReader(file)} == {"fine", "coarse", ""}


def test_each_volume_is_searched_without_prompts_too(trained):
    assert {(score.method, score.volume) for score in trained.automatic} == {
        (method, volume) for method in ("head", "prompted") for volume in ("fine", "coarse")
    }


def test_scoring_again_gives_the_same_and_computes_nothing(trained):
    before = contents(trained.run.evaluation_folder)
    again = evaluate(trained.run)
    assert again.volumes == trained.evaluation.volumes
    assert contents(trained.run.evaluation_folder) == before
    report(trained.run, again)


def test_the_model_is_scored_on_another_manifests_test_sections(trained, manifest, tmp_path):
    run = transfer_dataset(trained.run.folder, manifest, tmp_path / "elsewhere")
    assert [part.volume.name for part in run.parts()] == ["fine", "coarse"]
    assert all(not part.split.train and part.split.test for part in run.parts())
    assert run.provenance()["data set"] == describe_dataset(Sources.of_manifest(manifest).manifest)
    found = evaluate(run)
    assert {row.volume for row in found.volumes} == {"fine", "coarse", MEAN_OF_VOLUMES}


def test_a_plan_counts_the_sections_of_all_volumes(manifest, base_model):
    settings = short_settings(base_model)
    together = plan(Sources.of_manifest(manifest), settings, with_presets=False)
    folder = manifest.parent / "fine"
    files = Sources(images=folder / "images.tif", masks=folder / "masks.tif")
    alone = plan(files, settings, with_presets=False)
    assert together.run_bytes > alone.run_bytes
    assert [stage.name for stage in together.stages] == [stage.name for stage in alone.stages]
