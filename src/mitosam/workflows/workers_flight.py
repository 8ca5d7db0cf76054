"""One run of many items over Dask's workers: what is out, what came of it, what is next."""

from __future__ import annotations

import logging
import queue
import uuid
from asyncio import CancelledError
from collections import Counter, deque
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from distributed import Client, Future, KilledWorker

from mitosam.errors import WorkersError
from mitosam.workflows.worker_process import Broken, Done, Order, Outcome, Refused, perform

if TYPE_CHECKING:
    from mitosam.workflows.workers import Task
    from mitosam.workflows.workers_dask import DaskWorkers

log = logging.getLogger(__name__)

ITEMS_PER_WORKER = 2
"""How many are out at once: the one that a worker is at, and the next."""
MAX_DEATHS = 3
POLL_S = 1.0
MAX_ITEM_LETTERS = 120


@dataclass(frozen=True, slots=True)
class Began:
    """A worker is at an item."""

    key: str
    worker: str


@dataclass(frozen=True, slots=True)
class Gone:
    """A worker ended unasked, and these were with it."""

    worker: str
    keys: frozenset[str]


@dataclass(frozen=True, slots=True)
class Landed:
    """What became of an item, or why Dask cannot say."""

    key: str
    outcome: Outcome | None
    error: BaseException | None


@dataclass(slots=True)
class _Out:
    """An item that is out, and the worker that began it."""

    index: int
    future: Future
    client: Client
    worker: str | None = None


class Flight:
    """The items of one run; `news` is written by the client's threads and read by one alone."""

    def __init__(
        self, workers: DaskWorkers, task: Task[Any, Any], items: Sequence[Any], title: str
    ) -> None:
        self.news: queue.SimpleQueue[Began | Gone | Landed] = queue.SimpleQueue()
        self._workers = workers
        self._task = task
        self._items = items
        self._title = title
        self._next = iter(range(len(items)))
        self._again: deque[int] = deque()
        self._out: dict[str, _Out] = {}
        self._deaths: Counter[int] = Counter()

    def results(self) -> Generator[tuple[Any, Any], None, None]:
        """Items with their results as they come; what is out is given up if this ends early."""
        try:
            while self._hand_out():
                match self._wait():
                    case Began(key, worker) if key in self._out:
                        self._out[key].worker = worker
                    case Gone(worker, keys):
                        self._count_deaths(worker, keys)
                    case Landed(key, outcome, error) if key in self._out:
                        if outcome is not None:
                            item = self._items[self._out.pop(key).index]
                            yield item, self._opened(outcome, item)
                        elif error is not None:
                            self._explain(key, error)
        finally:
            for out in self._out.values():
                out.future.release()

    def _hand_out(self) -> bool:
        """Keep every worker busy; whether anything is out."""
        room = ITEMS_PER_WORKER * self._workers.num_workers
        while len(self._out) < room:
            index = self._again.popleft() if self._again else next(self._next, None)
            if index is None:
                break
            self._submit(index)
        return bool(self._out)

    def _submit(self, index: int) -> None:
        key = f"{self._title}-{uuid.uuid4().hex}"
        client = self._workers.client
        order = Order(key=key, task=self._task, item=self._items[index])
        future = client.submit(perform, order, key=key, pure=False)
        self._out[key] = _Out(index, future, client)
        client.loop.add_callback(self._follow, key, future, client)

    async def _follow(self, key: str, future: Future, client: Client) -> None:
        """In the client's thread: wait for an item, also for one that went with its worker."""
        try:
            outcome = await client.gather(future, asynchronous=True)
        except (Exception, CancelledError) as error:  # noqa: BLE001  # explained by whoever waits
            self.news.put(Landed(key, None, error))
        else:
            self.news.put(Landed(key, outcome, None))

    def _wait(self) -> Began | Gone | Landed:
        while True:  # a wait without end cannot be interrupted on Windows
            try:
                return self.news.get(timeout=POLL_S)
            except queue.Empty:
                self._workers.check()
                self._workers.tell_if_alone()

    def _opened(self, outcome: Outcome, item: object) -> object:
        match outcome:
            case Done(result):
                return result
            case Refused(error):
                raise error
            case Broken(line, trace):
                log.info("%s: %s failed:\n%s", self._title, _short(item), trace)
                raise WorkersError(f"{self._title}: {_short(item)} failed in a worker: {line}")

    def _explain(self, key: str, error: BaseException) -> None:
        """Put items back that a lost scheduler forgot, or that went with workers they did not end.

        Raises
        ------
        WorkersError
            It was anything else.
        """
        out = self._out[key]
        if out.future.status != "error":
            self._start_again(out.client)
            return
        if isinstance(error, KilledWorker) and self._deaths[out.index] < MAX_DEATHS:
            self._put_back([key])
            return
        line = " ".join(str(error).split())
        raise WorkersError(
            f"{self._title}: {_short(self._items[out.index])} failed in a worker: "
            f"{type(error).__name__}: {line}"
        ) from error

    def _count_deaths(self, worker: str, keys: frozenset[str]) -> None:
        """Blame what the worker was at; all that it had, if it did not come to tell."""
        ours = [key for key in keys if key in self._out]
        blamed = [key for key in ours if self._out[key].worker == worker] or ours
        if ours:
            log.warning("a worker ended (%s); what it was at is done again", worker)
        for index in {self._out[key].index for key in blamed}:
            self._deaths[index] += 1
            if self._deaths[index] >= MAX_DEATHS:
                raise WorkersError(
                    f"{self._title}: {_short(self._items[index])} ended its worker {MAX_DEATHS} "
                    "times; most often memory ran out: use fewer workers or smaller blocks"
                )

    def _start_again(self, lost: Client) -> None:
        """After a lost connection: everything that went out over it."""
        self._workers.reconnect(lost)
        self._put_back([key for key, out in self._out.items() if out.client is lost])

    def _put_back(self, keys: Iterable[str]) -> None:
        for key in keys:
            out = self._out.pop(key)
            out.future.release()
            self._again.append(out.index)


def _short(item: object) -> str:
    """An item in one line."""
    text = " ".join(repr(item).split())
    return text if len(text) <= MAX_ITEM_LETTERS else f"{text[: MAX_ITEM_LETTERS - 1]}…"
