"""Commands in forked children: a parent that has imported everything starts them in no time."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from mitosam.errors import MitosamError

LOST = 1800.0
"""Seconds after which a command counts as hanging."""
Act = Callable[[], object]
DIE_WITH_PARENT = 1
"""Of prctl(2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a child ended."""

    code: int
    """Its exit code; that of a signal is negative."""
    seconds: float
    said: str
    """The last 4000 characters of what it wrote to the screen."""

    @property
    def is_traceback(self) -> bool:
        """Whether it showed a programmer's error instead of a line for the user."""
        return "Traceback (most recent call last)" in self.said

    @property
    def line(self) -> str:
        """What it refused with."""
        return " ".join(self.said.split())[-600:]


@dataclass(slots=True)
class Child:
    """A command at work."""

    pid: int
    log: Path
    started: float

    def send(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def poll(self) -> int | None:
        """Its exit code, once it has one; it stays to be waited for."""
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        found = os.waitid(os.P_PID, self.pid, flags)
        return None if found is None else found.si_status

    def sleep(self, seconds: float) -> None:
        """Let it work for a while, or to its end."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.poll() is None:
            time.sleep(0.004)

    def wait(self) -> Ended:
        """Wait for its end; one that hangs is killed."""
        self.sleep(LOST)
        hangs = self.poll() is None
        self.send(signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        said = self.log.read_text("utf-8", "replace")[-4000:]
        return Ended(
            code=os.waitstatus_to_exitcode(status),
            seconds=time.monotonic() - self.started,
            said=f"{said}\n(it hung)" if hangs else said,
        )


def end_with_parent() -> None:
    """Have this process killed when the one that forked it ends; Linux alone can do that."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)


def start(act: Act | Sequence[str], log: Path, before: Act = lambda: None) -> Child:
    """A child that runs a function, or a command line of mitosam, after `before`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("")
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if not pid:
        _run(act, log, before)
    return Child(pid, log, time.monotonic())


def _run(act: Act | Sequence[str], log: Path, before: Act) -> NoReturn:
    code = 1
    try:
        end_with_parent()
        handle = os.open(log, os.O_WRONLY | os.O_APPEND)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        before()
        if callable(act):
            act()
        else:
            run_command(act)
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except KeyboardInterrupt:
        code = 130
    except MitosamError as error:
        print(error, file=sys.stderr)
        code = 2
    except BaseException:  # noqa: BLE001  # as Python itself would show it
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def run_command(arguments: Sequence[str]) -> None:
    """A command line of mitosam in this process."""
    from mitosam.cli import main

    sys.argv = ["mitosam", *arguments]
    main()
