"""What all tests of scoring without prompts share."""

from __future__ import annotations

import shutil

import pytest
import tifffile

from mitosam.workflows.evaluate_automatic import evaluate_automatic
from mitosam.workflows.runs import Run
from tests.automatic_runs import head_settings, train_run
from tests.tiny_runs import write_phantom, write_stacks

CUT = (10, 96, 96)


@pytest.fixture(scope="package")
def volume(tmp_path_factory):
    return write_phantom(tmp_path_factory.mktemp("volume"), shape_zyx=CUT)


@pytest.fixture(scope="package")
def trained(tmp_path_factory, base_model, volume):
    out = tmp_path_factory.mktemp("trained") / "run"
    return train_run(volume, out, head_settings(base_model))


@pytest.fixture(scope="package")
def scored(tmp_path_factory, trained):
    """A run that was scored without prompts; tests read it and write elsewhere."""
    folder = tmp_path_factory.mktemp("scored") / "run"
    shutil.copytree(trained.folder, folder)
    evaluate_automatic(Run.open(folder))
    return Run.open(folder)


@pytest.fixture
def run(tmp_path, scored):
    shutil.copytree(scored.folder, tmp_path / "run")
    return Run.open(tmp_path / "run")


@pytest.fixture(scope="package")
def in_slabs(tmp_path_factory, base_model, volume):
    """A run of binary masks that scores two slabs and has no validation sections."""
    folder = tmp_path_factory.mktemp("slabs")
    masks = tifffile.imread(volume.masks) > 0
    sources = write_stacks(folder / "data", tifffile.imread(volume.images), masks)
    overrides = ('split.validation=""', 'split.test="7,9-10"')
    run = train_run(sources, folder / "run", head_settings(base_model, *overrides))
    evaluate_automatic(run, methods=["head"])
    return run
