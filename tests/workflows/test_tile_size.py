from __future__ import annotations

import tomllib

import numpy as np
import pytest

from mitosam.errors import InputError, SettingsError
from mitosam.workflows.finetune import finetune
from mitosam.workflows.plan import plan
from mitosam.workflows.prepare import prepare
from mitosam.workflows.runs import Run
from mitosam.workflows.tuned_model import load_tuned_model
from tests.tiny_runs import KillAt, Remembered, short_settings, write_stacks

AUTO = 'data.tile_px="auto"'


@pytest.fixture(scope="module")
def squares(tmp_path_factory):
    """Four sections of squares of 16 px, which a model of 128 px sees best in tiles of 20 px."""
    labels = np.zeros((4, 192, 192), np.uint16)
    for number, (y, x) in enumerate(np.ndindex(4, 4), 1):
        labels[:, 40 * y + 8 : 40 * y + 24, 40 * x + 8 : 40 * x + 24] = number
    images = np.where(labels > 0, 90, 180).astype(np.uint8)
    images += np.random.default_rng(0).integers(0, 20, labels.shape).astype(np.uint8)
    return write_stacks(tmp_path_factory.mktemp("squares"), images, labels)


def test_a_prepared_run_holds_a_number_and_says_what_it_follows_from(tmp_path, squares, base_model):
    progress = Remembered()
    settings = short_settings(base_model, AUTO)
    run = prepare(squares, tmp_path / "run", settings, progress=progress)
    assert run.settings.data.tile_px == 64
    assert Run.open(tmp_path / "run") == run
    fact = run.provenance()["tile size"]
    assert fact["objects_measured"] == 2 * 16  # of two sections to train on
    assert fact["median_object_px"] == pytest.approx(2 * 16 / np.pi**0.5, abs=0.05)
    assert (fact["asked"], fact["tile_px"]) == ("auto", 64)
    assert any(text.startswith("tiles of 64 px: the median of 32 ") for text in progress.said)


def test_the_models_input_decides_with(tmp_path, squares, base_model):
    settings = short_settings(base_model, AUTO)
    run = prepare(squares, tmp_path / "run", settings, input_px=1024)
    assert run.settings.data.tile_px == 192  # the section


def test_a_number_is_left_as_it_is(tmp_path, squares, base_model):
    run = prepare(squares, tmp_path / "run", short_settings(base_model, "data.tile_px=96"))
    assert run.settings.data.tile_px == 96
    assert "tile size" not in run.provenance()


def test_auto_and_the_number_it_comes_to_give_the_same_model_to_the_bit(
    tmp_path, squares, base_model
):
    for name, tile in (("auto", AUTO), ("number", "data.tile_px=64")):
        finetune(squares, tmp_path / name, short_settings(base_model, tile))
    for table in ("base.csv", "tuned.csv"):
        scores = [tmp_path / name / "evaluation" / table for name in ("auto", "number")]
        assert scores[0].read_bytes() == scores[1].read_bytes()
    usable = load_tuned_model(tmp_path / "auto")
    assert usable.tile_px == 64
    assert usable.info is not None
    assert tomllib.loads(usable.info.settings_toml)["data"]["tile_px"] == 64
    assert "median object model px" in (tmp_path / "auto" / "report.html").read_text("utf-8")


def test_a_run_is_gone_on_with_under_auto_and_under_its_number_alone(tmp_path, squares, base_model):
    settings = short_settings(base_model, AUTO)
    run = prepare(squares, tmp_path / "run", settings)
    assert Run.resume(run.folder, settings) == run
    assert Run.resume(run.folder, short_settings(base_model, "data.tile_px=64")) == run
    with pytest.raises(SettingsError, match=r"data\.tile_px: 64 -> 96"):
        Run.resume(run.folder, short_settings(base_model, "data.tile_px=96"))
    other = prepare(squares, tmp_path / "other", short_settings(base_model, "data.tile_px=64"))
    with pytest.raises(SettingsError, match=r"data\.tile_px: 64 -> auto"):
        Run.resume(other.folder, settings)


def test_a_run_that_was_killed_while_measuring_is_gone_on_with(tmp_path, squares, base_model):
    settings, out = short_settings(base_model, AUTO), tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        finetune(squares, out, settings, progress=KillAt("measuring mitochondria", 1))
    assert Run.open(out).settings.data.tile_px == "auto"
    assert finetune(squares, out, settings, resume=True).run.settings.data.tile_px == 64


def test_a_plan_says_the_tile(squares, base_model):
    assert plan(squares, short_settings(base_model, AUTO)).tile.startswith("tiles of 64 px")
    assert plan(squares, short_settings(base_model)).tile == ""


def test_training_sections_without_mitochondria_are_an_error(tmp_path, base_model):
    labels = np.zeros((4, 64, 64), np.uint16)
    labels[3, 10:40, 10:40] = 1
    images = np.random.default_rng(0).integers(0, 255, labels.shape).astype(np.uint8)
    sources = write_stacks(tmp_path / "data", images, labels)
    with pytest.raises(InputError, match="to a number"):
        prepare(sources, tmp_path / "run", short_settings(base_model, AUTO))
