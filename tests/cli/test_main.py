from __future__ import annotations

import csv
import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import mitosam as package
from mitosam.cli import main
from mitosam.cli.main import after_stop
from mitosam.embeddings import CacheSettings, list_cache
from mitosam.io.prompt_files import write_prompts
from mitosam.prompts import Prompts
from tests.other_process import writing_to
from tests.tiny_runs import SHORT, contents

SETTINGS = [part for text in SHORT for part in ("--set", text)]


def test_the_stages_of_a_run_one_by_one(tmp_path, mitosam, sources, base_model, finished):
    run = tmp_path / "run"
    done = mitosam(
        "prepare", sources.images, sources.masks, "--out", run, "--model", base_model, *SETTINGS
    )
    assert (done.code, done.out.strip()) == (0, str(run))
    assert "paired 4 sections by order" in done.err
    done = mitosam("train", run)
    assert (done.code, done.out.split(",")[0]) == (0, "mask decoder: 8 steps")
    assert "training: 8 steps done" in done.err
    done = mitosam("evaluate", run)
    assert done.code == 0
    assert "tuned" in done.out
    assert "inscribed ellipse" in done.out
    done = mitosam("report", run)
    assert (done.code, done.out.strip()) == (0, str(run / "report.html"))
    assert (run / "scores.csv").read_bytes() == (finished.folder / "scores.csv").read_bytes()


def test_finetune_ends_with_the_table_and_the_path_of_the_report(
    tmp_path, mitosam, sources, base_model
):
    run = tmp_path / "run"
    done = mitosam(
        *("finetune", sources.images, sources.masks, "--out", run),
        *("--model", base_model, *SETTINGS, "--set", "training.parts=late"),
    )
    assert done.code == 0
    *table, finished_in, path = done.out.strip().splitlines()
    assert Path(path) == (run / "report.html").resolve()
    assert finished_in.startswith("finished in ")
    assert any("patch-box" in line and "base" in line for line in table)
    assert any("object-box" in line and "tuned" in line for line in table)
    assert "encoding" in done.err
    assert "encoding" not in done.out


def test_evaluate_writes_elsewhere_what_is_scored_otherwise(tmp_path, mitosam, finished):
    before = contents(finished.folder)
    out = tmp_path / "by-patch"
    done = mitosam(
        *("evaluate", finished.folder, "--out", out, "--set", "evaluation.objects=patch")
    )
    assert done.code == 0
    assert mitosam("report", out).code == 0
    assert contents(finished.folder) == before


def test_predict_writes_labels_and_says_where(tmp_path, mitosam, sources, finished):
    write_prompts(tmp_path / "p.csv", {2: Prompts(boxes_xyxy=np.array([[5.0, 5, 60, 60]]))})
    out = tmp_path / "out"
    done = mitosam(
        *("predict", sources.images, "--out", out),
        *("--model", finished.folder, "--prompts", tmp_path / "p.csv"),
    )
    assert (done.code, done.out) == (0, f"1 masks on 1 sections: {out / 'labels.tif'}\n")
    assert set(contents(out)) == {"labels.tif", "masks.csv"}


def test_plan_prints_stages_with_times(mitosam, sources, base_model):
    done = mitosam("plan", sources.images, sources.masks, "--model", base_model, *SETTINGS)
    assert done.code == 0
    for word in ("encode", "train", "8 steps", "all", "peak memory", "disk, embedding cache"):
        assert word in done.out


def test_export_prints_where(tmp_path, mitosam, finished):
    done = mitosam("export", finished.folder, "--out", tmp_path / "m.pth", "--to", "original")
    assert (done.code, done.out) == (0, f"{tmp_path / 'm.pth'}\n")


def test_info_breaks_no_line(mitosam, finished, sources, base_model):
    for thing in (finished.folder, finished.tuned_weights, base_model, sources.images):
        done = mitosam("info", thing)
        assert (done.code, done.err) == (0, "")
        assert all(line[0] != " " for line in done.out.splitlines())
    assert "device" in mitosam("info").out


def test_the_cache_is_listed_and_cleared(tmp_path, mitosam, sources, base_model):
    cache = tmp_path / "cache"
    settings = [*SETTINGS, "--set", "training.parts=late", "--set", f"cache.folder='{cache}'"]
    run = tmp_path / "run"
    mitosam(
        "prepare", sources.images, sources.masks, "--out", run, "--model", base_model, *settings
    )
    mitosam("train", run)
    (entry,) = list_cache(CacheSettings(folder=cache))
    done = mitosam("cache", "--folder", cache)
    assert entry.model in done.out
    assert str(entry.num_embeddings) in done.out
    done = mitosam("cache", "--folder", cache, "--clear")
    assert "removed" in done.out
    assert contents(cache) == {}


def test_the_version_and_the_help_are_shown(mitosam):
    assert mitosam("--version").out == f"mitosam {package.__version__}\n"
    done = mitosam("--help")
    assert done.code == 0
    for command in ("finetune", "prepare", "train", "evaluate", "predict", "report", "plan"):
        assert command in done.out


def test_a_stop_by_the_keyboard_is_said_and_leaves_nothing_half_written(
    tmp_path, sources, base_model
):
    run = tmp_path / "run"
    command = [
        *("finetune", sources.images, sources.masks, "--out", run, "--model", base_model),
        *(*SETTINGS, "--set", "training.min_steps=100000"),
    ]
    process = subprocess.Popen(
        [sys.executable, "-c", "from mitosam.cli import main; main()", *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        # A shell that runs tests in the background lets them ignore the keyboard.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    wait_for(run / "prepared" / "parts.json", process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert err.strip().splitlines()[-1] == f"stopped; {after_stop(['finetune'])}"
    assert "Traceback" not in err
    assert not list(run.rglob("*.part*"))


@pytest.mark.parametrize(
    ("arguments", "way"),
    [
        (["-v", "finetune", "segment"], "with --resume goes on"),
        (["train", "run"], "the same command goes on"),
        (["segment", "em.tif", "--out", "out"], "the same command goes on"),
        (["evaluate", "run", "--automatic"], "goes on"),
        (["measure", "labels.tif"], "the same command goes on"),
        (["predict", "em.tif"], "starts anew"),
        ([], "starts anew"),
    ],
)
def test_whoever_stops_a_command_is_told_how_it_goes_on(arguments, way):
    assert way in after_stop(arguments)


def test_a_disk_that_went_away_is_one_line(monkeypatch, capsys):
    def lose(**_):
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", "run/images.npy")

    monkeypatch.setattr(sys.modules["mitosam.cli.main"], "app", lose)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = " ".join(capsys.readouterr().err.split())
    assert said.startswith(
        "error: run/images.npy: No such file or directory; it was there a moment"
    )


def test_a_second_process_on_the_same_run_is_one_line(tmp_path, mitosam, sources, base_model):
    run, segmented = tmp_path / "run", tmp_path / "segmented"
    mitosam(
        "prepare", sources.images, sources.masks, "--out", run, "--model", base_model, *SETTINGS
    )
    commands = [
        (run, "finetune", sources.images, sources.masks, "--out", run, *SETTINGS),
        (run, "train", run),
        (run, "evaluate", run),
        (segmented, "segment", sources.images, "--model", base_model, "--out", segmented),
    ]
    before = contents(run)
    for folder, *command in commands:
        with writing_to(folder):
            done = mitosam(*command)
        assert (done.code, done.out) == (2, "")
        assert "is being written by another process" in " ".join(done.err.split())
        assert "Traceback" not in done.err
    assert contents(run) == before
    assert not segmented.exists()


def wait_for(path, process):
    for _ in range(1200):
        if path.exists() or process.poll() is not None:
            return
        time.sleep(0.1)


def test_a_disk_that_cannot_be_read_is_one_line_too(mitosam, monkeypatch, tmp_path):
    """A real one would need a user without rights, and tests may run as one who has all."""

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", str(tmp_path / "x.tif"))

    monkeypatch.setattr("mitosam.workflows.info.info", refuse)
    done = mitosam("info", tmp_path / "x.tif")
    assert done.code == 2
    assert done.err.startswith(f"error: {tmp_path / 'x.tif'}: Permission denied; ")


def test_a_mistake_of_our_own_is_not_hidden(monkeypatch):
    def fail(**_):
        raise ZeroDivisionError

    monkeypatch.setattr(sys.modules["mitosam.cli.main"], "app", fail)
    with pytest.raises(ZeroDivisionError):
        main()


def test_masks_csv_is_a_table(tmp_path, mitosam, sources, finished):
    out = tmp_path / "out"
    done = mitosam(
        *("predict", sources.images, "--out", out, "--model", finished.folder),
        *("--from-masks", sources.masks),
    )
    assert done.code == 0
    with (out / "masks.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {"section", "object_id", "chosen", "predicted_iou", "area_px"} <= rows[0].keys()
