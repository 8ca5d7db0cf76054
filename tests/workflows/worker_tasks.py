"""What the tests of workers have them do: tasks that can be sent to another process."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mitosam.errors import InputError
from mitosam.workflows.workers import Task


@dataclass(frozen=True)
class Times:
    """Each number times another, with a file for each preparation and each beginning."""

    factor: int
    folder: Path
    seconds: float = 0.0

    def __call__(self) -> Callable[[int], int]:
        note(self.folder, f"prepared-{os.getpid()}")
        return self.compute

    def compute(self, number: int) -> int:
        note(self.folder, f"began-{os.getpid()}-{number}")
        time.sleep(self.seconds)
        return number * self.factor

    def task(self, identity: str = "times") -> Task[int, int]:
        return Task(f"{identity} {self.factor} {self.folder}", self)


def note(folder: Path, name: str) -> None:
    """One more file whose name begins so."""
    (folder / f"{name}-{time.monotonic_ns()}").touch()


def notes(folder: Path, kind: str) -> list[list[str]]:
    """The words of each note of a kind: its process first."""
    return [path.name.split("-")[1:-1] for path in sorted(folder.glob(f"{kind}-*"))]


def refuse(number: int) -> int:
    if number == 3:
        raise InputError("number 3 cannot be used; leave it out")
    return number


def divide(number: int) -> float:
    return 12 / (number - 3)


def fall_at_three(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def process_of(_: int) -> int:
    time.sleep(0.05)
    return os.getpid()


def threads_of(_: int) -> tuple[str, bool]:
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    return os.environ["OMP_NUM_THREADS"], signal.SIGINT in blocked


def give(function: Callable[[int], object]) -> Callable[[int], object]:
    return function
