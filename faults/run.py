"""Disturb each stage at random, start it again, and see that the result is the undisturbed one.

make faults                                        220 faults
python -m faults.run --count 20 --stage train      to look at one stage
python -m faults.run --kind "full disk"            one kind of fault alone
python -m faults.run --minutes 40                  as many as these allow
python -m faults.run --seed 7 --only 31            to see fault 31 of that seed again

Each fault is one line of `faults.jsonl`; a table of all is printed at the end. It exits with 1 if
anything wrong was served as good, a programmer's error was shown, or a stage could not be ended.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random

from faults.advice import copy_needs, follow
from faults.child import Ended, start
from faults.cluster import Cluster
from faults.kinds import DAMAGES, KINDS, count_writes
from faults.page import read_judged, to_markdown
from faults.results import Result
from faults.stages import Stage, stages, write_templates
from faults.trial import Command, Trial

MAX_STARTS = 6
BLOCK_VOXELS = 2**14
"""Of what is measured at once, so that tiny volumes have blocks to share."""
GOOD = ("resumed", "unhurt", "refused, then equal")
WEIGHTS = {
    "encode": 2, "train": 3, "finetune": 1, "segment, workers": 1, "measure, workers": 2,
}  # fmt: skip
"""Of stages of which fewer than 4 of some 40 faults are wanted: those that take long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one fault."""

    number: int
    stage: str
    kind: str
    where: str
    codes: list[int]
    """How the disturbed commands ended."""
    starts: int
    """How often it was started again."""
    advice: list[str]
    """What refusals advised, and was done."""
    verdict: str
    line: str
    """What was said last, where that matters."""
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A stage that nothing disturbed."""

    result: Result
    seconds: float
    num_writes: int
    num_bytes: int


class Harness:
    """Stages in a folder, each first undisturbed, then with faults."""

    def __init__(self, folder: Path, chosen: list[Stage], seed: int) -> None:
        self.templates, self.trial = folder / "templates", folder / "trial"
        self._folder = folder
        self._stages = chosen
        self._seed = seed
        self._references: dict[str, Reference] = {}
        os.environ["MITOSAM_CACHE"] = str(self.trial / "cache")
        self._cluster = Cluster(folder / "cluster", self.trial)

    def close(self) -> None:
        """Leave no process."""
        self._cluster.stop()

    def set_up(self) -> None:
        """Make the volumes and models, and run every stage as it should."""
        self.templates.mkdir()
        ended = start(lambda: write_templates(self.templates), self._folder / "set-up.txt").wait()
        assert ended.code == 0, ended.said
        makers = ("prepare", "encode") if any(one.needs_run for one in self._stages) else ()
        for stage in stages():
            if stage.name not in {*makers, *(one.name for one in self._stages)}:
                continue
            self._references[stage.name] = self._undisturbed(stage)
            keep = {"prepare": ("run>prepared",), "encode": ("cache>cache", "run>trained")}
            for one in keep.get(stage.name, ()):
                source, _, target = one.partition(">")
                shutil.copytree(self.trial / source, self.templates / target)
            known = self._references[stage.name]
            print(f"{stage.name}: {known.seconds:.1f} s, {known.num_writes} writes", flush=True)

    def run(self, count: int, only: int | None) -> Iterator[Outcome]:
        """So many faults, or one of them again."""
        able = [stage for stage in self._stages if any(self._suits(stage, one) for one in KINDS)]
        deck = [stage for stage in able for _ in range(WEIGHTS.get(stage.name, 4))]
        for number in range(count):
            rng = Random(f"{self._seed} {number}")
            stage = rng.choice(deck)
            kind = rng.choice([one for one in KINDS if self._suits(stage, one)])
            if only in (None, number):
                yield self._one(number, stage, kind, rng)

    def _suits(self, stage: Stage, kind: str) -> bool:
        if kind not in stage.kinds or (kind in DAMAGES and not stage.damage):
            return False
        return kind != "SIGKILL at a write" or self._references[stage.name].num_writes > 0

    def _fresh(self, stage: Stage) -> None:
        self._cluster.stop()  # what it may still be at is none of the next fault's
        for path in (self.trial, self.trial.with_name("trial-logs")):
            shutil.rmtree(path, ignore_errors=True)
        self.trial.mkdir()
        self.trial.with_name("trial-logs").mkdir()
        copy_needs(stage, self.templates, self.trial)
        if stage.on_cluster:
            self._cluster.ensure()

    def _command(self, stage: Stage, *, resume: bool = False) -> Command:
        """What is started, told of the cluster that there is now."""
        command = stage.resume if resume else stage.command
        if not stage.on_cluster or callable(command):
            return command
        return (*command, "--scheduler", self._cluster.address)

    def _undisturbed(self, stage: Stage) -> Reference:
        self._fresh(stage)
        counted = self._folder / "writes.txt"
        counted.write_text("0")
        before = _num_bytes(self.trial)
        trial = Trial(self.trial, self._command(stage), Random(0))
        ended = trial.start(lambda: count_writes(counted)).wait()
        assert ended.code == 0, ended.said
        return Reference(
            result=self._result(stage),
            seconds=ended.seconds,
            num_writes=int(counted.read_text()),
            num_bytes=_num_bytes(self.trial) - before,
        )

    def _result(self, stage: Stage) -> Result:
        """What is there, as another process reads it."""
        found = self._folder / "result.json"

        def read() -> None:
            found.write_text(json.dumps(stage.result(self.trial)))

        found.unlink(missing_ok=True)
        ended = start(read, self._folder / "result.txt").wait()
        return json.loads(found.read_text()) if ended.code == 0 else {"unreadable": ended.line}

    def _one(self, number: int, stage: Stage, kind: str, rng: Random) -> Outcome:
        began = time.monotonic()
        self._fresh(stage)
        known = self._references[stage.name]
        trial = Trial(
            self.trial,
            self._command(stage),
            rng,
            seconds=known.seconds * stage.first_share,
            num_writes=known.num_writes,
            num_bytes=known.num_bytes,
            signs=stage.signs,
            cluster=self._cluster if stage.on_cluster else None,
        )
        trial.patterns, trial.out = stage.damage, stage.out
        disturbed = KINDS[kind](trial)
        first = Outcome(
            number=number,
            stage=stage.name,
            kind=kind,
            where="; ".join(trial.notes),
            codes=[ended.code for ended in disturbed],
            starts=0,
            advice=[],
            verdict="",
            line="",
            seconds=0.0,
        )
        judged = self._judge(first, stage, trial, disturbed, known)
        return replace(judged, seconds=round(time.monotonic() - began, 1))

    def _judge(
        self,
        outcome: Outcome,
        stage: Stage,
        trial: Trial,
        disturbed: list[Ended],
        known: Reference,
    ) -> Outcome:
        wrong = next((ended for ended in disturbed if ended.is_traceback), None)
        if wrong is not None:
            return replace(outcome, verdict="traceback", line=wrong.line)
        if trial.left:
            line = f"{trial.left} processes outlived it"
            return replace(outcome, verdict="processes left", line=line)
        if any(ended.code == 0 for ended in disturbed):
            is_equal = self._result(stage) == known.result
            return replace(outcome, verdict="unhurt" if is_equal else "wrong, and said to be good")
        trial.command = self._command(stage, resume=True)
        return self._resumed(outcome, stage, trial, known)

    def _resumed(self, outcome: Outcome, stage: Stage, trial: Trial, known: Reference) -> Outcome:
        advice: list[str] = []
        for starts in range(1, MAX_STARTS + 1):
            ended = trial.start().wait()
            outcome = replace(outcome, starts=starts, advice=advice, line=ended.line)
            if ended.code == 0:
                found = self._result(stage)
                if found != known.result:
                    parts = [
                        k for k in {*found, *known.result} if found.get(k) != known.result.get(k)
                    ]
                    line = f"differs: {sorted(parts)[:5]}; {ended.line}"
                    return replace(outcome, verdict="wrong, and said to be good", line=line)
                verdict = "refused, then equal" if advice else "resumed"
                return replace(outcome, verdict=verdict, line="")
            if ended.is_traceback:
                return replace(outcome, verdict="traceback")
            if self._result(stage) == known.result:  # it had ended, and says that it is there
                return replace(outcome, verdict="resumed", line="")
            done = self._follow(stage, ended.line)
            if done is None:
                return replace(outcome, verdict="refused without advice")
            if done == "began anew":
                trial.command = self._command(stage)
            advice = [*advice, done]
        return replace(outcome, verdict="never ended")

    def _follow(self, stage: Stage, line: str) -> str | None:
        if stage.on_cluster and "cannot be reached" in line:
            self._cluster.ensure()
            return "started the scheduler"
        return follow(stage, self.trial, self.templates, line)


def main() -> None:
    asked = _arguments()
    os.nice(asked.nice)
    _import_everything()
    if not _may_mount():
        KINDS.pop("full disk")
    for kind in KINDS.keys() - set(asked.kind or KINDS):
        KINDS.pop(kind)
    chosen = [stage for stage in stages() if stage.name in asked.stage] if asked.stage else stages()
    found: list[Outcome] = []
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="mitosam-faults-") as folder,
        asked.out.open("w") as log,
        closing(Harness(Path(folder), chosen, asked.seed)) as harness,
    ):
        harness.set_up()
        ends = time.monotonic() + 60 * asked.minutes
        for outcome in harness.run(asked.count, asked.only):
            found.append(outcome)
            log.write(json.dumps(asdict(outcome)) + "\n")
            log.flush()
            is_good = outcome.verdict in GOOD
            print(
                f"{outcome.number:4d} {outcome.stage:9s} {outcome.kind:19s} {outcome.verdict:20s} "
                f"{outcome.where} {outcome.advice or ''} {'' if is_good else outcome.line}",
                flush=True,
            )
            if time.monotonic() > ends:
                break
    print(to_markdown(read_judged(json.dumps(asdict(one))) for one in found))
    sys.exit(any(outcome.verdict not in GOOD for outcome in found))


def _num_bytes(folder: Path) -> int:
    """What a folder takes in pages of 4 kB."""
    sizes = (path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return sum(-(-size // 4096) * 4096 for size in sizes)


def _import_everything() -> None:
    """What commands import when they are asked for; no thread may be started before a fork."""
    import importlib

    import torch

    torch.set_num_threads(1)
    for name in ("finetune", "segment", "measure", "evaluate_automatic", "info", "workers_local"):
        importlib.import_module(f"mitosam.workflows.{name}")
    for name in ("monai.losses", "monai.metrics", "zarr", "zarr.codecs", "tifffile", "matplotlib",
                 "matplotlib.figure", "mitosam.cli.show", "transformers.models.sam.modeling_sam",
                 "mitosam.ui.session.store", "tests.tiny_runs", "tests.tiny_segmenter",
                 "mitosam.ui.browser.serve", "mitosam.ui.session.opening", "faults.tab",
                 "distributed.cli.dask_scheduler", "distributed.cli.dask_worker",
                 "google_crc32c", "skimage.segmentation", "skimage.measure"):  # fmt: skip
        importlib.import_module(name)
    from mitosam.morphometry import block_grid
    from mitosam.reporting.turntable import render_turntable

    # Pictures are no part of what is compared, and take longer than all else together.
    block_grid.MAX_BLOCK_VOXELS = BLOCK_VOXELS
    render_turntable.__kwdefaults__.update(num_frames=2, width_px=64)


def _may_mount() -> bool:
    """Whether a small disk can be mounted, which root may do."""
    with tempfile.TemporaryDirectory() as folder:
        mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder]
        if os.getuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
            return False
        subprocess.run(["umount", folder], check=True)
    return True


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=220)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int)
    parser.add_argument("--stage", nargs="*", default=[])
    parser.add_argument("--kind", nargs="*", default=[], choices=KINDS)
    parser.add_argument("--minutes", type=float, default=1e6, help="stop after these")
    parser.add_argument("--nice", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path("build/faults.jsonl"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
