"""Faults of the processes that share a command's work: its workers, and a cluster's scheduler."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import dask
import psutil

from faults.child import Child, Ended
from faults.trial import Trial

MAX_ROUNDS = 5
ENDS_S = 20.0
"""After which what a killed command left running counts as left for good."""
PATIENCE = {"mitosam.reconnect": "2s"}
"""How long a scheduler is looked for that will not come back, as users may set it."""


def worker_killed(trial: Trial) -> list[Ended]:
    """One worker is killed, and nobody says why."""
    return _killed(trial, 1)


def all_workers_killed(trial: Trial) -> list[Ended]:
    """All at once, as by the kernel where memory ran out."""
    return _killed(trial, 99)


def _killed(trial: Trial, count: int) -> list[Ended]:
    child = trial.start()
    trial.pause(child)
    _kill_workers(trial, child, count)
    ended = child.wait()
    trial.notes.append("a line says so" if "worker ended" in ended.said else "it had no work")
    return [ended]


def _kill_workers(trial: Trial, child: Child, count: int) -> None:
    """Kill them; the cluster's are started again after a while, as a batch system would."""
    if trial.cluster is None:
        killed = processes_of(child)
        trial.rng.shuffle(killed)
        for one in killed[:count]:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        trial.notes.append(f"{len(killed[:count])} of {len(killed)} workers")
        return
    trial.notes.append(f"{trial.cluster.kill_workers(count)} workers")
    child.sleep(trial.rng.uniform(0.0, 1.5))
    trial.cluster.ensure()


def workers_killed_again(trial: Trial) -> list[Ended]:
    """All of them, and those that take their places, too."""
    assert trial.cluster is not None
    child = trial.start()
    trial.pause(child)
    for _ in range(MAX_ROUNDS):
        if child.poll() is not None:
            break
        trial.cluster.kill_workers(99)
        trial.cluster.ensure()
        child.sleep(trial.rng.uniform(0.2, 2.0))
    trial.notes.append("all workers, again and again")
    return [child.wait()]


def scheduler_killed(trial: Trial) -> list[Ended]:
    """It is killed, and started again on its port within the minute that is granted."""
    assert trial.cluster is not None
    child = trial.start()
    trial.pause(child)
    trial.cluster.kill_scheduler()
    trial.cluster.wait_without_scheduler(trial.rng.uniform(0.0, 4.0))
    trial.cluster.ensure()
    ended = child.wait()
    found = "is gone; looking for it" in ended.said
    trial.notes.append("a line says so" if found else "it was not at work with it")
    return [ended]


def scheduler_gone(trial: Trial) -> list[Ended]:
    """It is killed for good, also for the next command."""
    assert trial.cluster is not None
    child = trial.start(lambda: dask.config.set(PATIENCE))
    trial.pause(child)
    trial.cluster.kill_scheduler()
    trial.cluster.wait_without_scheduler(1.0)
    ended = child.wait()
    if ended.code:
        trial.notes.append(f"refused: {ended.line[-160:]}")
    return [ended]


def processes_of(child: Child) -> list[psutil.Process]:
    """The workers that a command started."""
    with suppress(psutil.NoSuchProcess):
        started = psutil.Process(child.pid).children(recursive=True)
        return [one for one in started if _is_worker(one)]
    return []


def _is_worker(process: psutil.Process) -> bool:
    """Python's multiprocessing starts a tracker of resources beside them."""
    with suppress(psutil.NoSuchProcess):
        return any("spawn_main" in word for word in process.cmdline())
    return False


def signalled(number: int) -> Callable[[Trial], list[Ended]]:
    """A signal to the command itself, which must take its workers along."""

    def disturb(trial: Trial) -> list[Ended]:
        child = trial.start()
        trial.pause(child)
        workers = processes_of(child)
        child.send(number)
        ended = child.wait()
        if workers:
            trial.notes.append(f"it had {len(workers)} workers")
        trial.left = _left(workers)
        return [ended]

    return disturb


def _left(workers: list[psutil.Process]) -> int:
    """How many outlive their command; they are ended."""
    _, alive = psutil.wait_procs(workers, timeout=ENDS_S)
    for one in alive:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    return len(alive)
