"""Every family, as it is loaded here and as transformers has it."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import PreTrainedModel

from mitosam.models.load import load_model
from mitosam.models.promptable import Promptable
from tests.models.tiny_families import FAMILIES, write_family


@pytest.fixture(scope="package")
def folders(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("families")


@pytest.fixture(scope="package", params=FAMILIES)
def pair(request, folders) -> tuple[Promptable, PreTrainedModel]:
    """A family as loaded here, and as transformers has it."""
    theirs = write_family(folders / request.param, request.param)
    return load_model(folders / request.param), theirs


@pytest.fixture
def model(pair) -> Promptable:
    """The family as loaded here; tests leave it as it is."""
    return pair[0]
