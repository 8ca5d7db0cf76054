"""What a terminal shows: progress bars with the time left, tables, and one line for an error."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars

T = TypeVar("T")


class ScreenProgress:
    """Progress bars on a console; without a terminal, one line when a loop ends."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def track(
        self, items: Iterable[T], description: str, *, total: int | None = None, unit: str = "it"
    ) -> Iterator[T]:
        """The items one by one under a bar with the time that is left."""
        if total is None and isinstance(items, Sized):
            total = len(items)
        with self._bars(unit) as bars:
            task = bars.add_task(description, total=total)
            for item in items:
                yield item
                bars.advance(task)
        if not self._console.is_terminal:
            count = "" if total is None else f"{total} "
            self.say(f"{description}: {count}{unit}s done")

    def say(self, message: str) -> None:
        """One line that stays."""
        self._console.print(message, highlight=False, markup=False, soft_wrap=True)

    def _bars(self, unit: str) -> Bars:
        return Bars(
            TextColumn("{task.description:<24}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(f"{unit}s"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )


def show_error(console: Console, message: str) -> None:
    """One line, whatever the message."""
    line = f"error: {' '.join(message.split())}"
    console.print(line, style="red", highlight=False, markup=False, soft_wrap=True)


def show_logs(console: Console, *, verbose: bool, quiet: bool = False) -> None:
    """Send the package's log to the console: warnings, and with `verbose` everything.

    `quiet` is for a process beside which another says the same.
    """
    handler = RichHandler(console=console, show_time=False, show_path=False, markup=False)
    logger = logging.getLogger("mitosam")
    logger.handlers = [logging.NullHandler() if quiet else handler]
    logger.setLevel(logging.INFO if verbose else logging.WARNING)
    logger.propagate = False


def readable_bytes(count: float) -> str:
    """A size in words.

    >>> readable_bytes(3_200_000_000)
    '3.2 GB'
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit in ("B", "kB") else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def readable_time(seconds: float) -> str:
    """A duration in words.

    >>> readable_time(5400)
    '1 h 30 min'
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
