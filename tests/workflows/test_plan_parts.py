from __future__ import annotations

from dataclasses import astuple
from types import SimpleNamespace

import pytest

from mitosam.errors import SettingsError
from mitosam.models.part_settings import PRESETS
from mitosam.workflows import decoder
from mitosam.workflows import finetune as finetune_module
from mitosam.workflows.finetune import finetune
from mitosam.workflows.plan import plan
from mitosam.workflows.plan_parts import PlannedPreset, _time, best_that_fits
from mitosam.workflows.prepare import Sources, prepare
from mitosam.workflows.tiles import tiles_of, tiles_with_mitochondria
from tests.tiny_datasets import write_dataset
from tests.tiny_runs import KillAt, short_settings

GB = 10**9


def planned(**minutes: float) -> list[PlannedPreset]:
    return [
        PlannedPreset(preset=name, seconds=60 * minutes, peak_memory_bytes=GB)
        for name, minutes in minutes.items()
    ]


def test_every_preset_is_timed_in_a_process_of_its_own(sources, base_model, tmp_path):
    settings = short_settings(base_model, f"cache.folder={str(tmp_path)!r}")
    found = plan(sources, settings)
    assert [one.preset for one in found.presets] == list(PRESETS)
    for one in found.presets:
        assert not one.refused
        assert one.seconds > 0
        assert 10**8 < one.peak_memory_bytes < 4 * GB
    cache = {one.preset: one.cache_bytes for one in found.presets}
    assert cache["full"] < cache["decoder"]  # pixels are not cached
    assert plan(sources, settings, with_presets=False).presets == ()


def test_a_preset_is_timed_on_the_tile_itself_whichever_volume_it_is_of(
    base_model, tmp_path, monkeypatch
):
    settings = short_settings(base_model, f"cache.folder={str(tmp_path / 'cache')!r}")
    run = prepare(Sources.of_manifest(write_dataset(tmp_path)), tmp_path / "run", settings)
    volume = run.parts()[1].volume
    tile = tiles_with_mitochondria(tiles_of(volume, range(3), settings.data), settings.data)[-1]
    prepared, timed = decoder.examples_before, []

    def remember(frontier, tiles, *given):
        timed.extend(tiles)
        return prepared(frontier, tiles, *given)

    monkeypatch.setattr(decoder, "examples_before", remember)
    place = str(volume.folder), tile.section, astuple(tile.window)
    found = _time(place, settings.model_dump(mode="json", exclude_none=True), "decoder")
    assert [(one.volume.folder, one.section, one.window) for one in timed] == [
        (volume.folder, tile.section, tile.window)
    ]
    assert found["step_s"] > 0


def test_a_preset_that_the_model_refuses_says_why(sources, base_model):
    settings = short_settings(base_model, "training.late_blocks=99")
    refused = {one.preset: one.refused for one in plan(sources, settings).presets}
    assert "late_blocks is 99" in refused["late"]
    assert not refused["decoder"]


@pytest.mark.parametrize(
    ("minutes", "chosen"), [(60, "full"), (21, "full"), (19, "late"), (9, "decoder"), (4, None)]
)
def test_the_best_preset_is_the_one_of_which_half_fits(minutes, chosen):
    choices = planned(decoder=10, late=20, full=40)
    assert best_that_fits(choices, seconds=60 * minutes, memory_bytes=2 * GB) == chosen


def test_what_is_refused_or_too_large_is_not_chosen():
    choices = [
        *planned(decoder=10),
        PlannedPreset(preset="late", seconds=1, peak_memory_bytes=9 * GB),
        PlannedPreset(preset="full", refused="needs more memory than there is"),
    ]
    assert best_that_fits(choices, seconds=3600, memory_bytes=8 * GB) == "decoder"


def test_a_budget_chooses_the_parts_unless_they_are_named(
    sources, base_model, tmp_path, monkeypatch
):
    quick = SimpleNamespace(presets=planned(decoder=1, late=2, full=4))
    monkeypatch.setattr(finetune_module, "plan", lambda *_, **__: quick)
    settings = short_settings(base_model)
    result = finetune(sources, tmp_path / "chosen", settings, budget_s=600)
    assert result.run.settings.training.parts == PRESETS["full"]
    named = short_settings(base_model, "training.parts=neck")
    result = finetune(sources, tmp_path / "named", named, budget_s=600)
    assert result.run.settings.training.parts == ("neck",)


def test_a_killed_run_with_a_budget_resumes_with_the_parts_it_chose(
    sources, base_model, tmp_path, monkeypatch
):
    quick = SimpleNamespace(presets=planned(decoder=1, late=2, full=4))
    monkeypatch.setattr(finetune_module, "plan", lambda *_, **__: quick)
    settings = short_settings(base_model)
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        finetune(sources, out, settings, budget_s=600, progress=KillAt("training", item=6))
    monkeypatch.setattr(finetune_module, "plan", None)  # nothing is measured again
    assert finetune(sources, out, settings, budget_s=600, resume=True).report.exists()
    with pytest.raises(SettingsError, match="other settings"):
        finetune(sources, out, short_settings(base_model, "seed=5"), budget_s=600, resume=True)
