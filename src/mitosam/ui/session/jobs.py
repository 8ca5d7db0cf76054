"""Long work in the background: where it is, and how it is stopped."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")
NICENESS = 10
"""Of work in the background: what a user waits for runs about ten times as often."""


class Stopped(Exception):  # noqa: N818 - nothing is wrong
    """Work ends because it was told to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One job as faces show it; `error` is one line."""

    title: str
    done: int
    total: int | None
    """Of what the title names, None where that is not known."""
    running: bool
    eta_s: float | None
    """Seconds until `total` is done."""
    error: str | None


class JobProgress:
    """A `Progress` that another thread reads, and stops the work by.

    `changed` is called from the working thread after each item.
    """

    def __init__(self, changed: Callable[[], None] = lambda: None) -> None:
        self._changed = changed
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._title = "starting"
        self._done = 0
        self._total: int | None = None
        self._started = time.monotonic()

    def stop(self) -> None:
        """Have the work end before its next item."""
        self._stop.set()

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
            The work was told to stop.
        """
        if total is None and isinstance(items, Sized):
            total = len(items)
        self.set(description, 0, total)
        for done, item in enumerate(items):
            if self._stop.is_set():
                raise Stopped
            self.set(description, done, total)
            yield item
        if total is not None:
            self.set(description, total, total)

    def say(self, message: str) -> None:
        """Nothing: faces show numbers."""

    def set(self, title: str, done: int, total: int | None) -> None:
        """Where the work is now."""
        with self._lock:
            if title != self._title or done == 0:
                self._started = time.monotonic()
            self._title, self._done, self._total = title, done, total
        self._changed()

    def work(self, *, running: bool, error: str | None = None) -> Work:
        """What faces show of it."""
        with self._lock:
            return Work(
                title=self._title,
                done=self._done,
                total=self._total,
                running=running,
                eta_s=self._eta_s() if running else None,
                error=error,
            )

    def _eta_s(self) -> float | None:
        if not self._done or self._total is None:
            return None
        return (time.monotonic() - self._started) / self._done * (self._total - self._done)


def step_back() -> None:
    """Let threads that a user waits for go before this one, and before those it starts.

    Linux knows niceness by thread; elsewhere it would hold for the whole process.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
