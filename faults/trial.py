"""One command in its folder, and the moment at which something happens to it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from faults.child import Act, Child, start

if TYPE_CHECKING:
    from faults.cluster import Cluster

Command = Act | Sequence[str]
AT_WORK = 0.7
"""The share of moments that follow a sign of its work, where there is one."""
SOON = 0.1
"""How long after it at most, as a share of the command's time."""


class Trial:
    """One command in its folder, and what happens to it."""

    def __init__(
        self,
        folder: Path,
        command: Command,
        rng: Random,
        *,
        seconds: float = 0.0,
        num_writes: int = 0,
        num_bytes: int = 0,
        signs: Sequence[str] = (),
        cluster: Cluster | None = None,
    ) -> None:
        self.folder = folder
        self.command = command
        self.seconds = seconds
        """What it takes undisturbed."""
        self.num_writes = num_writes
        """How often it renames, flushes or removes a file, or makes a folder."""
        self.num_bytes = num_bytes
        """How much more is on the disk at its end."""
        self.signs = signs
        """Patterns of files; there is one once a part of its work has begun."""
        self.cluster = cluster
        self.rng = rng
        self.patterns: tuple[str, ...] = ("**/*",)
        self.out = ""
        self.left = 0
        """Processes that outlived it."""
        self.notes: list[str] = []
        self._logs = 0

    @property
    def logs(self) -> Path:
        """Where its words go, beside what is disturbed."""
        return self.folder.with_name(f"{self.folder.name}-logs")

    def start(self, before: Act = lambda: None) -> Child:
        """The command at work."""
        self._logs += 1
        log = self.logs / f"{self._logs}.txt"

        def enter() -> None:
            os.chdir(self.folder)
            before()

        return start(self.command, log, enter)

    def moment(self) -> float:
        """A time at which it is at work."""
        return self.rng.uniform(0.0, self.seconds)

    def pause(self, child: Child) -> None:
        """Let it come to a moment: any, or more often one at which a part of its work begins."""
        moment = self.moment()
        if self.signs and self.rng.random() < AT_WORK:
            sign = self.rng.choice(self.signs)
            while not self._shows(sign) and child.poll() is None:
                child.sleep(0.01)
            moment *= SOON * self.rng.random()
            self.notes.append(f"{moment:.2f} s after {sign}")
        else:
            self.notes.append(f"at {moment:.2f} s")
        child.sleep(moment)

    def _shows(self, sign: str) -> bool:
        return any(path for folder in (self.folder, self.logs) for path in folder.glob(sign))
