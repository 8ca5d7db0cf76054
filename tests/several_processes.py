"""Starts commands in several processes, as torchrun does, and counts what each encodes.

Run by torchrun, it is one of those processes: `several_processes.py COUNTS ARGUMENTS...` does what
`mitosam ARGUMENTS...` does, and adds the number of its encodings to the folder COUNTS.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
# What a busy machine may take; a hang is what must not be.
PATIENCE_S = 600


def run_together(script: Path, *arguments: object, count: int = 2) -> subprocess.CompletedProcess:
    """A script in `count` processes on this machine, each with one thread."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    return run_python(*launcher, script, *arguments)


def run_python(*arguments: object) -> subprocess.CompletedProcess:
    """A fresh Python with the package on its path, and one thread."""
    paths = [str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


def main() -> None:
    from mitosam.cli import main as mitosam
    from mitosam.embeddings import EmbeddingCache

    counts, number, put = Path(sys.argv.pop(1)), 0, EmbeddingCache._put

    def counted(*arguments: object) -> None:
        nonlocal number
        number += 1
        put(*arguments)

    EmbeddingCache._put = counted
    try:
        mitosam()
    finally:
        counts.mkdir(parents=True, exist_ok=True)
        (counts / os.environ.get("RANK", "0")).write_text(str(number))


if __name__ == "__main__":
    main()
