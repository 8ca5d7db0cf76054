"""One command in several processes: which commands may be, and who speaks."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import NoReturn

from mitosam.errors import MitosamError, RankError, SettingsError
from mitosam.ranks import started_count, started_index

SHARED = ("finetune", "train")
"""The commands that several processes can do together."""
GRACE_S = 5.0
"""What a process waits before it reports what another one has said, or knows better.

torchrun ends it meanwhile.
"""


def require_shared(command: str | None) -> None:
    """Raise SettingsError if several processes were started for what is one process's work."""
    if started_count() > 1 and command not in SHARED:
        raise SettingsError(
            f"{started_count()} processes were started, and only mitosam {' and '.join(SHARED)} "
            "share their work; start this command without torchrun"
        )


def leave_interrupts_to_the_first() -> None:
    """Have Ctrl-C, which reaches all processes, end all but the first one without a word."""
    if started_index():
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def end(code: int) -> NoReturn:
    """End this process; among several without taking down what joins them.

    That would wait for a process that is gone.
    """
    if started_count() > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def what_to_say(error: MitosamError) -> str:
    """The message, once it is this process's turn, and the number of the process."""
    number = started_index()
    if number or isinstance(error, RankError):
        time.sleep(GRACE_S)
    return f"process {number + 1} of {started_count()}: {error}" if number else str(error)
