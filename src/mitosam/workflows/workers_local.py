"""Worker processes of this machine, which live as long as the process that started them."""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context, resource_tracker
from multiprocessing.process import BaseProcess
from threading import Event, Thread
from typing import Any

import dask
from dask.system import CPU_COUNT
from distributed import LocalCluster

from mitosam.errors import WorkersError
from mitosam.progress import Progress
from mitosam.workflows.worker_process import serve
from mitosam.workflows.workers_dask import DaskWorkers, open_client

log = logging.getLogger(__name__)

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
CONFIG = {
    # Which item is to blame is counted by what each worker was at (workers_flight), and sooner.
    "distributed.scheduler.allowed-failures": 10,
    # One item in a worker and the next ones with the scheduler, wherever it can tell.
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.worker.profile.enabled": False,
}
POLL_S = 0.1
START_S = 180.0
MAX_FAILED_STARTS = 3


@contextmanager
def local_processes(num_workers: int, *, progress: Progress) -> Iterator[DaskWorkers]:
    """As many worker processes, reached over the loopback interface alone.

    They have no limit of memory each: Dask's would pause a worker for good whose model and block
    together pass it.

    Raises
    ------
    WorkersError
        They do not start.
    """
    with (
        _environment(threads_each(num_workers)),
        tempfile.TemporaryDirectory(prefix="mitosam-workers-") as folder,
        dask.config.set(_config()),
        _scheduler() as cluster,
    ):
        if has_dashboard():
            progress.say(f"dashboard: {cluster.dashboard_link}")
        address = cluster.scheduler_address
        with (
            _Processes(num_workers, address, folder) as processes,
            open_client(address, cluster.security, progress) as workers,
        ):
            workers.check = processes.check
            _wait_for(workers, num_workers)
            yield workers


@contextmanager
def _scheduler() -> Iterator[LocalCluster]:
    """Dask's scheduler, in a thread of this process and as yet without workers."""
    cluster = LocalCluster(
        n_workers=0,
        threads_per_worker=1,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",  # none without Bokeh
        silence_logs=logging.CRITICAL + 1,  # what matters of it is said in our own words
    )
    try:
        yield cluster
    finally:
        cluster.close()


def _wait_for(workers: DaskWorkers, num_workers: int) -> None:
    ends = time.monotonic() + START_S
    while workers.counted() < num_workers:
        workers.check()
        if time.monotonic() > ends:
            raise WorkersError(f"{num_workers} worker processes did not start in {START_S:.0f} s")
        time.sleep(POLL_S)


class _Processes:
    """Worker processes, of which one that ends is followed by another.

    Dask has its own such guards, which lose a worker that is killed while it starts.
    """

    def __init__(self, num_workers: int, address: str, folder: str) -> None:
        self._arguments = (address, folder, os.getpid(), _config())
        self._places: list[BaseProcess | None] = [None] * num_workers
        self._failed_starts = 0
        self._ended = Event()
        self._thread = Thread(target=self._watch, name="worker processes", daemon=True)

    def __enter__(self) -> _Processes:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        for process in filter(None, self._places):
            process.kill()  # all that they write is whole or not there
            process.join()
            process.close()

    def check(self) -> None:
        """Raise a WorkersError if new processes end by themselves."""
        if self._failed_starts >= MAX_FAILED_STARTS:
            raise WorkersError(
                "worker processes end as soon as they start; in a script, open the workers below "
                'if __name__ == "__main__", as each process imports it anew'
            )

    def _watch(self) -> None:
        if hasattr(signal, "pthread_sigmask"):
            # Ctrl-C is for this process alone; new ones inherit what is blocked in this thread,
            # which the tracker that Python starts with the first of them would undo.
            resource_tracker.ensure_running()
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        while not self._ended.is_set() and self._failed_starts < MAX_FAILED_STARTS:
            for place, process in enumerate(self._places):
                if process is None or not process.is_alive():
                    self._places[place] = self._follow(process)
            self._ended.wait(POLL_S)

    def _follow(self, process: BaseProcess | None) -> BaseProcess:
        """A new process in the place of one that ended, or of none."""
        if process is not None:
            log.info("worker process %s ended with code %s", process.pid, process.exitcode)
            self._failed_starts = self._failed_starts + 1 if process.exitcode == 1 else 0
            process.close()
        new = get_context("spawn").Process(
            target=serve, args=self._arguments, daemon=True, name="mitosam-worker"
        )
        new.start()
        return new


def _config() -> dict[str, Any]:
    """Dask's settings for our own workers; without the dashboard there are no pages at all."""
    pages: dict[str, list[str]] = {"distributed.worker.http.routes": []}
    if not has_dashboard():
        pages["distributed.scheduler.http.routes"] = []
    return {**CONFIG, **pages}


def has_dashboard() -> bool:
    """Whether Bokeh, which Dask draws its dashboard with, is installed."""
    return importlib.util.find_spec("bokeh") is not None


def threads_each(num_workers: int, num_threads: int | None = None) -> int:
    """The cores of this machine divided among workers, or as many as OMP_NUM_THREADS allows.

    >>> threads_each(4, 16), threads_each(4, 2)
    (4, 1)
    """
    allowed = os.environ.get("OMP_NUM_THREADS", "")
    total = num_threads or min(CPU_COUNT, int(allowed) if allowed.isdigit() else CPU_COUNT)
    return max(1, total // num_workers)


@contextmanager
def _environment(num_threads: int) -> Iterator[None]:
    """A block in which new processes compute with so many threads."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(num_threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
