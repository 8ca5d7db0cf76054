"""The command `segment`: what it says, and each bad input as one line and exit code 2."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from mitosam.io.open import open_volume
from tests.tiny_runs import contents
from tests.tiny_segmenter import write_tuned

GRID = ("--method", "grid", "--set", "grid.points_per_side=1", "--set", "model.precision=fp32")


@pytest.fixture
def stack(tmp_path):
    path = tmp_path / "em.tif"
    grey = np.random.default_rng(0).integers(0, 256, (1, 40, 50)).astype(np.uint8)
    tifffile.imwrite(path, grey, photometric="minisblack")
    return path


@pytest.fixture
def tuned(tmp_path, base_model):
    return write_tuned(tmp_path / "model.safetensors", base_model)


def refused(finished, message):
    assert finished.code == 2
    assert "Traceback" not in finished.err
    lines = " ".join(finished.err.split())
    assert message in lines, lines
    return True


def test_a_base_model_segments_by_a_grid_that_the_command_sets(
    mitosam, tmp_path, stack, base_model
):
    out = tmp_path / "out"
    done = mitosam("segment", stack, "--model", base_model, "--out", out, *GRID)
    assert done.code == 0, done.err
    assert (out / "mitochondria.csv").is_file()
    assert "no voxel size" in " ".join(done.err.split())
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ((), "has no prompt-free head, which method 'head' needs"),
        (("--method", "magic"), "method must be auto, head, prompted, grid, got 'magic'"),
        (("--set", "grid.points_per_side=0"), "grid.points_per_side"),
        (("--voxel-size", "5,5"), "--voxel-size needs three numbers"),
    ],
)
def test_what_cannot_be_done_with_a_base_model_is_said(
    mitosam, tmp_path, stack, base_model, more, message
):
    done = mitosam("segment", stack, "--model", base_model, "--out", tmp_path / "out", *more)
    assert refused(done, message)
    assert [path.name for path in tmp_path.iterdir()] == ["em.tif"]


def bad_volumes(folder, stack):
    data = stack.read_bytes()
    (folder / "cut.tif").write_bytes(data[: len(data) // 2])
    (folder / "text.tif").write_text("no image " * 9)
    grey = np.full((2, 30, 30), 7.0, np.float32)
    grey[1, 3, 3] = np.nan
    tifffile.imwrite(folder / "nan.tif", grey, photometric="minisblack")
    tifffile.imwrite(folder / "mask.tif", np.eye(30) > 0, photometric="minisblack")
    (folder / "empty").mkdir()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.tif", "does not exist"),
        ("cut.tif", "copy it again"),
        ("text.tif", "text.tif"),
        ("nan.tif", "NaN or infinite"),
        ("mask.tif", "looks like a mask"),
        ("empty", "holds no image"),
    ],
)
def test_a_bad_volume_is_one_line_and_leaves_nothing(
    mitosam, tmp_path, stack, tuned, name, message
):
    bad_volumes(tmp_path, stack)
    before = contents(tmp_path)
    done = mitosam("segment", tmp_path / name, "--model", tuned, "--out", tmp_path / "out")
    assert refused(done, message)
    assert contents(tmp_path) == before


def test_a_result_is_not_written_over(mitosam, tmp_path, stack, tuned):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("x")
    before = contents(tmp_path)
    done = mitosam("segment", stack, "--model", tuned, "--out", tmp_path / "out")
    assert refused(done, "exists already; choose another --out")
    assert contents(tmp_path) == before


def test_voxel_sizes_that_contradict_each_other_are_both_named(mitosam, tmp_path, sources, tuned):
    given = ("--voxel-size", "30,8,8", "--out", tmp_path / "out")
    done = mitosam("segment", sources.images, "--model", tuned, *given)
    assert refused(done, "10 x 10 x 10 nm (z, y, x) and --voxel-size says 30 x 8 x 8 nm")


def test_a_result_is_sent_to_a_url_and_sent_again_after_it_was_cut_off(
    mitosam, tmp_path, stack, base_model, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    command = ("segment", stack, "--model", base_model, "--out", "memory://bucket/sent", *GRID)
    done = mitosam(*command)
    assert done.code == 0, done.err
    assert done.out.splitlines()[-1] == "memory://bucket/sent"
    there = open_volume("memory://bucket/sent/labels.ome.zarr")
    assert there.shape_zyx == (1, 40, 50)
    assert (tmp_path / "sent" / "report.html").is_file()
    again = mitosam(*command)
    assert "sent is finished; sending it" in again.err
    assert again.code == 2  # it is whole there already
    assert "holds something else already" in " ".join(again.err.split())
