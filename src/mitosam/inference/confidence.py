"""How sure an automatic method is of each instance it found."""

from __future__ import annotations

from collections import Counter

import numpy as np
from jaxtyping import Int, UInt8


class ConfidenceCounter:
    """The mean foreground of each instance's voxels, added up section by section.

    >>> counter = ConfidenceCounter()
    >>> counter.add(np.array([[1, 1, 0]]), np.array([[255, 0, 255]], np.uint8))
    >>> counter.result()
    {1: 0.5}
    """

    def __init__(self) -> None:
        self._sizes: Counter[int] = Counter()
        self._sums: Counter[int] = Counter()

    def add(
        self, labels: Int[np.ndarray, "height width"], foreground: UInt8[np.ndarray, "height width"]
    ) -> None:
        """Take in a section, with its map of foreground from 0 to 255."""
        num_px = np.bincount(labels.ravel())
        totals = np.bincount(labels.ravel(), weights=foreground.ravel())
        for number in (np.flatnonzero(num_px[1:]) + 1).tolist():
            self._sizes[number] += int(num_px[number])
            self._sums[number] += int(totals[number])

    def result(self) -> dict[int, float]:
        """The confidence of each instance seen so far, in 0 to 1."""
        return {number: self._sums[number] / size / 255 for number, size in self._sizes.items()}
