from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from mitosam import __version__
from mitosam.config import RunSettings, resolve_settings
from mitosam.data.intensity import Normalisation
from mitosam.data.phantom import Phantom, make_phantom
from mitosam.errors import InputError, OutputExistsError, SettingsError
from mitosam.io.write import write_stack_tiff
from mitosam.models.tuned import TunedInfo, save_tuned
from mitosam.workflows.evaluate import evaluate
from mitosam.workflows.models import load_base
from mitosam.workflows.report import report
from mitosam.workflows.runs import Run
from mitosam.workflows.transfer import transfer
from tests.models.tiny_models import make_transformers_sam
from tests.tiny_runs import VOXEL_SIZE_NM, Remembered, contents, write_phantom


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return write_phantom(tmp_path_factory.mktemp("other"), seed=8, shape_zyx=(3, 128, 128))


@pytest.mark.parametrize("given", ["run", "file"])
def test_a_tuned_model_is_scored_on_a_volume_it_was_not_trained_on(
    tmp_path, finished, other, given
):
    before = contents(finished.run.folder)
    model = finished.run.folder if given == "run" else finished.run.tuned_weights
    run = transfer(model, other.images, other.masks, tmp_path / "out", sections="2-3")
    evaluation = evaluate(run)
    assert {score.section for score in evaluation.scores} == {1, 2}
    assert {"base", "tuned"} <= {score.method for score in evaluation.scores}
    assert report(run, evaluation).exists()
    assert contents(finished.run.folder) == before


@pytest.mark.parametrize("in_file", [True, False])
def test_another_volume_is_scored_in_the_pixels_the_model_was_trained_on(
    tmp_path, finished, other, in_file
):
    z_nm, pixel_nm, _ = VOXEL_SIZE_NM
    half = (z_nm, pixel_nm / 2, pixel_nm / 2)
    paths = tmp_path / "images.tif", tmp_path / "masks.tif"
    for path, source in zip(paths, (other.images, other.masks), strict=True):
        stack = tifffile.imread(source).repeat(2, axis=1).repeat(2, axis=2)
        write_stack_tiff(path, stack, half if in_file else None)
    plain = transfer(finished.run.folder, other.images, other.masks, tmp_path / "plain")
    said = Remembered()
    given = None if in_file else half
    run = transfer(
        finished.run.folder, *paths, tmp_path / "out", voxel_size_nm=given, progress=said
    )
    assert any("scored on pixels of 10 nm" in one for one in said.said)
    (volume,), (expected,) = ([part.volume for part in one.parts()] for one in (run, plain))
    assert volume.voxel_size_nm == pytest.approx(VOXEL_SIZE_NM)
    assert np.array_equal(volume.images, expected.images)
    assert np.array_equal(volume.labels, expected.labels)


def test_only_a_tuned_model_is_transferred_and_only_the_evaluation_changes(
    tmp_path, finished, other, base_model
):
    with pytest.raises(SettingsError, match="is not a tuned model"):
        transfer(base_model, other.images, other.masks, tmp_path / "out")
    with pytest.raises(SettingsError, match=r"only settings of \[evaluation\]"):
        transfer(
            finished.run.folder,
            other.images,
            other.masks,
            tmp_path / "out",
            overrides=["seed=4"],
        )
    assert not (tmp_path / "out").exists()


def test_data_that_cannot_be_used_leaves_nothing_behind(tmp_path, finished, other):
    with pytest.raises(InputError, match="does not look like masks"):
        transfer(finished.run.folder, other.images, other.images, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom((3, 96, 96), seed=3)


@pytest.fixture
def volume(tmp_path: Path, phantom: Phantom) -> tuple[Path, Path]:
    images, masks = tmp_path / "images.tif", tmp_path / "masks.tif"
    write_stack_tiff(images, phantom.images, phantom.voxel_size_nm)
    write_stack_tiff(masks, phantom.labels.astype(np.uint16), phantom.voxel_size_nm)
    return images, masks


@pytest.fixture
def settings(tmp_path: Path) -> RunSettings:
    make_transformers_sam().save_pretrained(tmp_path / "base")
    model = {"name": str(tmp_path / "base"), "precision": "fp32", "device": "cpu"}
    return resolve_settings(values={"model": model, "data": {"patch_px": 32, "tile_px": 64}})


def save_untaught(
    path: Path, settings: RunSettings, normalisation: Normalisation | None = None
) -> Path:
    """A tuned model that has learnt nothing."""
    sam = load_base(settings).sam
    info = TunedInfo(
        base_name=settings.model.name,
        base_hash=sam.weights_hash,
        normalisation=(normalisation or Normalisation()).to_dict(),
        tile_px=settings.data.tile_side_px,
        trained_parts=("mask_decoder",),
        settings_toml=settings.to_toml(),
        scores={},
        created="2026-01-02T03:04:05+00:00",
        mitosam_version=__version__,
    )
    names = [name for name, _ in sam.named_parameters() if name.startswith("mask_decoder.")]
    save_tuned(path, sam, info, names)
    return path


def test_a_model_that_learnt_nothing_scores_elsewhere_as_its_base(tmp_path, volume, settings):
    weights = save_untaught(tmp_path / "tuned.safetensors", settings)
    run = transfer(weights, *volume, tmp_path / "elsewhere")
    evaluation = evaluate(run)
    assert {score.section for score in evaluation.scores} == {0, 1, 2}
    assert evaluation.differences
    assert all(row.iou.mean == 0 for row in evaluation.differences)


def test_the_run_stands_alone_and_can_be_a_source_itself(tmp_path, volume, settings):
    weights = save_untaught(tmp_path / "tuned.safetensors", settings)
    transfer(weights, *volume, tmp_path / "first", sections="2")
    weights.unlink()
    (part,) = Run.open(tmp_path / "first").parts()
    assert (part.split.test, part.split.train, part.split.unused) == ((1,), (), (0, 2))
    second = transfer(tmp_path / "first", *volume, tmp_path / "second")
    assert second.tuned_weights.is_file()
    assert second.settings == settings


def test_only_the_evaluation_can_be_overridden(tmp_path, volume, settings):
    weights = save_untaught(tmp_path / "tuned.safetensors", settings)
    with pytest.raises(SettingsError, match=r"only settings of \[evaluation\] can change"):
        transfer(weights, *volume, tmp_path / "out", overrides=["data.tile_px=96"])
    assert not (tmp_path / "out").exists()
    run = transfer(weights, *volume, tmp_path / "out", overrides=["evaluation.jitter_px=3"])
    assert run.settings.evaluation.jitter_px == 3
    with pytest.raises(OutputExistsError):
        transfer(weights, *volume, tmp_path / "out")


def test_a_base_model_is_refused(tmp_path, volume):
    with pytest.raises(SettingsError, match="vit_t is not a tuned model"):
        transfer("vit_t", *volume, tmp_path / "out")


def test_grey_values_are_normalised_as_in_training_or_measured_anew_with_a_warning(
    tmp_path, volume, phantom, settings, caplog
):
    images, masks = volume
    stretched = Normalisation(kind="percentile", low=1000.0, high=9000.0)
    weights = save_untaught(tmp_path / "tuned.safetensors", settings, stretched)

    wide = tmp_path / "wide.tif"
    write_stack_tiff(wide, phantom.images.astype(np.uint16) * 40, None)
    (part,) = transfer(weights, wide, masks, tmp_path / "wide").parts()
    assert part.volume.normalisation == stretched
    assert not caplog.records

    (part,) = transfer(weights, images, masks, tmp_path / "narrow").parts()
    assert part.volume.normalisation == Normalisation()
    assert "measured anew" in caplog.text
