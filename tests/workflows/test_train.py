from __future__ import annotations

import numpy as np
import pytest

from mitosam.config import resolve_settings
from mitosam.errors import (
    DamagedFileError,
    InputError,
    InputNotFoundError,
    OutputExistsError,
    SettingsError,
)
from mitosam.training.curve import CurvePoint
from mitosam.workflows.curves import whole_curve, write_curve
from mitosam.workflows.decoder import training_tiles
from mitosam.workflows.prepare import prepare
from mitosam.workflows.runs import Run
from mitosam.workflows.train import train
from tests.tiny_runs import KillAt, contents, short_settings, write_phantom, write_stacks


def test_a_trained_run_is_not_trained_again(finished):
    before = contents(finished.run.folder)
    with pytest.raises(OutputExistsError, match="remove it to train this run anew"):
        train(finished.run)
    assert contents(finished.run.folder) == before


def test_a_run_that_is_not_prepared_says_so(tmp_path, base_model):
    run = Run.create(tmp_path / "run", short_settings(base_model))
    with pytest.raises(InputNotFoundError, match=r"is not prepared .* finetune --resume"):
        train(run)


def test_a_checkpoint_under_other_settings_is_refused(tmp_path, sources, base_model):
    run = prepare(sources, tmp_path / "run", short_settings(base_model))
    with pytest.raises(KeyboardInterrupt):
        train(run, progress=KillAt("training", item=6))
    settings = short_settings(base_model, "training.learning_rate=0.5")
    (run.folder / "settings.toml").write_text(settings.to_toml())
    with pytest.raises(SettingsError, match="written under other settings or data"):
        train(Run.open(run.folder))


def test_sections_without_mitochondria_cannot_be_trained_on(tmp_path, base_model):
    labels = np.zeros((4, 96, 96), np.uint16)
    labels[3, 10:40, 10:40] = 1
    images = np.random.default_rng(0).integers(0, 255, labels.shape).astype(np.uint8)
    sources = write_stacks(tmp_path / "data", images, labels)
    run = prepare(sources, tmp_path / "run", short_settings(base_model))
    with pytest.raises(InputError, match="no mitochondria in the sections to train on"):
        train(run)
    assert not run.tuned_weights.exists()


def test_views_come_from_training_sections_alone_and_follow_from_the_seed(tmp_path, base_model):
    sources = write_phantom(tmp_path / "data", shape_zyx=(6, 128, 128))
    run = prepare(sources, tmp_path / "run", short_settings(base_model, "training.min_views=20"))
    (part,) = run.parts()
    views, validation = training_tiles(run)
    assert {tile.section for tile in views} == set(part.split.train)
    assert {tile.section for tile in validation} == set(part.split.validation)
    assert len({(tile.window, tile.view) for tile in views}) == len(views) <= 20
    again, _ = training_tiles(run)
    assert [(t.section, t.window, t.view) for t in again] == [
        (t.section, t.window, t.view) for t in views
    ]
    assert all(tile.pixels().shape == (96, 96) for tile in views)


def test_without_augmentation_the_tiles_cover_the_training_sections(tmp_path, base_model):
    sources = write_phantom(tmp_path / "data", shape_zyx=(6, 128, 128))
    settings = short_settings(base_model, "training.augment=false")
    run = prepare(sources, tmp_path / "run", settings)
    tiles, _ = training_tiles(run)
    covered = np.zeros((6, 128, 128), bool)
    for tile in tiles:
        w = tile.window
        covered[tile.section, w.y : w.y + w.height, w.x : w.x + w.width] = True
    (part,) = run.parts()
    for z in part.split.train:
        assert covered[z][part.volume.labels[z] > 0].all()


@pytest.mark.parametrize("name", ["training_curve", "head_training_curve"])
def test_a_curve_that_changed_since_is_refused_and_one_that_is_gone_is_not(tmp_path, name):
    run = Run(folder=tmp_path, settings=resolve_settings())
    path = getattr(run, name)
    assert whole_curve(run, path) == []
    write_curve(run, path, POINTS)
    assert whole_curve(run, path) == POINTS
    path.write_bytes(bytes(9))
    with pytest.raises(DamagedFileError, match=rf"{path.name} is damaged .*; remove it to go on"):
        whole_curve(run, path)
    path.unlink()
    assert whole_curve(run, path) == []


POINTS = [
    CurvePoint(
        step=8, epoch=1, seconds=2, loss=0.5, learning_rate=1e-4, validation_dice=0.6,
        validation_iou=0.5,
    )
]  # fmt: skip
