"""The command of studies: what it prints, and what it refuses."""

from __future__ import annotations

import pytest

from tests.tiny_runs import SHORT, write_phantom

TEXT = """
seeds = [0]
base = { split = { kind = "given", train = "1-2", test = "4-8" } }
[[factor]]
name = "rate"
setting = "training.learning_rate"
values = [2e-4, 5e-3]
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    (folder / "own.toml").write_text(TEXT)
    return folder, write_phantom(folder, shape_zyx=(8, 96, 96))


@pytest.fixture
def arguments(data, base_model, tmp_path):
    folder, sources = data
    changes = [*SHORT, f"model.name={str(base_model)!r}", 'evaluation.protocols=["object-box"]']
    return [
        *("ablate", folder / "own.toml", "--images", sources.images, "--masks", sources.masks),
        *("--out", tmp_path / "out"),
        *(word for change in changes for word in ("--set", change)),
    ]


def test_a_study_is_planned_run_and_told(mitosam, arguments, tmp_path):
    planned = mitosam(*arguments, "--dry-run")
    assert planned.code == 0
    assert "rate: 0.0002" in planned.out
    assert "0 done, about" in planned.out
    assert not (tmp_path / "out").exists()
    first = mitosam(*arguments, "--budget", "1s")
    assert "1 of 2 runs finished" in first.out
    ended = mitosam(*arguments, "--resume")
    assert ended.code == 0
    assert "run 2 of 2: rate: 0.005, seed 0" in ended.err
    assert "2 of 2 runs finished" in ended.out
    assert str(tmp_path / "out" / "ablation.html") in ended.out
    assert "object-box" in ended.out
    again = mitosam(*arguments)
    assert (again.code, "pass --resume" in again.err) == (2, True)


WRONG = {
    "images alone": (["--images", "a.tif"], "--images and --masks go together"),
    "test images alone": (["--test-images", "a.tif"], "--test-images and --test-masks go together"),
    "a voxel size alone": (["--voxel-size", "5,5,5"], "need --images and --masks"),
    "no data at all": ([], "names no data; pass --images and --masks"),
    "a bad budget": (["--budget", "soon"], "--budget needs a time"),
    "an unknown setting": (["--set", "training.epoch=3"], "did you mean training.epochs"),
}


@pytest.mark.parametrize("reason", WRONG)
def test_is_refused_in_one_line(reason, mitosam, data, tmp_path):
    flags, message = WRONG[reason]
    done = mitosam("ablate", data[0] / "own.toml", "--out", tmp_path / "out", *flags)
    assert done.code == 2
    assert message in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_a_study_that_is_not_there_is_named_with_the_shipped_ones(mitosam, tmp_path):
    done = mitosam("ablate", "nowhere", "--out", tmp_path)
    assert done.code == 2
    assert "components, phantom" in done.err
