"""A short slice of `make faults`: the cheap stages, each with a fault of several kinds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from faults.advice import follow
from faults.kinds import flip, truncate, zero
from faults.page import Judged, counted, to_markdown
from faults.stages import stages

ROOT = Path(__file__).parents[2]


def test_disturbed_commands_end_at_the_undisturbed_result(tmp_path):
    out = tmp_path / "faults.jsonl"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "faults.run", "--count", "14", "--seed", "3", "--nice", "0"),
            *("--out", str(out), "--stage", "prepare", "measure", "session"),
            *("serve", "measure, cluster"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    outcomes = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(outcomes) == 14
    assert len({one["kind"] for one in outcomes}) > 3
    assert "| what came of it | faults |" in done.stdout


class Third:
    """Chance that always takes the same."""

    def randrange(self, stop):
        return stop // 3


def test_each_damage_changes_a_file(tmp_path):
    path = tmp_path / "a"
    content = bytes(range(1, 250))
    for damage, length in ((flip, 249), (truncate, 83), (zero, 249)):
        path.write_bytes(content)
        assert damage(path, Third())
        assert path.read_bytes() != content
        assert len(path.read_bytes()) == length


def test_advice_is_followed_as_it_stands_in_the_line(tmp_path):
    stage = next(one for one in stages() if one.name == "train")
    (tmp_path / "run").mkdir()
    for name in ("checkpoint.safetensors", "checkpoint.previous.safetensors"):
        (tmp_path / "run" / name).write_bytes(b"x")
    line = (
        "error: run/checkpoint.previous.safetensors is damaged (its checksum does not fit); remove "
        "checkpoint.safetensors and checkpoint.previous.safetensors to train anew"
    )
    assert follow(stage, tmp_path, tmp_path, line).startswith("removed")
    assert list((tmp_path / "run").iterdir()) == []
    assert follow(stage, tmp_path, tmp_path, "error: something else") is None
    waited = "run is being written by another process (12); wait until that ends"
    assert follow(stage, tmp_path, tmp_path, waited) == "waited"


def judged(**values) -> Judged:
    usual = {"stage": "train", "kind": "SIGKILL", "verdict": "resumed", "where": "", "codes": [-9]}
    return Judged(**usual | values)


def test_the_table_counts_by_stage_kind_and_verdict():
    assert to_markdown([judged(), judged()]).splitlines() == [
        "| fault | train | all |",
        "| --- | ---: | ---: |",
        "| SIGKILL | 2 | 2 |",
        "| all | 2 | 2 |",
        "",
        "| what came of it | faults |",
        "| --- | ---: |",
        "| resumed | 2 |",
    ]


def test_a_fault_that_came_too_late_is_none_unless_the_result_is_wrong():
    late = judged(kind="cut file", verdict="unhurt", codes=[0])
    nobody = judged(kind="worker killed", verdict="unhurt", where="0 of 0 workers", codes=[0])
    wrong = judged(kind="SIGINT", verdict="wrong, and said to be good", codes=[0])
    assert counted([late, nobody, wrong]) == [wrong]
    [kill] = counted([judged(kind="cut file", where="nothing to damage")])
    assert kill.kind == "SIGKILL"
