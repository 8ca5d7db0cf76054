"""What all tests of training share."""

from __future__ import annotations

import pytest

from tests.training.tiny_trainings import run, weights


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    model, result = run(tmp_path_factory.mktemp("undisturbed"))
    return weights(model, "mask_decoder"), result
