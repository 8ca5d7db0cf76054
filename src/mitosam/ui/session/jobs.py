"""What goes on in the background: one job of each kind at a time."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar

from mitosam.errors import MitosamError, SettingsError
from mitosam.progress import SilentProgress
from mitosam.ui.session.snapshot import JobKind, JobState

T = TypeVar("T")
log = logging.getLogger(__name__)
NICENESS = 10
"""Of threads in the background: what a user waits for runs about ten times as often."""


class Work:
    """A running job's side of it: it reports how much is done, and asks whether to stop."""

    def __init__(self, report: Callable[[int, int, str], None] = lambda *_: None) -> None:
        self._report = report
        self._stop = threading.Event()

    def report(self, done: int, total: int, stage: str = "") -> None:
        """Say that `done` of `total` steps of a stage are done; a `total` of 0 is unknown."""
        self._report(done, total, stage)

    def stop(self) -> None:
        """Ask the job to end soon."""
        self._stop.set()

    def stopped(self) -> bool:
        """Whether the job was asked to end."""
        return self._stop.is_set()


class Stopped(Exception):  # noqa: N818  # nothing is wrong
    """Work ends because it was told to."""


class WorkProgress(SilentProgress):
    """A workflow's progress as that of a job, which ends with `Stopped` where it is to stop."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def track(
        self,
        items: Iterable[T],
        description: str,
        *,
        total: int | None = None,
        unit: str = "it",  # noqa: ARG002
    ) -> Iterator[T]:
        """The items one by one.

        Raises
        ------
        Stopped
            The job is to stop.
        """
        total = len(items) if total is None and isinstance(items, Sized) else total or 0
        for done, item in enumerate(items):
            if self._work.stopped():
                raise Stopped
            self._work.report(done, total, description)
            yield item
        self._work.report(total, total, description)


def step_back() -> None:
    """Let threads that a user waits for go before this one, and before those it starts.

    Linux knows niceness by thread; elsewhere it would hold for the whole process.
    """
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


class Jobs:
    """Jobs in threads of their own, and how far they are; `changed` is called when that changes."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._states: dict[JobKind, JobState] = {}
        self._started: dict[JobKind, tuple[Work, threading.Thread]] = {}
        self._stage_began: dict[JobKind, float] = {}
        self._lock = threading.Lock()

    def states(self) -> tuple[JobState, ...]:
        """Each kind's running job, or else its last."""
        with self._lock:
            return tuple(self._states.values())

    def start(self, kind: JobKind, title: str, run: Callable[[Work], None]) -> None:
        """Run a job in a thread. What it raises is shown, an error of ours in one line.

        Raises
        ------
        SettingsError
            One of this kind is running.
        """
        with self._lock:
            if kind in self._states and self._states[kind].running:
                raise SettingsError(f"{self._states[kind].title} goes on still; wait, or stop it")
            work = Work(lambda done, total, stage: self._report(kind, done, total, stage))
            self._stage_began[kind] = time.monotonic()
            thread = threading.Thread(
                target=self._run, args=(kind, work, run), name=title, daemon=True
            )
            self._states[kind] = JobState(kind=kind, title=title)
            self._started[kind] = (work, thread)
        thread.start()
        self._changed()

    def stop(self, kind: JobKind) -> None:
        """Ask a job to end; nothing if there is none."""
        with self._lock:
            started = self._started.get(kind)
        if started is not None:
            started[0].stop()

    def wait(self, kind: JobKind, timeout_s: float | None = None) -> bool:
        """Wait for a job's end; whether there is none running now."""
        with self._lock:
            started = self._started.get(kind)
        if started is None:
            return True
        started[1].join(timeout_s)
        return not started[1].is_alive()

    def close(self) -> None:
        """Stop all jobs and wait for them."""
        with self._lock:
            kinds = list(self._started)
        for kind in kinds:
            self.stop(kind)
        for kind in kinds:
            self.wait(kind)

    def _run(self, kind: JobKind, work: Work, run: Callable[[Work], None]) -> None:
        error = None
        step_back()
        try:
            run(work)
        except Stopped:
            log.info("%s was stopped", kind)
        except MitosamError as found:
            error = str(found)
        except Exception as found:  # a thread's error would end unseen
            log.exception("%s failed", kind)
            error = f"{type(found).__name__}: {found}"
        with self._lock:
            state = self._states[kind]
            self._states[kind] = replace(state, running=False, error=error, eta_s=None)
        self._changed()

    def _report(self, kind: JobKind, done: int, total: int, stage: str) -> None:
        now = time.monotonic()
        with self._lock:
            state = self._states[kind]
            if stage != state.stage:
                self._stage_began[kind] = now
            seconds = now - self._stage_began[kind]
            eta_s = seconds / done * (total - done) if done and total else None
            self._states[kind] = replace(
                state, stage=stage, done=done, total=total or None, eta_s=eta_s
            )
        self._changed()
