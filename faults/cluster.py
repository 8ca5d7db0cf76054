"""A Dask cluster of forked processes, whose scheduler and workers can be killed and started."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path

from faults.child import Child, start

NUM_WORKERS = 2
LOOPBACK = ("--host", "127.0.0.1", "--no-dashboard")
WORKER = ("--nthreads", "1", "--memory-limit", "0", "--no-nanny", "--death-timeout", "60")
LISTENS_S = 60.0


class Cluster:
    """A scheduler and workers on one port of this machine, which stand in the command's folder."""

    def __init__(self, logs: Path, stands_in: Path) -> None:
        logs.mkdir()
        self._logs, self._stands_in = logs, stands_in
        self._port = _free_port()
        self._scheduler: Child | None = None
        self._workers: list[Child] = []

    @property
    def address(self) -> str:
        """What commands are told."""
        return f"tcp://127.0.0.1:{self._port}"

    def ensure(self) -> None:
        """Start what does not run."""
        if self._scheduler is None:
            self._scheduler = self._start("scheduler", "--port", str(self._port))
            self._wait_for_port()
        self._workers = [one for one in self._workers if not _reaped(one)]
        while len(self._workers) < NUM_WORKERS:
            self._workers.append(self._start("worker", self.address, *WORKER))

    def kill_workers(self, count: int) -> int:
        """Kill so many of those that run; how many that were."""
        running = [one for one in self._workers if one.poll() is None]
        for one in running[:count]:
            one.send(signal.SIGKILL)
            os.waitpid(one.pid, 0)
            self._workers.remove(one)
        return len(running[:count])

    def kill_scheduler(self) -> None:
        """Kill it; its workers end by themselves, but are not waited for."""
        if self._scheduler is not None:
            self._scheduler.send(signal.SIGKILL)
            os.waitpid(self._scheduler.pid, 0)
            self._scheduler = None

    def stop(self) -> None:
        """Kill all, as nothing of the next fault may come from this one."""
        self.kill_scheduler()
        self.kill_workers(NUM_WORKERS)
        self._workers = [one for one in self._workers if not _reaped(one)]

    def wait_without_scheduler(self, seconds: float) -> None:
        """Give workers the time to see that it is gone; those that see it end."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends and any(one.poll() is None for one in self._workers):
            time.sleep(0.02)
        self.kill_workers(NUM_WORKERS)

    def _start(self, *words: str) -> Child:
        def act() -> None:
            from distributed.cli.dask_scheduler import main as scheduler
            from distributed.cli.dask_worker import main as worker

            os.chdir(self._stands_in)
            kind, *more = words
            if kind == "scheduler":
                scheduler([*more, *LOOPBACK])
            worker([*more, *LOOPBACK, "--local-directory", str(self._logs)])

        return start(act, self._logs / f"{words[0]}-{time.monotonic_ns()}.txt")

    def _wait_for_port(self) -> None:
        ends = time.monotonic() + LISTENS_S
        while time.monotonic() < ends:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self._port)) == 0:
                    return
            time.sleep(0.02)
        raise TimeoutError(f"no scheduler listens on port {self._port}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _reaped(child: Child) -> bool:
    """Whether it has ended; then nothing is left of it."""
    if child.poll() is None:
        return False
    os.waitpid(child.pid, 0)
    return True
