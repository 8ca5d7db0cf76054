"""What all tests share."""

from __future__ import annotations

import os

import pytest
import torch
from hypothesis import settings

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
