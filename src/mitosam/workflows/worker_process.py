"""What runs inside a worker process: a function that is prepared once, then called item by item."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from mitosam import __version__
from mitosam.errors import MitosamError, WorkersError

if TYPE_CHECKING:
    from mitosam.workflows.workers import Task

Item = TypeVar("Item")
Result = TypeVar("Result")

NUM_KEPT = 3
PARENT_S = 0.5
TOPIC = "mitosam"
"""Of the events in which workers tell what they have begun."""


class Prepared:
    """The functions that this process prepared, the few that were used last."""

    def __init__(self, num_kept: int = NUM_KEPT) -> None:
        self._num_kept = num_kept
        self._functions: OrderedDict[str, Callable[[Any], Any]] = OrderedDict()

    def function(self, task: Task[Item, Result]) -> Callable[[Item], Result]:
        """The task's function; what is not kept any more is prepared again."""
        if task.identity not in self._functions:
            while len(self._functions) >= self._num_kept:
                self._functions.popitem(last=False)  # before the next one needs its memory
            self._functions[task.identity] = task.prepare()
        self._functions.move_to_end(task.identity)
        return self._functions[task.identity]

    def clear(self) -> None:
        """Keep none."""
        self._functions.clear()


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One item on its way to a worker."""

    key: str
    task: Task[Any, Any]
    item: object
    version: str = __version__


@dataclass(frozen=True, slots=True)
class Done:
    """An item's result."""

    result: object


@dataclass(frozen=True, slots=True)
class Refused:
    """An error that tells a user what to change."""

    error: MitosamError


@dataclass(frozen=True, slots=True)
class Broken:
    """Any other error: in one line, and where it came from."""

    line: str
    trace: str


Outcome = Done | Refused | Broken

_PREPARED = Prepared()
# A worker may have several threads; a model, and the memory for it, is there once.
_ONE_AT_A_TIME = threading.Lock()


def perform(order: Order) -> Outcome:
    """What became of an item; errors are sent rather than raised, so that Dask prints none."""
    if order.version != __version__:
        return Refused(WorkersError(describe_versions({__version__}, order.version)))
    with _ONE_AT_A_TIME:
        _tell_of(order)
        try:
            return Done(_PREPARED.function(order.task)(order.item))
        except MitosamError as error:
            return Refused(error)
        except Exception as error:  # noqa: BLE001  # the process that asked is told
            line = f"{type(error).__name__}: {' '.join(str(error).split())}"
            return Broken(line.rstrip(": "), traceback.format_exc())


def _tell_of(order: Order) -> None:
    """Let whoever asked know what this worker is at, for the case that it does not survive it."""
    from distributed import get_worker

    worker = get_worker()
    worker.log_event(TOPIC, {"key": order.key, "worker": worker.address})


def describe_versions(found: set[str], wanted: str) -> str:
    """What is wrong with workers of these versions."""
    return (
        f"the workers must run mitosam {wanted} as this process does, got "
        f"{', '.join(sorted(found))}; install the same version for both and start the workers anew"
    )


def installed_version() -> str:
    """The version of mitosam that a worker runs."""
    return __version__


def forget() -> None:
    """Free what was prepared, unless it is in use."""
    if _ONE_AT_A_TIME.acquire(blocking=False):  # Dask calls this where no one may wait
        try:
            _PREPARED.clear()
        finally:
            _ONE_AT_A_TIME.release()


def serve(address: str, folder: str, parent: int, config: dict[str, Any]) -> None:
    """Be a worker of this machine until the scheduler, or the process that has it, is gone."""
    import dask

    threading.Thread(target=_end_with_parent, args=(parent,), daemon=True).start()
    dask.config.set(config)
    asyncio.run(_work(address, folder))
    os._exit(0)  # nobody waits for what a thread may still be at


async def _work(address: str, folder: str) -> None:
    from distributed import Worker

    async with Worker(
        address,
        nthreads=1,
        host="127.0.0.1",
        memory_limit=0,
        local_directory=folder,
        dashboard=False,
        silence_logs=logging.CRITICAL + 1,
    ) as worker:
        await worker.finished()


def _end_with_parent(parent: int) -> None:
    """A killed parent cannot end its children."""
    while os.getppid() == parent:
        time.sleep(PARENT_S)
    os._exit(1)
