"""Cases by the thousand, in a worker that may die: what it did not answer is a finding too."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIMIT_S = 10.0
CLEANING_S = 5.0
START_S = 900.0
"""The first case of a format waits for imports and for its honest files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is neither a file read nor an error of ours."""

    format: str
    number: int
    what: str


@dataclass(slots=True)
class Tally:
    """What came of the cases of all formats."""

    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    most_bytes: dict[str, int] = field(default_factory=dict)
    most_seconds: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, number: int, answer: dict[str, object]) -> None:
        """Take in one case."""
        self.outcomes.setdefault(name, Counter())[str(answer["outcome"])] += 1
        self.most_bytes[name] = max(self.most_bytes.get(name, 0), int(answer["bytes"]))
        self.most_seconds[name] = max(self.most_seconds.get(name, 0.0), float(answer["seconds"]))
        if answer["outcome"] == "finding":
            self.findings.append(Finding(format=name, number=number, what=str(answer["what"])))

    @property
    def count(self) -> int:
        """All cases so far."""
        return sum(sum(counts.values()) for counts in self.outcomes.values())


class Worker:
    """A process that opens one damaged file after the other, made anew when it dies."""

    def __init__(self, limit_s: float = LIMIT_S) -> None:
        self._limit_s = limit_s
        self._process: subprocess.Popen[bytes] | None = None
        self._known: set[str] = set()
        self._came = b""

    def ask(self, name: str, numbers: range) -> Iterator[tuple[int, dict[str, object]]]:
        """What came of each case: `read`, `refused`, or `finding` with what it was.

        They are asked for at once, so that two processes need not wait for each other in turn.
        """
        while numbers:
            process = self._process = self._process or self._start()
            assert process.stdin is not None
            process.stdin.write(f"{name} {numbers.start} {numbers.stop}\n".encode())
            process.stdin.flush()
            if name not in self._known and not self._line(START_S):
                raise RuntimeError(f"the honest file of {name} cannot be opened")
            self._known.add(name)
            while numbers and (line := self._line(self._limit_s)):
                yield numbers.start, json.loads(line)
                numbers = numbers[1:]
            if numbers:
                yield numbers.start, self._lost(process)
                numbers = numbers[1:]

    def _lost(self, process: subprocess.Popen[bytes]) -> dict[str, object]:
        """A case that was not answered: the process died, or takes too long."""
        ended = process.poll() is not None or _ended(process)
        code = process.returncode
        self.stop()
        what = f"crash: exit code {code}" if ended else f"hang: over {self._limit_s:g} s"
        return {"outcome": "finding", "what": what, "bytes": 0, "seconds": self._limit_s}

    def _line(self, patience_s: float) -> str:
        """The next line of the worker, empty if it ends or takes too long."""
        assert self._process is not None
        assert self._process.stdout is not None
        until = time.monotonic() + patience_s
        while b"\n" not in self._came:
            left = max(0.0, until - time.monotonic())
            ready, _, _ = select.select([self._process.stdout], [], [], left)
            part = os.read(self._process.stdout.fileno(), 1 << 16) if ready else b""
            if not part:
                return ""
            self._came += part
        line, _, self._came = self._came.partition(b"\n")
        return line.decode()

    def stop(self) -> None:
        """End the process, if there is one; one that waits for more removes its folder itself."""
        if self._process is not None:
            assert self._process.stdin is not None
            with suppress(BrokenPipeError):
                self._process.stdin.close()
            if not _ended(self._process, CLEANING_S):
                self._process.kill()
                self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with suppress(BrokenPipeError):
                        pipe.close()
            self._process = None
            self._known.clear()
            self._came = b""

    @staticmethod
    def _start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.worker"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )


def _ended(process: subprocess.Popen[bytes], patience_s: float = 0.5) -> bool:
    """Whether it ends by itself within a moment, so that its own exit code is seen."""
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        return False
    return True


def fuzz(cases: Iterable[tuple[str, range]], limit_s: float = LIMIT_S) -> Iterator[Tally]:
    """The tally so far, after each range of cases; case 0 of a format is its honest file."""
    tally, worker = Tally(), Worker(limit_s)
    try:
        for name, numbers in cases:
            for number, answer in worker.ask(name, numbers):
                tally.add(name, number, answer)
            yield tally
    finally:
        worker.stop()
