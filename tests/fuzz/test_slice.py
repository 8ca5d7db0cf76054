"""A short part of what `make fuzz` does for long: the same files in every run of the tests."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest

from tests.fuzz.engine import ROOT, fuzz
from tests.fuzz.formats import FORMATS

CASES, CASES_OF_SLOW = 6, 2
SLOW, DEAR = 15, 2  # shares of formats that take long, and whose imports alone do
PATIENCE_S = 60.0  # a busy machine is no hang


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from Linux's /proc")
def test_damaged_files_of_all_but_dear_formats_are_read_or_refused_within_bounds():
    cases = {
        name: range(CASES if found.share > SLOW else CASES_OF_SLOW)
        for name, found in FORMATS.items()
        if found.share > DEAR
    }
    tally = None
    for tally in fuzz(cases.items(), PATIENCE_S):
        assert not tally.findings
    assert tally.count == sum(map(len, cases.values()))
    assert all(counts["read"] for counts in tally.outcomes.values())
    assert sum(counts["refused"] for counts in tally.outcomes.values()) > tally.count / 4


@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None,
    reason="fuzzes by coverage, on Linux; pip install atheris",
)
@pytest.mark.parametrize("target", ["prompts csv", "settings toml"])
def test_coverage_guided_fuzzing_finds_nothing_in_a_moment(target, tmp_path):
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.guided", target, "-runs=300", "-seed=1"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
