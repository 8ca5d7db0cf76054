from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitosam.config import (
    PRESETS,
    RunSettings,
    changed_settings,
    override_settings,
    read_settings,
    resolve_settings,
    validate_settings,
)
from mitosam.errors import InputNotFoundError, SettingsError


@pytest.mark.parametrize("preset", PRESETS)
def test_settings_survive_being_written_and_read(preset, tmp_path):
    settings = resolve_settings(preset=preset, values={"cache": {"folder": tmp_path}})
    path = tmp_path / "settings.toml"
    path.write_text(settings.to_toml(), encoding="utf-8")
    assert read_settings(path) == settings


@given(
    rate=st.floats(1e-9, 1, exclude_min=True),
    epochs=st.integers(1, 10**6),
    name=st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
)
def test_any_settings_survive_being_written_and_read(rate, epochs, name):
    values = {"model": {"name": name}, "training": {"learning_rate": rate, "epochs": epochs}}
    settings = validate_settings(values)
    assert validate_settings(tomllib.loads(settings.to_toml())) == settings
    assert changed_settings(settings, settings) == []


def test_the_paper_preset_is_the_experiment_of_the_report():
    settings = resolve_settings(preset="paper")
    training = settings.training
    assert (settings.data.patch_px, settings.data.tile_px) == (256, 256)
    assert (training.learning_rate, training.weight_decay) == (1e-5, 0)
    assert (training.schedule, training.ema_decay) == ("constant", 0)
    assert training.augment is False
    assert (training.jitter_px, settings.evaluation.jitter_px) == (20, 20)
    mix = training.prompt_mix
    assert (mix.patch_box > 0, mix.object_box, mix.object_point) == (True, 0, 0)


def test_each_later_source_replaces_what_an_earlier_one_says(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text("seed = 1\n[training]\nepochs = 11\nbatch_tiles = 5\nlearning_rate = 0.5\n")
    settings = resolve_settings(
        preset="paper",
        file=file,
        values={"training": {"batch_tiles": 6, "learning_rate": 0.25}},
        overrides=["training.learning_rate=0.125", "seed=9", "seed=2"],
    )
    training = settings.training
    assert (training.epochs, training.batch_tiles, training.learning_rate) == (11, 6, 0.125)
    assert settings.seed == 2
    assert training.schedule == "constant"


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("training.augment=false", "training.augment", False),
        ("model.name=some/where.pth", "model.name", "some/where.pth"),
        ('model.name="vit_t"', "model.name", "vit_t"),
        ("training.prompt_mix.object_box=2", "training.prompt_mix.object_box", 2),
        ('evaluation.protocols=["patch-box"]', "evaluation.protocols", ("patch-box",)),
    ],
)
def test_an_override_is_toml_or_else_text(text, name, value):
    found = override_settings(RunSettings(), [text])
    for part in name.split("."):
        found = getattr(found, part)
    assert found == value


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.epoch=3", r"training\.epoch is not a setting, did you mean training\.epochs\?"),
        ("zzz=3", r"^zzz is not a setting; see docs/settings\.md$"),
        ("training.epochs=0", r"training\.epochs: .*greater than or equal to 1, got 0"),
        ("training.epochs=many", r"training\.epochs: .*integer.*, got 'many'"),
        ("training.learning_rate=nan", r"training\.learning_rate: .*finite"),
        ("training.views_per_tile=inf", r"training\.views_per_tile: .*finite"),
        ("training=3", r"training: .*, got 3"),
        ("epochs", r"--set needs section\.name=value, got 'epochs'"),
        ("data.tile_px=foo", r'data\.tile_px: tile_px must be .* from 32 or "auto", got .foo'),
        ("data.tile_px=16", r'data\.tile_px: tile_px must be .* from 32 or "auto", got 16'),
        ("data.tile_px=512.5", r'data\.tile_px: tile_px must be .* or "auto", got 512.5'),
        ("data.tile_px=128", r"data: tile_px must be at least patch_px, got 128 with 256"),
        ("split.kind=given", r"split: kind = \"given\" needs the sections of train"),
        ("evaluation.protocols=[]", r"evaluation\.protocols: .*at least 1 item"),
        (
            "training.prompt_mix={patch_box=0, object_box=0, object_point=0}",
            r"training\.prompt_mix: patch_box, object_box or object_point must be above 0",
        ),
    ],
)
def test_a_setting_that_does_not_fit_is_named(override, message):
    with pytest.raises(SettingsError, match=message):
        resolve_settings(overrides=[override])


def test_an_unknown_preset_names_the_known_ones():
    with pytest.raises(SettingsError, match="one of default, paper, got 'best'"):
        resolve_settings(preset="best")


def test_a_settings_file_must_exist_and_be_toml(tmp_path):
    with pytest.raises(InputNotFoundError, match="does not exist"):
        resolve_settings(file=tmp_path / "none.toml")
    for name, content in (("text", b"epochs: 3"), ("image", b"\x89PNG\xff")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(SettingsError, match=f"{name} is not a TOML file"):
            resolve_settings(file=tmp_path / name)
    with pytest.raises(SettingsError, match="is not a TOML file"):
        resolve_settings(file=tmp_path)


def test_a_change_is_named_with_both_values_but_the_caches_does_not_matter():
    before = override_settings(RunSettings(), ["training.epochs=6", "split.gap=4"])
    after = override_settings(before, ["training.epochs=9", "split.gap=2", "cache.limit_gb=1"])
    assert changed_settings(before, after) == ["split.gap: 4 -> 2", "training.epochs: 6 -> 9"]
    assert changed_settings(after, override_settings(after, [f"cache.folder='{Path('x')}'"])) == []
