"""How segmenting grows: with the volume's size, with workers, and what blocks cost.

python -m benchmarks.scale            about a quarter of an hour on 2 cores, a round
python -m benchmarks.scale --quick    to see that it works

A whole run writes docs/results/scale.md and scale.json; a quick one build/scale.md.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.fresh import ROOT, Setup
from benchmarks.machine import describe_machine
from benchmarks.scale_page import to_markdown
from benchmarks.scale_runs import Found, Growth, Run, Sharing
from benchmarks.scale_subject import volume_name
from benchmarks.spread import Spread
from mitosam.storage import write_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """Volumes of so many cells along each side, and how often each is segmented."""

    growth: tuple[int, ...]
    sharing: int
    rounds: int
    bounded_gb: float = 2.0
    roomy_gb: float = 16.0


FULL = Effort(growth=(1, 2, 3), sharing=2, rounds=1)
QUICK = Effort(growth=(1,), sharing=1, rounds=1)


def main() -> None:
    asked = _arguments()
    effort = QUICK if asked.quick else replace(FULL, rounds=asked.rounds)
    out = asked.out or ROOT / ("build/scale.md" if asked.quick else "docs/results/scale.md")
    how = "--quick" if asked.quick else f"--rounds {asked.rounds}"
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="mitosam-scale-", dir=asked.folder) as folder:
        setup = Setup(
            folder=folder, images=None, masks=None, threads=asked.threads, quick=asked.quick
        )
        growth = ask_growth(setup, effort)
        found = Found(
            date=time.strftime("%Y-%m-%d"),
            command=f"python -m benchmarks.scale {how}",
            machine=describe_machine(asked.threads),
            load=load,
            threads=asked.threads,
            growth=growth,
            sharing=ask_sharing(setup, effort, growth[effort.growth.index(effort.sharing)]),
        )
    write_text(out, to_markdown(found))
    write_text(out.with_suffix(".json"), json.dumps(asdict(found), indent=2) + "\n")
    print(f"{out} and {out.with_suffix('.json').name}")


def ask_growth(setup: Setup, effort: Effort) -> list[Growth]:
    """One process, bounded memory, larger and larger volumes."""
    return [
        Growth(
            gigavoxels=_subject(setup, cells),
            run=_run(setup, cells, 1, effort.bounded_gb, effort.rounds),
        )
        for cells in effort.growth
    ]


def ask_sharing(setup: Setup, effort: Effort, blocks: Growth) -> Sharing:
    """One volume that was segmented by blocks: in one piece, on one thread, by two workers."""
    alone = Setup(**{**asdict(setup), "threads": 1})
    rounds = effort.rounds
    return Sharing(
        gigavoxels=blocks.gigavoxels,
        roomy=_run(setup, effort.sharing, 1, effort.roomy_gb, rounds),
        blocks=blocks.run,
        one_thread=_run(alone, effort.sharing, 1, effort.bounded_gb, rounds),
        two_workers=_run(setup, effort.sharing, 2, effort.bounded_gb, rounds),
        bounded_gb=effort.bounded_gb,
        roomy_gb=effort.roomy_gb,
    )


def _subject(setup: Setup, cells: int) -> float:
    return float(setup.fresh("scale_subject", cells=cells)["gigavoxels"])


def _run(setup: Setup, cells: int, num_workers: int, memory_gb: float, rounds: int) -> Run:
    answers: list[dict[str, Any]] = []
    for _ in range(rounds):
        started = time.perf_counter()
        answers.append(
            setup.fresh(
                "scaling",
                volume=volume_name(cells),
                num_workers=num_workers,
                memory_gb=memory_gb,
            )
        )
        took = time.perf_counter() - started
        print(f"{cells}² cells, {num_workers} workers, {memory_gb:g} GB: {took:.0f} s", flush=True)
    names = answers[0]["stages_s"]
    return Run(
        seconds=Spread.of([one["seconds"] for one in answers]),
        cpu_s=Spread.of([one["cpu_s"] for one in answers]),
        stages_s={n: Spread.of([one["stages_s"][n] for one in answers]).median for n in names},
        peak_bytes=max(max(one["peak_bytes"], one["worker_peak_bytes"]) for one in answers),
        num_instances=answers[0]["num_instances"],
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="once, to see that it works")
    parser.add_argument("--rounds", type=int, default=FULL.rounds, help="how often each is run")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="default: all cores")
    parser.add_argument("--folder", type=Path, help="where volumes and results lie for the while")
    parser.add_argument("--out", type=Path, help="the page; the JSON stands beside it")
    return parser.parse_args()


if __name__ == "__main__":
    main()
