"""How long `mitosam --help` and bare imports take."""

from __future__ import annotations

import subprocess
import sys
import time

from benchmarks.fresh import Setup, environment
from benchmarks.spread import Spread

COMMANDS = {
    "python, nothing imported": "pass",
    "import mitosam": "import mitosam",
    "mitosam --help": "from mitosam.cli import main; main()",
    "import torch": "import torch",
    "import all that training needs": "import mitosam.workflows.train",
}
LIMIT_S = {"mitosam --help": 0.5}
ROUNDS, QUICK_ROUNDS = 5, 2


def ask(setup: Setup) -> dict[str, Spread]:
    """Seconds of a whole process, each in turn, after one round that fills the disk's cache."""
    rounds = 1 + (QUICK_ROUNDS if setup.quick else ROUNDS)
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(rounds):
        for name, code in COMMANDS.items():
            times[name].append(_seconds(code, setup.threads))
    return {name: Spread.of(seconds[1:]) for name, seconds in times.items()}


def _seconds(code: str, threads: int) -> float:
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", code, "--help"],
        stdout=subprocess.DEVNULL,
        env=environment(threads),
        check=True,
    )
    return time.perf_counter() - started
