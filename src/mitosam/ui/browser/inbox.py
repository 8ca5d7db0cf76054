"""The messages of one page, answered one after the other in the order in which they came."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from mitosam.errors import InputError
from mitosam.ui.browser.messages import (
    AnyMessage,
    BoxMessage,
    GoMessage,
    LassoMessage,
    PointMessage,
)

MAX_WAITING = 200
PROMPTS = (PointMessage, BoxMessage, LassoMessage)


class Inbox:
    """A queue that leaves out what a later message makes needless.

    Prompts that still wait when another section is asked for would be dropped with their draft, and
    of a slider's many sections only the last is wanted.
    """

    def __init__(self, answer: Callable[[AnyMessage], Awaitable[None]]) -> None:
        self._answer = answer
        self._waiting: deque[AnyMessage] = deque()
        self._came = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, message: AnyMessage) -> None:
        """Have a message answered when its turn comes.

        Raises
        ------
        InputError
            Too many wait already.
        """
        if isinstance(message, GoMessage):
            while self._waiting and isinstance(self._waiting[-1], (*PROMPTS, GoMessage)):
                self._waiting.pop()
        if len(self._waiting) >= MAX_WAITING:
            raise InputError(f"{MAX_WAITING} clicks wait for an answer already; wait for them")
        self._waiting.append(message)
        self._came.set()

    async def run(self) -> None:
        """Answer messages until this is cancelled."""
        while True:
            await self._came.wait()
            self._came.clear()
            while self._waiting:
                await self._answer(self._waiting.popleft())
