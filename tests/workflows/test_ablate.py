"""Studies with a tiny model: what they run, write, keep after a kill, and refuse."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mitosam.errors import InputNotFoundError, OutputExistsError, SettingsError
from mitosam.workflows.ablate import ablate, plan_ablation
from mitosam.workflows.runs import Run
from mitosam.workflows.study import read_study
from tests.other_process import writing_to
from tests.tiny_runs import SHORT, KillAt, Remembered, rows_of, write_phantom

ROOT = Path(__file__).parents[2]
TEXT = """
title = "A tiny study"
seeds = {seeds}
clicks = 1
data = {{ images = "images.tif", masks = "masks.tif" }}
base = {{ split = {{ kind = "given", train = "1-2", validation = "3", test = "4-8" }} }}

[[factor]]
name = "rate"
setting = "training.learning_rate"
values = {rates}

[[factor]]
name = "sections"

[[factor.level]]
label = "one"
set.split.train = "1"
"""
RATES = "[2e-4]"
SMALL = (
    'evaluation.protocols=["patch-box", "object-box"]',
    "training.validations=4",
    "training.max_validation_prompts=4",
    "training.prompts_per_tile=2",
)
COSTS = {"seconds_trained", "peak_memory_mb", "peak_device_mb"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    write_phantom(folder, shape_zyx=(8, 96, 96))
    (folder / "own.toml").write_text(TEXT.format(rates=RATES, seeds=[0, 1]))
    return folder


@pytest.fixture(scope="module")
def overrides(base_model):
    return [*SHORT, *SMALL, f"model.name={str(base_model)!r}"]


@pytest.fixture(scope="module")
def study(place, overrides):
    return read_study(str(place / "own.toml"), overrides=overrides)


@pytest.fixture(scope="module")
def short(place, overrides):
    """The same with its first seed alone, so that what is killed begins again sooner."""
    (place / "short.toml").write_text(TEXT.format(rates=RATES, seeds=[0]))
    return read_study(str(place / "short.toml"), overrides=overrides)


@pytest.fixture(scope="module")
def undisturbed(study, place):
    progress = Remembered()
    result = ablate(study, place / "whole", progress=progress)
    return result, progress


def scores(folder):
    """The first seed's rows, without what no two runs have alike."""
    return [
        {name: text for name, text in row.items() if name not in COSTS}
        for row in rows_of(folder / "results.csv")
        if row["seed"] == "0"
    ]


def test_every_level_has_a_row_for_each_seed_and_prompt(undisturbed):
    result, _ = undisturbed
    found = rows_of(result.folder / "results.csv")
    prompts = [("patch-box", "0"), ("object-box", "0"), ("object-box", "1")]
    levels = ["base", "not tuned", "0.0002", "one"]
    assert {(row["level"], row["seed"], row["prompt"], row["clicks"]) for row in found} == {
        (level, seed, *prompt) for level in levels for seed in "01" for prompt in prompts
    }
    assert len(found) == len(levels) * 2 * len(prompts)
    for row in found:
        assert 0 <= float(row["iou"]) <= float(row["dice"]) <= 1
        assert (row["msa"] == "") == (row["prompt"] == "patch-box")
        assert (row["seconds_trained"] == "") == (row["level"] == "not tuned")
        assert row["level"] == "not tuned" or float(row["peak_memory_mb"]) > 50


def test_what_comes_to_the_same_settings_is_run_once(undisturbed):
    result, _ = undisturbed
    assert (result.num_finished, result.num_cells) == (4, 4)
    of = {(row["level"], row["seed"]): row["run"] for row in rows_of(result.folder / "results.csv")}
    assert of["base", "0"] == of["0.0002", "0"] != of["base", "1"]
    assert len(list((result.folder / "runs").iterdir())) == 4


def test_the_base_model_is_scored_once_a_seed_and_the_volume_prepared_once(undisturbed):
    result, progress = undisturbed
    assert progress.loops.count("scoring the base model") == 2
    assert sum(loop.startswith("reading images") for loop in progress.loops) == 1
    cells = sorted((result.folder / "runs").iterdir())
    files = {(cell / "prepared/volume/images.npy").stat().st_ino for cell in cells}
    assert len(files) == 1
    trained = {Run.open(cell).parts()[0].split.train for cell in cells}
    assert trained == {(0, 1), (0,)}


def test_the_summary_has_paired_differences_to_the_base(undisturbed):
    result, _ = undisturbed
    found = rows_of(result.folder / "summary.csv")
    chosen = [row for row in found if (row["prompt"], row["metric"]) == ("object-box", "iou")]
    of = {row["level"]: row for row in chosen if row["clicks"] == "0"}
    assert list(of) == ["base", "not tuned", "0.0002", "one"]
    assert of["base"]["difference"] == of["0.0002"]["difference"] == ""
    for level in ("not tuned", "one"):
        row, gain = of[level], float(of[level]["mean"]) - float(of["base"]["mean"])
        assert float(row["difference"]) == pytest.approx(gain, abs=2e-6)
        assert float(row["difference_low"]) <= gain + 2e-6
        assert gain - 2e-6 <= float(row["difference_high"])
        assert (row["seeds"], row["sections"]) == ("2", "5")
        assert row["resampled"] == "sections and seeds"
    means = [float(r["iou"]) for r in rows_of(result.folder / "results.csv")
             if (r["level"], r["prompt"], r["clicks"]) == ("one", "object-box", "0")]  # fmt: skip
    assert float(of["one"]["mean"]) == pytest.approx(np.mean(means), abs=2e-6)


STAGES = {
    "while the volume is prepared": KillAt("reading images", item=2),
    "in the training of the second run": KillAt("training", item=6, occurrence=1),
    "while clicks are scored": KillAt("correcting the tuned model", item=1),
    "before the report": KillAt("drawing the report"),
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_study_stopped_anywhere_resumes_to_the_same_table(stage, short, tmp_path, undisturbed):
    with pytest.raises(KeyboardInterrupt):
        ablate(short, tmp_path / "out", progress=STAGES[stage])
    result = ablate(short, tmp_path / "out", resume=True)
    assert result.num_finished == 2
    assert scores(tmp_path / "out") == scores(undisturbed[0].folder)


KILLED = """
import os, signal, sys
from pathlib import Path
from mitosam.workflows.ablate import ablate
from mitosam.workflows.study import read_study
from tests.tiny_runs import (rows_of, KillAt)

class Kill(KillAt):
    def _is_due(self, text):
        due = super()._is_due(text)
        if due and self.item == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return due

    def track(self, items, description, *, total=None, unit="it"):
        due = description.startswith(self.text)
        for number, item in enumerate(items):
            if due and number == self.item:
                os.kill(os.getpid(), signal.SIGKILL)
            yield item

study, out, text, item, *overrides = sys.argv[1:]
ablate(read_study(study, overrides=overrides), Path(out), resume=True,
       progress=Kill(text, item=int(item)))
"""


def test_a_study_killed_within_a_run_and_between_runs_ends_at_the_same_table(
    short, place, overrides, tmp_path, undisturbed
):
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"}
    out, file = tmp_path / "out", place / "short.toml"
    for text, item in (("training", 6), ("run 2 of 2", 0)):
        command = [sys.executable, "-c", KILLED, file, out, text, str(item), *overrides]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(list((out / "runs").glob("*/cost.json"))) == 1
    progress = Remembered()
    result = ablate(short, out, resume=True, progress=progress)
    assert result.num_finished == 2
    assert sum(line.startswith("run ") for line in progress.said) == 1
    assert scores(out) == scores(undisturbed[0].folder)


def test_a_run_killed_in_training_goes_on_from_its_checkpoint(short, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        ablate(short, tmp_path / "out", progress=KillAt("training", item=6))
    progress = Remembered()
    with pytest.raises(KeyboardInterrupt):
        ablate(short, tmp_path / "out", resume=True, progress=_StopAfter(progress, "run 2"))
    assert "going on from step 6 of 8" in progress.said


class _StopAfter(Remembered):
    """Progress that notes what is said, and stops at one line."""

    def __init__(self, other, text):
        super().__init__()
        self.said, self.text = other.said, text

    def say(self, message):
        super().say(message)
        if message.startswith(self.text):
            raise KeyboardInterrupt


def test_a_changed_study_is_not_gone_on_with(place, overrides, undisturbed):
    (place / "changed.toml").write_text(TEXT.format(rates="[2e-4, 6e-3]", seeds=[0, 1]))
    changed = read_study(str(place / "changed.toml"), overrides=overrides)
    with pytest.raises(
        SettingsError, match=r"rate: 0.006.training.learning_rate: not there -> 0.006"
    ):
        ablate(changed, undisturbed[0].folder, resume=True)


def test_a_study_is_not_overwritten_nor_mixed_with_anything(study, undisturbed, tmp_path):
    with pytest.raises(OutputExistsError, match="holds a study already; pass --resume"):
        ablate(study, undisturbed[0].folder)
    (tmp_path / "mine.txt").write_text("")
    with pytest.raises(OutputExistsError, match="exists already"):
        ablate(study, tmp_path)
    with pytest.raises(InputNotFoundError, match="no study to resume"):
        ablate(study, tmp_path, resume=True)
    with writing_to(tmp_path / "held"), pytest.raises(BlockingIOError):
        ablate(study, tmp_path / "held")


def test_a_budget_ends_between_runs_and_the_page_says_so(short, tmp_path):
    result = ablate(short, tmp_path / "out", budget_s=0.001)
    assert result.num_finished == 1
    assert any("Only 1 of 2 runs" in note for note in result.content.notes)
    assert {row["level"] for row in rows_of(tmp_path / "out" / "results.csv")} == {
        "base",
        "not tuned",
        "0.0002",
    }
    again = ablate(short, tmp_path / "out", budget_s=0.001, resume=True)
    assert again.num_finished == 1


def test_a_plan_says_what_is_done_and_writes_nothing(study, undisturbed, tmp_path):
    fresh = plan_ablation(study, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert fresh.done == (False,) * 4
    assert all(seconds > 0 for seconds in fresh.seconds)
    ended = plan_ablation(study, undisturbed[0].folder)
    assert ended.done == (True,) * 4
    assert sum(ended.seconds) == 0
    assert "4 finished runs" in ended.basis


BEFORE_ANY_RUN = {
    "sections that are not there": (
        '"1"',
        '"1-99"',
        r"sections: one, seed 0: train must lie in 1-8",
    ),
    "other sections to report on": (
        'set.split.train = "1"',
        'set.split.test = "5-8"',
        "reports on other sections than the base",
    ),
    "a model that is not there": (
        'set.split.train = "1"',
        'set.model.name = "none/such.safetensors"',
        "none/such.safetensors",
    ),
    "no data": ('data = {{ images = "images.tif", masks = "masks.tif" }}', "", "pass --images"),
    "no such file": ("images.tif", "missing.tif", "missing.tif"),
}


@pytest.mark.parametrize("reason", BEFORE_ANY_RUN)
def test_is_refused_before_anything_is_run(reason, place, overrides, tmp_path):
    old, new, message = BEFORE_ANY_RUN[reason]
    (place / "refused.toml").write_text(TEXT.replace(old, new).format(rates=RATES, seeds=[0, 1]))
    refused = read_study(str(place / "refused.toml"), overrides=overrides)
    with pytest.raises((SettingsError, FileNotFoundError), match=message):
        ablate(refused, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_study_is_written_down_for_a_later_comparison(undisturbed):
    facts = json.loads((undisturbed[0].folder / "study.json").read_text())
    assert facts["seeds"] == [0, 1]
    assert facts["levels"]["sections: one"] == {"split.train": "1"}
