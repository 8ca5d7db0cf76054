"""How fast and how much one may ask: rates, counts, and connections that never get to the point."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

REQUEST_S = 10.0
"""A request's headers, and its body, must be here after so many seconds."""
MAX_CONNECTIONS = 512
MAX_SOCKETS = 64
"""Websockets at once; each tab of a browser has one."""
MAX_TABS = 64
"""Pages that are held at once, those included that nobody ever connected to."""
MESSAGES_A_SECOND, MESSAGES_AT_ONCE = 100.0, 400.0
PAGES_A_SECOND, PAGES_AT_ONCE = 1.0, 30.0
LINES_A_SECOND, LINES_AT_ONCE = 1.0, 20.0


class Bucket:
    """So many at once, and so many a second after that.

    >>> bucket = Bucket(a_second=1, at_once=2, clock=lambda: 0.0)
    >>> [bucket.take() for _ in range(3)]
    [True, True, False]
    """

    def __init__(
        self, *, a_second: float, at_once: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._a_second, self._at_once = a_second, at_once
        self._clock, self._left, self._seen = clock, at_once, clock()

    def take(self) -> bool:
        """Whether there is one left, which then is gone."""
        return self.wait_s() == 0.0

    def wait_s(self) -> float:
        """Seconds until there is one; none of them, and it is taken."""
        now = self._clock()
        self._left = min(self._at_once, self._left + (now - self._seen) * self._a_second)
        self._seen = now
        if self._left >= 1:
            self._left -= 1
            return 0.0
        return (1 - self._left) / self._a_second

    async def taken(self) -> None:
        """Wait until there is one, and take it."""
        while wait := self.wait_s():
            await asyncio.sleep(wait)


class FewLines:
    """A log of what is refused that nobody can flood: what is left out is counted."""

    def __init__(self, say: Callable[..., None]) -> None:
        self._say = say
        self._bucket = Bucket(a_second=LINES_A_SECOND, at_once=LINES_AT_ONCE)
        self._left_out = 0

    def __call__(self, text: str, *values: object) -> None:
        """Say it, unless too much was said of late."""
        if not self._bucket.take():
            self._left_out += 1
            return
        self._say(text, *values)
        if self._left_out:
            self._say("refused %d more", self._left_out)
            self._left_out = 0


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's connection, closed if a request's headers do not come in time.

    uvicorn itself waits for ever for the first request of a connection, and for the rest of one
    that has begun.
    """

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._expect()

    def data_received(self, data: bytes) -> None:
        """Go on waiting until a request has begun; its answer has its own limits."""
        before = self.cycle
        if before is None or before.response_complete:
            self._expect()
        super().data_received(data)
        if self.cycle is not before or self.transport.get_protocol() is not self:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _expect(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(REQUEST_S, self._too_slow)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if not self.transport.is_closing():
            self.transport.close()
