"""What the user asked for, done one after the other in napari's background workers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from napari.qt.threading import create_worker
from qtpy.QtCore import QObject

from mitosam.errors import MitosamError

Then = Callable[[Any], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    action: Callable[[], Any]
    then: Then | None
    title: str | None
    replaces: str | None


class Runner(QObject):
    """A queue of actions, none of which blocks the window.

    `refuse` is told what a user asked wrongly, `done` is called after each action; both in the
    window's own thread. An error of another kind is shown by napari.
    """

    def __init__(self, *, refuse: Callable[[str], None], done: Callable[[], None]) -> None:
        super().__init__()
        self._refuse = refuse
        self._done = done
        self._waiting: deque[_Task] = deque()
        self._busy = False
        self._closed = False

    @property
    def idle(self) -> bool:
        """Whether all that was asked for is done."""
        return not self._busy and not self._waiting

    def run(
        self,
        action: Callable[[], Any],
        *,
        then: Then | None = None,
        title: str | None = None,
        replaces: str | None = None,
    ) -> None:
        """Have `action` done when its turn comes, and `then` called with what it returns.

        A `title` shows a progress bar. Of those waiting that `replaces` names alike, only the last
        is done.
        """
        if replaces is not None:
            kept = [task for task in self._waiting if task.replaces != replaces]
            self._waiting = deque(kept)
        self._waiting.append(_Task(action=action, then=then, title=title, replaces=replaces))
        self._next()

    def close(self) -> None:
        """Forget what waits, and tell nobody of what still runs."""
        self._closed = True
        self._waiting.clear()

    def _next(self) -> None:
        if self._busy or not self._waiting:
            return
        task = self._waiting.popleft()
        self._busy = True
        worker = create_worker(
            _attempt,
            task.action,
            _start_thread=False,
            _progress={"desc": task.title} if task.title else None,
        )
        worker.returned.connect(partial(self._returned, task))
        worker.finished.connect(self._finished)
        worker.start()

    def _returned(self, task: _Task, result: object) -> None:
        if self._closed:
            return
        if isinstance(result, _Refusal):
            self._refuse(result.text)
        elif task.then is not None:
            task.then(result)

    def _finished(self) -> None:
        self._busy = False
        if not self._closed:
            self._done()
            self._next()


@dataclass(frozen=True, slots=True)
class _Refusal:
    text: str


def _attempt(action: Callable[[], Any]) -> object:
    """What the action returns; its refusal is a value, as napari would show a traceback."""
    try:
        return action()
    except MitosamError as error:
        return _Refusal(str(error))
