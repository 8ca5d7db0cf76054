"""`mitosam evaluate --automatic`: what it prints and writes, and what it refuses."""

from __future__ import annotations

import re
import shutil

import pytest

from mitosam.workflows.prepare import prepare
from tests.automatic_runs import head_settings, train_run
from tests.tiny_runs import contents, write_phantom


@pytest.fixture(scope="module")
def volume(tmp_path_factory):
    return write_phantom(tmp_path_factory.mktemp("volume"), shape_zyx=(10, 96, 96))


@pytest.fixture(scope="module")
def trained(tmp_path_factory, base_model, volume):
    out = tmp_path_factory.mktemp("trained") / "run"
    return train_run(volume, out, head_settings(base_model)).folder


@pytest.fixture(scope="module")
def headless(tmp_path_factory, base_model, volume):
    out = tmp_path_factory.mktemp("headless") / "run"
    settings = head_settings(base_model, "head.enabled=false")
    return train_run(volume, out, settings, head=False).folder


@pytest.fixture
def run(tmp_path, trained):
    shutil.copytree(trained, tmp_path / "run")
    return tmp_path / "run"


def test_the_table_has_a_row_a_method_and_says_that_no_prompts_were_used(
    tmp_path, mitosam, run, volume
):
    done = mitosam("evaluate", run, "--automatic")
    assert done.code == 0
    *_, said, page = done.out.strip().splitlines()
    assert said.startswith("no prompts were used")
    assert page == str(run / "automatic.html")
    assert "never compare these scores with those under prompts" in said
    assert "images, sections 9 to 10: found without prompts" in done.out
    rows = re.findall(r"^ ?(head|prompted|U-Net)\s+(.*)$", done.out, re.MULTILINE)
    assert [method for method, _ in rows] == ["head", "prompted", "U-Net"]
    assert {len(cells.split()) for _, cells in rows} == {11}
    for name in ("automatic.html", "automatic.csv", "automatic_sections.csv", "automatic.json"):
        assert (run / name).is_file()

    other = write_phantom(tmp_path / "other", seed=8, shape_zyx=(2, 96, 96))
    out = tmp_path / "elsewhere"
    before = contents(run)
    done = mitosam(
        *("evaluate", run, "--automatic", "--images", other.images, "--masks", other.masks),
        *("--out", out, "--methods", "head"),
    )
    assert done.code == 0
    rows = re.findall(r"^ ?(head|prompted|U-Net)\s+(.*)$", done.out, re.MULTILINE)
    assert [method for method, _ in rows] == ["head", "U-Net"]
    assert "thresholds stay as they were chosen" in done.err
    assert contents(run) == before


def test_methods_and_rival_are_chosen_by_name(mitosam, run):
    done = mitosam("evaluate", run, "--automatic", "--methods", "head", "--rival", "none")
    assert done.code == 0
    assert "U-Net" not in done.out
    assert "prompted" not in done.out
    assert not (run / "rivals").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rival", "unet"], "--rival says how to score without prompts; it needs --automatic"),
        (["--methods", "head"], "--methods says how to score .*; it needs --automatic"),
        (["--automatic", "--methods", "head,best"], "methods must be some of .*, got 'best'"),
        (["--automatic", "--methods", ""], "methods must be some of head, prompted, grid"),
        (["--automatic", "--rival", "sam"], "rival must be one of unet, none, got 'sam'"),
        (["--automatic", "--set", "evaluation.objects=patch"], "--automatic takes none"),
        (["--automatic", "--sections", "2"], "--sections is for the volume of --images"),
        (["--voxel-size", "5,5,5"], "--voxel-size is for the volume of --images"),
        (["--automatic", "--images", "x.tif"], "--images and --masks go together"),
    ],
)
def test_bad_options_are_one_line_and_touch_nothing(mitosam, trained, options, message):
    refuse(mitosam, message, trained, *options)


def refuse(mitosam, message, run, *options):
    before = contents(run)
    done = mitosam("evaluate", run, *options)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: ")
    assert len(done.err.strip().splitlines()) == 1
    assert re.search(message, done.err)
    assert contents(run) == before


def test_a_run_without_a_head_is_refused_also_for_another_volume(
    tmp_path, mitosam, headless, volume
):
    message = "has no prompt-free head, which the methods head and prompted need"
    refuse(mitosam, message, headless, "--automatic")
    other = ("--images", volume.images, "--masks", volume.masks, "--out", tmp_path / "out")
    refuse(mitosam, message, headless, "--automatic", *other)
    assert not (tmp_path / "out").exists()


def test_a_run_that_is_not_trained_and_what_is_no_run_are_refused(
    tmp_path, mitosam, base_model, volume
):
    prepare(volume, tmp_path / "prepared", head_settings(base_model))
    refuse(mitosam, "prepared is not trained yet", tmp_path / "prepared", "--automatic")
    refuse(mitosam, "is not a tuned model; give a run", base_model, "--automatic")


def test_another_volume_needs_a_folder_for_its_scores(mitosam, trained, volume):
    other = ("--images", volume.images, "--masks", volume.masks)
    refuse(mitosam, "need a folder of their own: --out", trained, "--automatic", *other)
