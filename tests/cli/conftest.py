from __future__ import annotations

import logging
import sys
from dataclasses import dataclass

import pytest

from mitosam.cli import main
from mitosam.workflows.finetune import finetune
from tests.tiny_runs import short_settings, write_model, write_phantom


@dataclass(frozen=True)
class Finished:
    """What a command left: its exit code, and what it wrote to both streams."""

    code: int
    out: str
    err: str


@pytest.fixture
def mitosam(monkeypatch, capsys):
    """Run a command as the shell would, in this process, as starting torch takes seconds."""
    logger = logging.getLogger("mitosam")
    before = logger.handlers, logger.level, logger.propagate

    def run(*arguments) -> Finished:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["mitosam", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        streams = capsys.readouterr()
        return Finished(code=ended.value.code or 0, out=streams.out, err=streams.err)

    yield run
    logger.handlers, logger.level, logger.propagate = before


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
    return finetune(sources, out, short_settings(base_model)).run
