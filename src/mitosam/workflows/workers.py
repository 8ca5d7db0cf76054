"""Where work on many items runs: in this process, in several of this machine, on a Dask cluster.

A `Task` says what to do with each item, and `open_workers` gives what does it. Items are done in
any order, and an item whose worker was killed is done again elsewhere, so doing one twice must come
to the same as doing it once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from mitosam.errors import SettingsError
from mitosam.progress import SILENT, Progress
from mitosam.workflows.worker_process import Prepared

Item = TypeVar("Item")
Result = TypeVar("Result")

SCHEMES = ("tcp://", "tls://")


@dataclass(frozen=True, slots=True)
class Task(Generic[Item, Result]):
    """What is done with each item: what `prepare()` gives, once in each worker, is called with it.

    It travels with every item, so `prepare` names the files it needs rather than carrying what is
    in them, and can be pickled: a function of a module, `functools.partial` of one, or a dataclass
    with `__call__`.
    """

    identity: str
    """What `prepare()` gives depends on this alone; a worker keeps the few that it used last."""
    prepare: Callable[[], Callable[[Item], Result]]


class Workers(Protocol):
    """What does a task's items, one at a time in each worker."""

    @property
    def num_workers(self) -> int:
        """How many there are now, at least 1."""
        ...

    def run(
        self,
        task: Task[Item, Result],
        items: Sequence[Item],
        *,
        title: str,
        unit: str,
        progress: Progress,
    ) -> Iterator[tuple[Item, Result]]:
        """Items with their results in the order they finish.

        An error of the package arrives as itself, and the items after it are left alone. In this
        process others do, too; from other processes they come as one line.

        Raises
        ------
        MitosamError
            The first one of an item.
        WorkersError
            An item failed otherwise, or ended its worker three times; or the scheduler is gone.
        """
        ...


@contextmanager
def open_workers(
    num_workers: int = 1, scheduler: str | None = None, *, progress: Progress = SILENT
) -> Iterator[Workers]:
    """Workers for as long as the block lasts: this process, some of their own, or a cluster's.

    Parameters
    ----------
    num_workers
        1 is this process; more are as many processes of this machine, which divide its cores.
    scheduler
        Address of a running Dask scheduler, as tcp://host:8786 or tls://host:8786, whose workers
        are used instead. mitosam must be installed there in the same version.

    Raises
    ------
    SettingsError
        The number or the address cannot be used, or both were given.
    WorkersError
        The scheduler cannot be reached, or its workers have another version of mitosam.
    """
    _check(num_workers, scheduler)
    if scheduler is not None:
        from mitosam.workflows.workers_dask import connected_to

        with connected_to(scheduler, progress=progress) as workers:
            yield workers
    elif num_workers > 1:
        from mitosam.workflows.workers_local import local_processes

        with local_processes(num_workers, progress=progress) as workers:
            yield workers
    else:
        yield InProcess()


def _check(num_workers: int, scheduler: str | None) -> None:
    if num_workers < 1:
        raise SettingsError(f"workers must be at least 1, got {num_workers}")
    if scheduler is None:
        return
    if not scheduler.startswith(SCHEMES):
        raise SettingsError(
            f"scheduler must be the address of a Dask scheduler, as tcp://host:8786 or "
            f"tls://host:8786, got {scheduler!r}"
        )
    if num_workers != 1:
        raise SettingsError(
            f"a scheduler has the workers it has; give either workers={num_workers} or "
            f"scheduler={scheduler}, not both"
        )


class InProcess:
    """The one worker that this process is."""

    num_workers = 1

    def __init__(self) -> None:
        self._prepared = Prepared()

    def run(
        self,
        task: Task[Item, Result],
        items: Sequence[Item],
        *,
        title: str,
        unit: str,
        progress: Progress,
    ) -> Iterator[tuple[Item, Result]]:
        """Items with their results, in their own order."""
        for item in progress.track(items, title, total=len(items), unit=unit):
            yield item, self._prepared.function(task)(item)
