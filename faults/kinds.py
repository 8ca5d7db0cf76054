"""The faults: what is done to a command at work, or to its files before it is started again."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from faults import kinds_workers
from faults.child import Ended
from faults.trial import Trial

Fault = Callable[[Trial], list[Ended]]


def count_writes(into: Path) -> None:
    """Note in a file how often this process renames, flushes and the like."""
    _at_write(lambda number: into.write_text(str(number)))


def _at_write(act: Callable[[int], object]) -> None:
    """Call `act` with the number of each rename, flush, removal and new folder, before it."""
    count = 0

    def wrap(name: str) -> None:
        real = getattr(os, name)

        def wrapped(*args: Any, **options: Any) -> Any:  # noqa: ANN401
            nonlocal count
            count += 1
            act(count)
            return real(*args, **options)

        setattr(os, name, wrapped)

    for name in ("replace", "rename", "fsync", "unlink", "mkdir"):
        wrap(name)


def kill_at_write(trial: Trial) -> list[Ended]:
    """SIGKILL just before the n-th rename, flush or removal of a file, or new folder."""
    last = trial.rng.randint(1, max(trial.num_writes, 1))
    trial.notes.append(f"before write {last} of {trial.num_writes}")

    def arm() -> None:
        _at_write(lambda n: os.kill(os.getpid(), signal.SIGKILL) if n == last else None)

    return [trial.start(arm).wait()]


def no_large_file(trial: Trial) -> list[Ended]:
    """A quota: no file may grow beyond a size."""
    limit = int(2 ** trial.rng.uniform(6, 15))
    trial.notes.append(f"no file above {limit} bytes")

    def arm() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        # the child's own log is a file too
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)

    return [trial.start(arm).wait()]


def full_disk(trial: Trial) -> list[Ended]:
    """A disk of its own, which is full after some more bytes, or some more files."""
    kept = trial.folder.with_name("kept")
    trial.folder.rename(kept)
    trial.folder.mkdir()
    free = int(trial.num_bytes * trial.rng.uniform(0.0, 0.9))
    trial.notes.append(f"disk full after {free} more bytes")
    mount = ["mount", "-t", "tmpfs", "-o", "size=1g", "tmpfs", str(trial.folder)]
    subprocess.run(mount, check=True)
    try:
        shutil.copytree(kept, trial.folder, dirs_exist_ok=True, symlinks=True)
        used = shutil.disk_usage(trial.folder).used  # in whole pages
        remount = ["mount", "-o", f"remount,size={max(used + free, 4096)}", str(trial.folder)]
        subprocess.run(remount, check=True)
        ended = trial.start().wait()
        shutil.rmtree(kept)
        shutil.copytree(trial.folder, kept, symlinks=True)  # the same files with space again
    finally:
        subprocess.run(["umount", "--lazy", str(trial.folder)], check=True)
        trial.folder.rmdir()
        kept.rename(trial.folder)
    return [ended]


def _damaged(damage: Callable[[Path, Random], str]) -> Fault:
    def disturb(trial: Trial) -> list[Ended]:
        child = trial.start()
        trial.pause(child)
        child.send(signal.SIGKILL)
        ended = child.wait()
        if ended.code == 0:
            trial.notes.append("it had ended")
            return [ended]
        patterns = trial.rng.sample(trial.patterns, len(trial.patterns))
        found = (_files(trial.folder, pattern) for pattern in patterns)
        files = next((files for files in found if files), [])
        if not files:
            trial.notes.append("nothing to damage")
            return [ended]
        path = trial.rng.choice(files)
        trial.notes.append(f"{path.relative_to(trial.folder)} {damage(path, trial.rng)}")
        return [ended]

    return disturb


def _files(folder: Path, pattern: str) -> list[Path]:
    found = (path for path in folder.glob(pattern) if path.is_file() and path.stat().st_size)
    return sorted(path for path in found if ".lock-" not in path.name)


def flip(path: Path, rng: Random) -> str:
    """Another bit somewhere in a file, as from a bad cable."""
    content = bytearray(path.read_bytes())
    place, bit = rng.randrange(len(content)), rng.randrange(8)
    content[place] ^= 1 << bit
    path.write_bytes(content)
    return f"has bit {bit} of byte {place} of {len(content)} flipped"


def truncate(path: Path, rng: Random) -> str:
    """A file that is shorter, as after a power cut."""
    size = path.stat().st_size
    length = rng.randrange(size)
    os.truncate(path, length)
    return f"is cut to {length} of {size} bytes"


def zero(path: Path, rng: Random) -> str:
    """A page of zeros, as after a power cut on another kind of disk."""
    content = bytearray(path.read_bytes())
    first = rng.randrange(len(content)) // 4096 * 4096
    num = len(content[first : first + 4096])
    content[first : first + 4096] = bytes(num)
    path.write_bytes(content)
    return f"has {num} zeros from byte {first} of {len(content)}"


def store_away(trial: Trial) -> list[Ended]:
    """What it writes to goes away for a while, and comes back as it was."""
    child = trial.start()
    trial.pause(child)
    names = [name for name in (trial.out, f".{trial.out}.work", "cache") if name]
    there = [trial.folder / name for name in names if (trial.folder / name).is_dir()]
    if not there:
        trial.notes.append("nothing there")
        return [child.wait()]
    store = trial.rng.choice(there)
    away = store.with_name(f"{store.name}-away")
    store.rename(away)
    child.sleep(trial.rng.uniform(0.05, 0.6))
    child.send(signal.SIGSTOP)
    time.sleep(0.02)
    if child.poll() == 0 and store.is_dir():
        shutil.rmtree(away)  # what it ended with stands there, and is what is judged
        trial.notes.append(f"{store.name}; it ended meanwhile")
        return [child.wait()]
    shutil.rmtree(store, ignore_errors=True)  # what was written meanwhile is lost with it
    away.rename(store)
    child.send(signal.SIGCONT)
    trial.notes.append(store.name)
    return [child.wait()]


def two_processes(trial: Trial) -> list[Ended]:
    """The same command twice, with next to no time or some between them."""
    first = trial.start()
    first.sleep(trial.rng.choice((0.0, 0.02, trial.moment())))
    second = trial.start()
    if trial.rng.random() < 0.4:
        first.sleep(trial.moment())
        first.send(signal.SIGKILL)
        trial.notes.append("the first was killed")
    return [first.wait(), second.wait()]


KINDS: dict[str, Fault] = {
    "SIGKILL": kinds_workers.signalled(signal.SIGKILL),
    "SIGKILL at a write": kill_at_write,
    "SIGTERM": kinds_workers.signalled(signal.SIGTERM),
    "SIGINT": kinds_workers.signalled(signal.SIGINT),
    "file size limit": no_large_file,
    "full disk": full_disk,
    "flipped bit": _damaged(flip),
    "cut file": _damaged(truncate),
    "page of zeros": _damaged(zero),
    "store away": store_away,
    "two processes": two_processes,
    "worker killed": kinds_workers.worker_killed,
    "all workers killed": kinds_workers.all_workers_killed,
    "workers killed again": kinds_workers.workers_killed_again,
    "scheduler killed": kinds_workers.scheduler_killed,
    "scheduler gone": kinds_workers.scheduler_gone,
}
DAMAGES = ("flipped bit", "cut file", "page of zeros")
SIGNALS = ("SIGKILL", "SIGTERM", "SIGINT")
OF_WORKERS = ("worker killed", "all workers killed")
OF_CLUSTERS = (*OF_WORKERS, "workers killed again", "scheduler killed", "scheduler gone")
OF_ONE = tuple(name for name in KINDS if name not in OF_CLUSTERS)
