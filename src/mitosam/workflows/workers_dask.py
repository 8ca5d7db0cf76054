"""The workers of a Dask scheduler, and a connection to it that may be lost and found again."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from typing import Any, TypeVar

import dask
from dask.utils import parse_timedelta
from distributed import Client, Security
from distributed.client import ClosedClientError
from distributed.utils import silence_logging_cmgr

from mitosam import __version__
from mitosam.errors import WorkersError
from mitosam.progress import Progress
from mitosam.workflows.worker_process import TOPIC, describe_versions, forget, installed_version
from mitosam.workflows.workers import Task
from mitosam.workflows.workers_flight import Began, Flight, Gone

log = logging.getLogger(__name__)
# Dask prints a traceback for each connection that is cut, which can come after all is closed.
logging.getLogger("distributed.batched").setLevel(logging.WARNING)

Item = TypeVar("Item")
Result = TypeVar("Result")

RECONNECT = "mitosam.reconnect"
"""How long a lost scheduler is looked for, among Dask's settings."""
EVERYTHING = "all"  # Dask's own events, those of lost workers among them
RECONNECT_S = 60.0
CONNECT_S = 10.0
RECOUNT_S = 2.0
LONELY_S = 60.0
"""Without any worker for so long, whoever waits is told."""
LOST_ERRORS = (OSError, ValueError, RuntimeError, ClosedClientError)


@contextmanager
def connected_to(address: str, *, progress: Progress) -> Iterator[DaskWorkers]:
    """The workers of a running cluster.

    Raises
    ------
    WorkersError
        It cannot be reached, or runs another version of mitosam.
    """
    with _quiet(), open_client(address, None, progress) as workers:
        progress.say(f"dashboard: {workers.client.dashboard_link}")
        workers.check_versions()
        if not workers.counted():
            progress.say(f"{address} has no workers yet; waiting for the first")
        try:
            yield workers
        finally:
            workers.forget()


@contextmanager
def open_client(
    address: str, security: Security | None, progress: Progress
) -> Iterator[DaskWorkers]:
    """The workers behind a scheduler, which is let go at the end."""
    workers = DaskWorkers(address, security, progress)
    try:
        yield workers
    finally:
        workers.close()


def _security_for(address: str, given: Security | None) -> Security:
    """The certificates, checked before a client is made: one that they stop does not end well."""
    security = given or Security()
    encrypted = address.startswith("tls://")
    if encrypted and security.get_connection_args("client")["ssl_context"] is None:
        raise WorkersError(
            f"{address} needs certificates, and Dask's configuration names none under "
            "distributed.comm.tls; docs/cluster.md says how"
        )
    if security.require_encryption and not encrypted:
        raise WorkersError(
            f"Dask's configuration requires encryption, and {address} has none; use tls://"
        )
    return security


def _quiet() -> AbstractContextManager[None]:
    """A block in which Dask's own log is not shown: what matters of it is said in our words."""
    quiet: AbstractContextManager[None] = silence_logging_cmgr(level=logging.CRITICAL + 1)
    return quiet


class DaskWorkers:
    """Workers that a scheduler knows, and the connection to it."""

    def __init__(self, address: str, security: Security | None, progress: Progress) -> None:
        self.address = address
        self._security = security
        self._progress = progress
        self.check: Callable[[], None] = lambda: None
        """Raises what keeps workers from starting, where that can be known."""
        self._flights: list[Flight] = []
        self._num_workers = 0
        self._counted_at = -RECOUNT_S
        self._alone_since: float | None = None
        self.client = self._connect(CONNECT_S)

    @property
    def num_workers(self) -> int:
        """How many there are now, at least 1; asked again after a while."""
        return max(1, self._recounted())

    def _recounted(self) -> int:
        if time.monotonic() - self._counted_at >= RECOUNT_S:
            with suppress(*LOST_ERRORS):
                self._num_workers = self.counted()
            self._counted_at = time.monotonic()
        return self._num_workers

    def tell_if_alone(self) -> None:
        """Say once that there has been no worker for a while; work goes on when one comes."""
        if self._recounted():
            self._alone_since = None
        elif self._alone_since is None:
            self._alone_since = time.monotonic()
        elif time.monotonic() - self._alone_since >= LONELY_S:
            self._alone_since = math.inf
            self._progress.say(
                f"no workers are left at {self.address}; waiting for new ones (Ctrl-C stops, and "
                "what is done is kept)"
            )

    def counted(self) -> int:
        """How many there are; there may be none yet."""
        return int(self.client.scheduler_info(n_workers=0)["n_workers"])

    def check_versions(self) -> None:
        """Raise a WorkersError unless all workers that are there run this version."""
        try:
            answers = self.client.run(installed_version, on_error="return").values()
        except LOST_ERRORS as error:
            raise WorkersError(
                f"the scheduler at {self.address} went away; once it runs again, run the same "
                "command again"
            ) from error
        there = [one for one in answers if not isinstance(one, OSError)]  # others just ended
        found = {one if isinstance(one, str) else "none" for one in there}
        if found - {__version__}:
            raise WorkersError(describe_versions(found - {__version__}, __version__))

    def run(
        self,
        task: Task[Item, Result],
        items: Sequence[Item],
        *,
        title: str,
        unit: str,
        progress: Progress,
    ) -> Iterator[tuple[Item, Result]]:
        """Items with their results in the order they finish."""
        flight = Flight(self, task, items, title)
        self._flights.append(flight)
        try:
            with closing(flight.results()) as results:
                yield from progress.track(results, title, total=len(items), unit=unit)
        finally:
            self._flights.remove(flight)

    def reconnect(self, lost: Client) -> None:
        """Have a new connection in place of one that was lost, unless there is one already.

        Raises
        ------
        WorkersError
            There was none for as long as the setting says.
        """
        if lost is not self.client:
            return
        patience_s = parse_timedelta(dask.config.get(RECONNECT, RECONNECT_S))
        log.warning("lost the scheduler at %s", self.address)
        self._progress.say(
            f"the scheduler at {self.address} is gone; looking for it for {patience_s:.0f} s"
        )
        self.close()
        ends = time.monotonic() + patience_s
        while True:
            try:
                self.client = self._connect(max(1.0, min(CONNECT_S, ends - time.monotonic())))
            except WorkersError as error:
                if time.monotonic() < ends:
                    continue
                raise WorkersError(
                    f"the scheduler at {self.address} is gone, and did not come back within "
                    f"{patience_s:.0f} s; once it runs again, the same command goes on from what "
                    "is done"
                ) from error
            self._progress.say("the scheduler is back; what was not done is handed out again")
            return

    def forget(self) -> None:
        """Have the workers free what they prepared, if they can be told."""
        if self.client.status != "running":
            return
        with suppress(*LOST_ERRORS):
            self.client.run(forget, on_error="ignore")

    def close(self) -> None:
        """Let the scheduler go."""
        if self.client.status == "closed":
            return
        with suppress(*LOST_ERRORS):
            for topic in (TOPIC, EVERYTHING):  # or it would complain of nobody to tell
                self.client.unsubscribe_topic(topic)
            self.client.close(timeout=CONNECT_S)

    def _connect(self, timeout_s: float) -> Client:
        try:
            client = Client(
                self.address,
                security=_security_for(self.address, self._security),
                timeout=timeout_s,
                set_as_default=False,
                name="mitosam",
            )
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise WorkersError(
                f"the Dask scheduler at {self.address} cannot be reached ({reason}); is it "
                "running, and reachable from here?"
            ) from error
        client.subscribe_topic(TOPIC, self._began)
        client.subscribe_topic(EVERYTHING, self._happened)
        return client

    def _began(self, event: tuple[float, dict[str, Any]]) -> None:
        """Called by the client's own thread, as the next one."""
        _, said = event
        for flight in tuple(self._flights):
            flight.news.put(Began(said["key"], said["worker"]))

    def _happened(self, event: tuple[float, dict[str, Any]]) -> None:
        _, said = event
        if said.get("action") == "remove-worker" and not said.get("expected"):
            for flight in tuple(self._flights):
                flight.news.put(Gone(said["worker"], frozenset(said["processing-tasks"])))
