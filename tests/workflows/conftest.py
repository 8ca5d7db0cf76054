from __future__ import annotations

import pytest

from mitosam.workflows.finetune import finetune
from tests.tiny_runs import short_settings, write_model, write_phantom


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
