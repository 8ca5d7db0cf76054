"""Time and memory of training and segmenting against their rivals, side by side in one run.

make bench                                                about 25 minutes on 2 quiet cores
python -m benchmarks.run --quick --only startup           to look at one question
python -m benchmarks.run --images IMAGES --masks MASKS    on real data

A whole run writes docs/results/speed.md and speed.json; a quick or partial one build/speed.md.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import abuse, arithmetic, interactive, job, memory, segment, startup
from benchmarks.fresh import ROOT, Setup
from benchmarks.machine import describe_machine
from benchmarks.page import Findings, to_markdown
from mitosam.storage import write_text

QUESTIONS: dict[str, Callable[[Setup], object]] = {
    "job": job.ask,
    "arithmetic": arithmetic.ask,
    "memory": memory.ask,
    "segment": segment.ask,
    "interactive": interactive.ask,
    "startup": startup.ask,
    "abuse": abuse.ask,
}
# Of the real volume's patches of 256 px, those with mitochondria.
NUM_PATCHES = 1640


def main() -> None:
    asked = _arguments()
    whole = not asked.quick and set(asked.only) == set(QUESTIONS)
    out = asked.out or ROOT / ("docs/results/speed.md" if whole else "build/speed.md")
    for found in _measure(asked):  # written after each question, so that none is lost
        write_text(out, to_markdown(found))
        write_text(out.with_suffix(".json"), json.dumps(asdict(found), indent=2) + "\n")
    print(f"{out} and {out.with_suffix('.json').name}")


def _measure(asked: argparse.Namespace) -> Iterator[Findings]:
    """What is known after each question."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="mitosam-bench-") as folder:
        setup = Setup(
            folder=folder,
            images=str(asked.images.resolve()) if asked.images else None,
            masks=str(asked.masks.resolve()) if asked.masks else None,
            threads=asked.threads,
            quick=asked.quick,
        )
        subject = setup.fresh("subject", images=setup.images, masks=setup.masks, num_patches=None)
        answers: dict[str, Any] = {}
        for name in (name for name in QUESTIONS if name in asked.only):
            answers[name] = _timed(name, setup)
            yield Findings(
                date=time.strftime("%Y-%m-%d"),
                command=_command(asked),
                machine=describe_machine(asked.threads),
                load=load,
                subject=f"{subject['name']}, {' x '.join(map(str, subject['shape_zyx']))}",
                num_patches=NUM_PATCHES,
                **answers,
            )


def _timed(name: str, setup: Setup) -> object:
    started = time.perf_counter()
    print(f"{name} ...", flush=True)
    answer = QUESTIONS[name](setup)
    print(f"{name}: {time.perf_counter() - started:.0f} s", flush=True)
    return answer


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="once, to see that it works")
    parser.add_argument("--only", nargs="+", choices=QUESTIONS, default=list(QUESTIONS))
    parser.add_argument("--images", type=Path, help="instead of the phantom's")
    parser.add_argument("--masks", type=Path, help="of the images")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="default: all cores")
    parser.add_argument("--out", type=Path, help="the page; the JSON stands beside it")
    asked = parser.parse_args()
    if bool(asked.images) != bool(asked.masks):
        parser.error("--images and --masks go together")
    return asked


def _command(asked: argparse.Namespace) -> str:
    """What was typed, with the names of files but not where they lie."""
    words = ["python -m benchmarks.run"]
    words += ["--quick"] if asked.quick else []
    words += ["--only", *asked.only] if len(asked.only) < len(QUESTIONS) else []
    for name in ("images", "masks"):
        path = getattr(asked, name)
        words += [f"--{name}", path.name] if path else []
    return " ".join([*words, f"--threads {asked.threads}"])


if __name__ == "__main__":
    main()
