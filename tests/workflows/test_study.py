"""Study files: what becomes of one, and each reason for which one is refused."""

from __future__ import annotations

import pytest

from mitosam.config import resolve_settings
from mitosam.errors import InputNotFoundError, SettingsError
from mitosam.workflows.study import changed_facts, read_study
from mitosam.workflows.study_file import find_study, shipped_studies

RATES = """
[[factor]]
name = "rate"
setting = "training.learning_rate"
values = [2e-4, 1e-3]
"""
PROMPTS = """
[[factor]]
name = "prompts"
[[factor.level]]
label = "patches"
set.training.prompt_mix = { patch_box = 1, object_box = 0, object_point = 0 }
[[factor.level]]
label = "few and short"
set = { "training.epochs" = 1, split.gap = 2 }
"""
HEAD = "seeds = [0, 1]\nbase.head.enabled = false\n"


@pytest.fixture
def study(tmp_path):
    def write(text, **options):
        path = tmp_path / "own.toml"
        path.write_text(text)
        return read_study(str(path), **options)

    return write


def titles(study):
    return [(cell.title, len(cell.arms)) for cell in study.cells()]


def test_each_level_is_run_alone_with_every_seed_and_the_base_first(study):
    found = study(HEAD + RATES + PROMPTS)
    assert titles(found) == [
        (f"{name}, seed {seed}", arms)
        for seed in (0, 1)
        for name, arms in [
            ("base", 2),  # and the rate that the preset has
            ("rate: 0.001", 1),
            ("prompts: patches", 1),
            ("prompts: few and short", 1),
        ]
    ]
    last = found.cells()[-1].settings
    assert (last.training.epochs, last.split.gap, last.seed) == (1, 2, 1)
    assert last.training.learning_rate == found.base.settings.training.learning_rate
    assert not last.head.enabled


def test_factorial_factors_are_multiplied(study):
    second = RATES.replace('"rate"', '"steps"').replace("learning_rate", "epochs")
    both = (RATES + second.replace("[2e-4, 1e-3]", "[1, 2]")).replace(
        "setting", 'kind = "factorial"\nsetting'
    )
    found = study("seeds = [0]" + both)
    chosen = [
        (arm.settings.training.learning_rate, arm.settings.training.epochs) for arm in found.arms
    ]
    assert chosen == [(2e-4, 2), (2e-4, 1), (2e-4, 2), (1e-3, 1), (1e-3, 2)]
    assert {arm.factor for arm in found.arms[1:]} == {"rate \N{MULTIPLICATION SIGN} steps"}
    assert found.arms[1].label == "0.0002, 1"
    assert len(found.cells()) == 4  # the base is one of them


def test_runs_have_folders_of_their_own_that_say_what_they_are(study):
    names = [cell.name for cell in study(HEAD + RATES + PROMPTS).cells()]
    assert len(set(names)) == len(names)
    assert names[:3] == ["001-base-seed-0", "002-rate-0.001-seed-0", "003-prompts-patches-seed-0"]


def test_files_are_seen_from_the_study_and_the_base_can_be_changed_from_outside(study, tmp_path):
    text = HEAD + '[data]\nimages = "a.tif"\nmasks = "b.tif"\n' + RATES
    found = study(text, overrides=["training.epochs=7"])
    assert found.data.images == tmp_path / "a.tif"
    assert {arm.settings.training.epochs for arm in found.arms} == {7}
    assert found.arms[2].settings.training.learning_rate == 1e-3


def test_without_base_settings_it_is_the_preset(study):
    preset = 'preset = "paper"\nseeds = [0]' + RATES
    assert study(preset).base.settings == resolve_settings(preset="paper")


REFUSED = {
    "no seeds": (RATES, "needs seeds"),
    "seeds twice": ("seeds = [1, 1]" + RATES, "seeds must differ"),
    "a negative seed": ("seeds = [-1]" + RATES, "0 or above"),
    "nothing to vary": (HEAD, "varies something"),
    "an unknown key": ("sedes = [0]" + RATES, "sedes is nothing that a study file holds"),
    "an unknown key of a factor": (
        HEAD + RATES + "valeus = [1]",
        "factor.1.valeus is nothing that a study file holds",
    ),
    "not TOML": ("seeds = [", "is not a TOML file"),
    "a setting nobody knows": (
        HEAD + RATES.replace("learning_rate", "lerning_rate"),
        'factor "rate", level "0.0002": training.lerning_rate is not a setting, did you mean '
        "training.learning_rate",
    ),
    "a value that is refused": (
        HEAD + RATES.replace("1e-3", "-1"),
        'factor "rate", level "-1": training.learning_rate: Input should be greater than 0',
    ),
    "a level that does not fit the base": (
        HEAD + RATES.replace("training.learning_rate", "data.tile_px").replace("2e-4, 1e-3", "128"),
        "tile_px must be at least patch_px",
    ),
    "an unknown setting of the base": (
        "seeds = [0]\nbase.trainig.epochs = 3" + RATES,
        "base: trainig",
    ),
    "a base with a seed": ("seeds = [0]\nbase.seed = 3" + RATES, "seed, which the study's seeds"),
    "two levels of one name": (HEAD + RATES.replace("1e-3", "0.0002"), 'two levels "0.0002"'),
    "two factors of one name": (HEAD + RATES + RATES, '"rate" stands for two factors'),
    "a factor called base": (HEAD + RATES.replace('"rate"', '"base"'), "is the base's"),
    "a level without anything": (
        HEAD + '[[factor]]\nname="a"\nlevel=[{label="b"}]',
        "either value or set",
    ),
    "a factor without levels": (HEAD + '[[factor]]\nname="a"', "either values or levels"),
    "values of nothing": (HEAD + '[[factor]]\nname="a"\nvalues=[1]', "no setting that they are of"),
    "a level that changes the scoring": (
        HEAD + RATES.replace("training.learning_rate", "evaluation.max_sections"),
        "all levels must be scored in the same way",
    ),
    "a level that changes the seed": (
        HEAD + RATES.replace("training.learning_rate", "seed"),
        "the study's seeds say it",
    ),
    "a lonely factorial": (
        HEAD + RATES + 'kind = "factorial"',
        "the only factorial one",
    ),
    "two of a product that set the same": (
        HEAD
        + RATES
        + 'kind = "factorial"'
        + RATES.replace('"rate"', '"other"').replace("1e-3", "1e-5")
        + 'kind = "factorial"',
        '"rate" and "other" are multiplied and both set training.learning_rate',
    ),
    "a product without the base": (
        HEAD
        + "base.training.learning_rate = 5e-5"
        + RATES
        + 'kind = "factorial"'
        + RATES.replace('"rate"', '"steps"')
        .replace("learning_rate", "epochs")
        .replace("2e-4, 1e-3", "1, 2")
        + 'kind = "factorial"',
        "base sets training.learning_rate to 5e-05, which no level",
    ),
    "too many clicks": ("clicks = 99\n" + HEAD + RATES, "clicks must lie in 0 to 50"),
    "clicks without objects": (
        "clicks = 1\n" + HEAD + 'base.evaluation.protocols = ["patch-box"]' + RATES,
        "clicks correct objects",
    ),
    "no head to find anything with": (
        "automatic = true\n" + HEAD + RATES,
        "needs the prompt-free head",
    ),
    "images without masks": (
        HEAD + RATES + '[data]\nimages = "a.tif"',
        "images and masks go together",
    ),
    "an unknown preset": ('preset = "fast"\n' + HEAD + RATES, "preset must be one of"),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_is_refused_in_one_line(reason, study):
    text, message = REFUSED[reason]
    with pytest.raises(SettingsError) as refused:
        study(text)
    assert message in str(refused.value)
    assert "own.toml" in str(refused.value)
    assert "\n" not in str(refused.value).rstrip()


def test_a_file_that_is_not_there_is_named_with_what_there_is():
    with pytest.raises(InputNotFoundError, match="components, phantom"):
        read_study("nowhere")


def test_a_changed_study_is_told_by_what_changed(study):
    before = study(HEAD + RATES).facts()
    after = study(HEAD.replace("1", "2") + RATES.replace("1e-3", "5e-3")).facts()
    assert changed_facts(before, before) == []
    assert changed_facts(before, after) == [
        "seeds: [0, 1] -> [0, 2]",
        "levels.rate: 0.001.training.learning_rate: 0.001 -> not there",
        "levels.rate: 0.005.training.learning_rate: not there -> 0.005",
    ]


def test_a_setting_that_is_new_and_changes_what_was_done_is_told(study):
    after = study(HEAD + RATES).facts()
    before = {**after, "base": {**after["base"]}}
    del before["base"]["training.base_share"]
    assert changed_facts(before, after) == ["base.training.base_share: 0.0 -> 0.2"]
    after["base"]["training.base_share"] = 0.0
    assert changed_facts(before, after) == []


def test_a_setting_that_is_new_had_its_default_before(study):
    after = study(HEAD + RATES).facts()
    before = {**after, "base": {k: v for k, v in after["base"].items() if k != "data.tile_px"}}
    assert changed_facts(before, after) == []
    after["base"]["data.tile_px"] = 333
    assert changed_facts(before, after) == ["base.data.tile_px: 512 -> 333"]


def test_the_shipped_studies_are_found_by_name():
    assert shipped_studies() == ["components", "phantom", "sections"]
    assert read_study("phantom").cells()
    assert find_study("phantom").name == "phantom.toml"


def test_the_shipped_components_vary_every_component_the_project_asks_about():
    study = read_study("components")
    factors = list(dict.fromkeys(arm.factor for arm in study.arms))
    assert factors == [
        "base",
        "trained part",
        "loss",
        "prompts",
        "px of a tile",
        "augmentation",
        "learning rate",
        "annotated sections",
    ]
    base, *others = study.cells()[: len(study.cells()) // len(study.seeds)]
    # The base is a level of every factor, so that each one is compared with it.
    assert [arm.factor for arm in base.arms] == factors
    assert all(len(cell.arms) == 1 for cell in others)
    assert len(others) == len(study.arms) - len(factors)
