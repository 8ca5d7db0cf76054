"""Each measurement in a process of its own, so that its peak memory is its own.

The process that asks stays small: Linux counts a child's peak from its parent's memory on.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mitosam.workflows.peak_memory import peak_bytes

ROOT = Path(__file__).parents[1]
# Set by users who tune the allocator from outside; the naive recipe must not profit from it.
ALLOCATOR_VARIABLES = ("GLIBC_TUNABLES", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What all questions share: the folder with the subject, its sources, threads, haste."""

    folder: str
    images: str | None
    masks: str | None
    threads: int
    quick: bool

    def fresh(self, script: str, **question: object) -> dict[str, Any]:
        """What a script answers on this setup's subject."""
        return fresh(script, threads=self.threads, folder=self.folder, **question)


def fresh(script: str, *, threads: int, **question: object) -> dict[str, Any]:
    """What `benchmarks.<script>` answers in a new process, with its `peak_bytes`."""
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{script}", json.dumps(question)],
        capture_output=True,
        text=True,
        env=environment(threads),
    )
    if done.returncode:
        raise SystemExit(f"benchmarks.{script} failed:\n{done.stderr}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def reply(measure: Callable[..., dict[str, Any]]) -> None:
    """In the new process: answer the question on the command line."""
    answer = measure(**json.loads(sys.argv[1]))
    print(json.dumps({**answer, "peak_bytes": peak_bytes()}))


def environment(threads: int) -> dict[str, str]:
    """The present one, with the package beside this folder and a number of threads."""
    kept = {name: text for name, text in os.environ.items() if name not in ALLOCATOR_VARIABLES}
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    return {**kept, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": path.rstrip(os.pathsep)}
