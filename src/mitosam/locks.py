"""One writer at a time in a folder, on any file system, and no lock that outlives its owner.

Whoever wants to write puts a claim beside the folder, a hidden file of its own name, and then looks
for others: it may write if no other claim is alive. As each looks after it has put its own, of two
that come together at least one sees the other, with or without locks of the file system.

A claim says whose it is. It is dead if the file system's lock on it is free (same machine), if its
process has ended (same host), or else, such as on a shared disk, if it gave no sign for
`STALE_AFTER_S`. Dead claims are removed; since each name is used once, no live one is ever removed
in their place.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from mitosam.errors import OutputInUseError

log = logging.getLogger(__name__)

BEAT_S = 20.0
"""How often an owner gives a sign of life: the time at which its claim was last changed."""
STALE_AFTER_S = 300.0
"""Without a sign for so long, an owner on another machine counts as dead."""
LOOK_AGAIN_S = 0.03
MAX_LOOKS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Whose a claim is."""

    host: str
    """The machine's name and, on Linux, in which numbering of processes."""
    boot: str
    """Which start of which kernel; file locks of the same one can be trusted."""
    pid: int
    process_started: float
    since: float
    """When it was put, in seconds; of claims that come together the first wins."""
    is_locked: bool
    """Whether the file system locks it as long as its process lives."""

    def describe(self) -> str:
        """The process, and its host if that is another."""
        return str(self.pid) if self.host == this_host() else f"{self.pid} on {self.host}"


@dataclass(slots=True, kw_only=True)
class Claim:
    """A claim of this process, which gives signs of life until it is released."""

    folder: Path
    path: Path
    owner: Owner
    handle: int
    _ended: threading.Event

    def is_held(self) -> bool:
        """Whether nobody took it for dead, as someone may if this machine slept for long."""
        try:
            return os.path.samestat(self.path.stat(), os.fstat(self.handle))
        except OSError:
            return False

    def release(self) -> None:
        """Let others write."""
        self._ended.set()
        self.path.unlink(missing_ok=True)
        os.close(self.handle)

    def give_signs(self) -> None:
        """Show from now on that the owner lives."""

        def beat() -> None:
            while not self._ended.wait(BEAT_S):
                with contextlib.suppress(OSError):
                    os.utime(self.path)

        threading.Thread(target=beat, name=f"lock of {self.folder.name}", daemon=True).start()


def acquire(folder: Path) -> Claim | None:
    """The right to write to `folder`; None where no claim can be put beside it.

    Raises
    ------
    OutputInUseError
        Another process, or another thread, has it.
    """
    try:
        claim = _put(folder)
    except OSError as error:
        log.info("no lock can be made beside %s (%s)", folder, error.strerror)
        return None
    try:
        _wait_for_later_ones(claim)
    except BaseException:
        claim.release()
        raise
    claim.give_signs()
    return claim


def claims_on(folder: Path) -> list[Path]:
    """All claims on a folder, live and dead."""
    name_of_claim = re.compile(re.escape(f".{folder.name}.lock-") + r"\d+-[0-9a-f]{8}")
    try:
        names = os.listdir(folder.parent)  # noqa: PTH208  # glob would read brackets in names
    except OSError:
        return []
    return [folder.parent / name for name in sorted(names) if name_of_claim.fullmatch(name)]


def why_dead(path: Path, now: float | None = None) -> str | None:
    """What shows that a claim's owner is dead; None if it may be alive.

    `now` is the file system's time; by default this machine's.
    """
    try:
        owner = read_owner(path)
        silent_s = (time.time() if now is None else now) - path.stat().st_mtime
    except FileNotFoundError:
        return "it was released"
    if owner is not None and owner.is_locked and owner.boot == _this_boot():
        return "its process ended" if _is_free(path) else None
    if owner is not None and owner.host == this_host():
        return None if _runs(owner) else "its process ended"
    if silent_s > STALE_AFTER_S:
        return f"it gave no sign for {silent_s / 60:.0f} minutes"
    return None


def read_owner(path: Path) -> Owner | None:
    """Whose a claim is; None if it does not say.

    Raises
    ------
    FileNotFoundError
        It was released.
    """
    try:
        return _owner_of(json.loads(path.read_bytes()))
    except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError):
        return None


def _owner_of(said: dict[str, Any]) -> Owner:
    """What a claim says, which anybody may have written."""
    owner = Owner(
        host=str(said["host"]),
        boot=str(said["boot"]),
        pid=int(said["pid"]),
        process_started=float(said["process_started"]),
        since=float(said["since"]),
        is_locked=bool(said["is_locked"]),
    )
    if not 0 < owner.pid < 2**31:
        raise ValueError(f"no process has the number {owner.pid}")
    return owner


def this_host() -> str:
    """The machine's name and, on Linux, whose numbering of processes: containers have one."""
    with contextlib.suppress(OSError):
        return f"{socket.gethostname()} {os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115
    return socket.gethostname()


def _put(folder: Path) -> Claim:
    """A new claim, which appears complete and locked."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    token = f"{os.getpid()}-{secrets.token_hex(4)}"
    path = folder.with_name(f".{folder.name}.lock-{token}")
    hidden = folder.with_name(f".{folder.name}.part-{token}")
    handle = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        owner = Owner(
            host=this_host(),
            boot=_this_boot(),
            pid=os.getpid(),
            process_started=_start_of(os.getpid()),
            since=time.time(),
            is_locked=_lock(handle),
        )
        os.write(handle, json.dumps(asdict(owner)).encode())
        hidden.rename(path)
    except BaseException:
        os.close(handle)
        hidden.unlink(missing_ok=True)
        raise
    return Claim(folder=folder, path=path, owner=owner, handle=handle, _ended=threading.Event())


def _wait_for_later_ones(claim: Claim) -> None:
    """Return once no other claim is alive: later ones give way to this one, it to earlier ones."""
    for _ in range(MAX_LOOKS):
        rivals = list(_rivals(claim))
        if not rivals:
            return
        if any(_order(path, owner) < _order(claim.path, claim.owner) for path, owner in rivals):
            break
        time.sleep(LOOK_AGAIN_S)
    owner = rivals[0][1]
    raise OutputInUseError(
        f"{claim.folder} is being written by another process "
        f"({owner.describe() if owner else 'unknown'}); wait until that ends, or choose another "
        "folder"
    )


def _order(path: Path, owner: Owner | None) -> tuple[float, str]:
    return (owner.since if owner else 0.0), path.name


def _rivals(claim: Claim) -> Iterator[tuple[Path, Owner | None]]:
    """The other claims that live; dead ones are removed."""
    now = os.fstat(claim.handle).st_mtime  # by the file system's clock
    for path in claims_on(claim.folder):
        if path == claim.path:
            continue
        with contextlib.suppress(FileNotFoundError):
            owner, dead = read_owner(path), why_dead(path, now)
            if dead is None:
                yield path, owner
                continue
            path.unlink()
            whose = owner.describe() if owner else "an unknown process"
            log.info("took over %s from %s: %s", claim.folder, whose, dead)


def _lock(handle: int) -> bool:
    """Lock an open file until it is closed; whether the file system can."""
    try:
        import fcntl
    except ImportError:  # Windows
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # some network file systems
        return False
    return True


def _is_free(path: Path) -> bool:
    """Whether nobody holds the file system's lock on a claim."""
    handle = os.open(path, os.O_RDWR)
    try:
        return _lock(handle)
    finally:
        os.close(handle)


def _runs(owner: Owner) -> bool:
    """Whether the process is the one that put the claim, and not one of the same number."""
    started = _start_of(owner.pid)
    return started > 0 and abs(started - owner.process_started) < 2


def _start_of(pid: int) -> float:
    import psutil

    try:
        return float(psutil.Process(pid).create_time())
    except psutil.AccessDenied:
        return 1.0
    except psutil.Error:
        return 0.0


@lru_cache(1)
def _this_boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        import psutil

        return f"{socket.gethostname()} {psutil.boot_time():.0f}"
