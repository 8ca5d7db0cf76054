"""Where the time of a workflow goes, measured from outside while it runs as it always does."""

from __future__ import annotations

import inspect
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Clock:
    """Seconds of each stage; those of a stage within another count for the inner one alone."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._now = now
        self._open: list[str] = []
        self._since = 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """What runs inside belongs to a stage."""
        self._account()
        self._open.append(name)
        try:
            yield
        finally:
            self._account()
            self._open.pop()

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, or the same generator at each of its steps, as a stage."""

        def call(*args: Any, **settings: Any) -> Any:  # noqa: ANN401
            with self.stage(name):
                return function(*args, **settings)

        def steps(*args: Any, **settings: Any) -> Iterator[Any]:  # noqa: ANN401
            made = iter(function(*args, **settings))
            while True:
                with self.stage(name):
                    item = next(made, _END)
                if item is _END:
                    return
                yield item

        return steps if inspect.isgeneratorfunction(function) else call

    @contextmanager
    def watching(self, stages: dict[tuple[object, str], str]) -> Iterator[None]:
        """Time functions where others find them, as (module or class, name): stage."""
        originals = {(owner, name): getattr(owner, name) for owner, name in stages}
        for (owner, name), stage in stages.items():
            setattr(owner, name, self.timed(stage, originals[owner, name]))
        try:
            yield
        finally:
            for (owner, name), original in originals.items():
                setattr(owner, name, original)

    def _account(self) -> None:
        now = self._now()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._since = now


_END = object()
