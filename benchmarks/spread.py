"""Repeated times of the same thing."""

from __future__ import annotations

import statistics
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """The least, median and greatest of some seconds."""

    least: float
    median: float
    most: float
    count: int

    @classmethod
    def of(cls, seconds: list[float]) -> Spread:
        """The spread of at least one time."""
        return cls(
            least=min(seconds),
            median=statistics.median(seconds),
            most=max(seconds),
            count=len(seconds),
        )

    def __str__(self) -> str:
        if self.count == 1:
            return f"{self.median:.3g}"
        return f"{self.least:.3g} / {self.median:.3g} / {self.most:.3g}"
