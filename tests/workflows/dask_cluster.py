"""A Dask cluster of processes of its own, as one would start it on other machines."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOOPBACK = ("--host", "127.0.0.1", "--no-dashboard")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def dask(*words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A `dask` command that runs as long as the block; it is killed, as nothing else is sure."""
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    process = subprocess.Popen(
        [sys.executable, "-m", "dask", *words],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def running_scheduler(port: int) -> Iterator[str]:
    """The address of a scheduler, as yet without workers."""
    with dask("scheduler", *LOOPBACK, "--port", str(port)):
        yield f"tcp://127.0.0.1:{port}"


@contextmanager
def running_worker(address: str, *options: str) -> Iterator[None]:
    """One worker of a scheduler."""
    one = ("--nthreads", "1", "--no-nanny", "--death-timeout", "60")
    with dask("worker", address, *LOOPBACK, *one, *options):
        yield


@contextmanager
def running_cluster(port: int, *worker_options: str) -> Iterator[str]:
    """The address of a scheduler with one worker."""
    with running_scheduler(port) as address, running_worker(address, *worker_options):
        yield address
