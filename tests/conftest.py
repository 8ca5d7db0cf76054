"""What all tests share."""

from __future__ import annotations

import os

import pytest
import torch
from hypothesis import settings

from mitosam.workflows.finetune import finetune
from tests.tiny_runs import short_settings, write_model, write_phantom

# A deadline would time the machine, not the code.
settings.register_profile("mitosam", deadline=None)
settings.load_profile("mitosam")


@pytest.fixture(scope="session", autouse=True)
def embeddings_go_to_a_folder_of_the_tests(tmp_path_factory):
    """Leave the user's own cache alone, also in the commands that tests start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MITOSAM_CACHE", str(tmp_path_factory.mktemp("embeddings")))
        yield


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Small tensors wait longer for a second thread than they would compute alone."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk():
    """Reading back in the same system shows nothing of a flush; each one waits for a busy disk.

    Commands that tests start, and kill, in a process of their own do flush.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", os.fstat)
        yield


@pytest.fixture(scope="session")
def base_model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="session")
def sources(tmp_path_factory):
    return write_phantom(tmp_path_factory.mktemp("phantom"))


@pytest.fixture(scope="session")
def finished(tmp_path_factory, base_model, sources):
    """A whole run; tests read it and write elsewhere."""
    out = tmp_path_factory.mktemp("finished") / "run"
    return finetune(sources, out, short_settings(base_model))
