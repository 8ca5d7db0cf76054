"""A whole run in two processes beside the same run in one, and that one once more."""

import json

import numpy as np
import pytest
import tifffile
from safetensors.torch import load_file

from tests import several_processes
from tests.several_processes import run_python, run_together
from tests.tiny_runs import SHORT, rows_of

SETTINGS = (
    *SHORT,
    "training.min_steps=2",
    "training.validations=1",
    "training.batch_tiles=4",
    "training.max_validation_prompts=16",
    "head.enabled=true",
    "head.rival=none",
    "head.steps=2",
    "head.crop_px=32",
    "head.width=4",
)
WITHOUT_EFFECT = "k_proj.bias"  # see training/test_several_processes.py


def finetune(folder, name, base_model, sources, patch, *, processes):
    """The run of that name, made by fresh processes with a cache of their own."""
    patch.setenv("MITOSAM_CACHE", str(folder / f"{name}-cache"))
    # So that nothing in the files tells when they were made.
    patch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    overrides = [
        word for text in (f"model.name={base_model}", *SETTINGS) for word in ("--set", text)
    ]
    arguments = [
        *(folder / f"{name}-counts", "finetune", sources.images, sources.masks),
        *("--out", folder / name, *overrides),
    ]
    script = several_processes.__file__
    start = run_together if processes > 1 else run_python
    done = start(script, *arguments)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def runs(tmp_path_factory, base_model, sources):
    folder = tmp_path_factory.mktemp("processes")
    with pytest.MonkeyPatch.context() as patch:
        outputs = {
            name: finetune(folder, name, base_model, sources, patch, processes=processes)
            for name, processes in (("one", 1), ("again", 1), ("two", 2))
        }
    return folder, outputs


def test_two_processes_give_the_curves_and_weights_of_one(runs):
    folder, _ = runs
    for name in ("training.csv", "head_training.csv"):
        for one, two in zip(
            rows_of(folder / "one" / name), rows_of(folder / "two" / name), strict=True
        ):
            for column in ("loss", "learning_rate", "step"):
                assert float(two[column]) == pytest.approx(float(one[column]), abs=1e-5)
            for column in ("validation_dice", "validation_iou"):  # a pixel at the threshold
                assert float(two[column]) == pytest.approx(float(one[column]), abs=1e-3)
    one, two = (load_file(folder / name / "model.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        tolerance = 1e-3 if name.endswith(WITHOUT_EFFECT) else 1e-5
        assert (tensor.float() - two[name].float()).abs().max() < tolerance, name
    assert json.loads((folder / "two" / "run.json").read_text())["processes"] == 2


def test_no_tile_is_encoded_twice(runs):
    folder, _ = runs
    counts = {
        name: [int(path.read_text()) for path in sorted((folder / f"{name}-counts").iterdir())]
        for name in ("one", "two")
    }
    cached = [
        len(list((folder / f"{name}-cache").rglob("*.safetensors"))) for name in ("one", "two")
    ]
    assert cached[0] == cached[1] == sum(counts["one"]) == sum(counts["two"])
    first, second = counts["two"]
    assert min(first, second) > 0.3 * cached[0]


def test_two_processes_leave_the_files_of_one_and_speak_once(runs):
    folder, outputs = runs
    names = {
        name: sorted(path.relative_to(folder / name) for path in (folder / name).rglob("*"))
        for name in ("one", "two")
    }
    assert names["one"] == names["two"]
    assert outputs["two"].stdout.count("finished in") == 1
    assert outputs["two"].stderr.count("training: 2 steps done") == 1


def test_two_fresh_processes_give_the_same_bytes_and_the_same_labels(runs):
    folder, _ = runs
    one, again = folder / "one", folder / "again"
    for name in ("model.safetensors", "scores.csv", "automatic.csv"):
        assert (one / name).read_bytes() == (again / name).read_bytes(), name
    labels = sorted(path.relative_to(one) for path in one.rglob("labels.tif"))
    assert len(labels) == 2
    for name in labels:  # the files differ in a number that OME-TIFF draws for each
        assert np.array_equal(tifffile.imread(one / name), tifffile.imread(again / name)), name


def test_a_second_run_into_the_same_folder_is_refused_by_all_with_one_line(
    runs, base_model, sources
):
    folder, _ = runs
    done = run_together(
        several_processes.__file__, folder / "none", "finetune", sources.images, sources.masks,
        "--out", folder / "two", "--set", f"model.name={base_model}",
    )  # fmt: skip
    assert done.returncode != 0
    assert done.stderr.count("error: ") == 1
    assert "holds a run already" in done.stderr
