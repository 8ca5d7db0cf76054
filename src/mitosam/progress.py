"""How long loops tell a user where they are, without knowing of any screen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

T = TypeVar("T")


class Progress(Protocol):
    """What a workflow needs of whatever shows its progress."""

    def track(
        self, items: Iterable[T], description: str, *, total: int | None = None, unit: str = "it"
    ) -> Iterator[T]:
        """The items one by one, each counted as done when the next is asked for.

        `total` is taken from `len(items)` where it is not given.
        """
        ...

    def say(self, message: str) -> None:
        """Show one line that stays."""
        ...


class SilentProgress:
    """Progress that shows nothing."""

    def track(
        self,
        items: Iterable[T],
        description: str,  # noqa: ARG002
        *,
        total: int | None = None,  # noqa: ARG002
        unit: str = "it",  # noqa: ARG002
    ) -> Iterator[T]:
        """The items one by one."""
        yield from items

    def say(self, message: str) -> None:
        """Nothing."""


SILENT = SilentProgress()
