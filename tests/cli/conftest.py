from __future__ import annotations

import logging
import sys
from dataclasses import dataclass

import pytest

from mitosam.cli import main
from tests.cli.bad_input import Place


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
def finished(finished):
    """The run itself, which commands name."""
    return finished.run


@pytest.fixture
def place(tmp_path, sources, base_model, finished):
    return Place(folder=tmp_path, sources=sources, model=base_model, run=finished)
