"""How well mitochondria are told from the rest, whichever is which: pooled over a volume.

Annotators do not agree on the outermost pixels, so counts are also taken without those near the
true boundary, as first done for this tissue by Lucchi and others, IEEE TMI 31 (2012) 474.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from mitosam.errors import InputError
from mitosam.evaluation.metrics import Overlap, measure_overlap


@dataclass(frozen=True, slots=True, kw_only=True)
class ForegroundOverlap:
    """The counts of one volume; `.iou` and `.dice` of each follow, and are 1 for empty masks."""

    everywhere: Overlap
    off_boundary: Overlap
    """Without the pixels within `boundary_px` of the true boundary."""
    boundary_px: int


class ForegroundCounter:
    """Adds up the pixel counts of sections.

    >>> counter = ForegroundCounter(boundary_px=1)
    >>> truth = np.array([[True, True, True, False, False, False]])
    >>> counter.add(np.array([[True, True, False, False, False, True]]), truth)
    >>> overlap = counter.result()
    >>> float(overlap.everywhere.iou), float(overlap.off_boundary.iou)
    (0.5, 0.6666666666666666)
    """

    def __init__(self, boundary_px: int = 2) -> None:
        if boundary_px < 0:
            raise InputError(f"boundary_px must be 0 or more, got {boundary_px}")
        self._boundary_px = boundary_px
        self._everywhere = self._off_boundary = _NOTHING

    def add(
        self, predicted: Bool[np.ndarray, "height width"], truth: Bool[np.ndarray, "height width"]
    ) -> None:
        """Take in one section.

        Raises
        ------
        InputError
            The masks differ in shape or are not boolean.
        """
        self._everywhere = _sum(self._everywhere, measure_overlap(predicted, truth))
        counted = ~near_boundary(truth, self._boundary_px)
        self._off_boundary = _sum(
            self._off_boundary, measure_overlap(predicted & counted, truth & counted)
        )

    def result(self) -> ForegroundOverlap:
        """The counts of everything added so far."""
        return ForegroundOverlap(
            everywhere=self._everywhere,
            off_boundary=self._off_boundary,
            boundary_px=self._boundary_px,
        )


def near_boundary(
    truth: Bool[np.ndarray, "height width"], boundary_px: int
) -> Bool[np.ndarray, "height width"]:
    """The pixels within `boundary_px` of the boundary of a mask, on both of its sides.

    Those are the pixels that have one of the other kind at most so far from them, centre to
    centre: for 1 the outermost pixels of the mask and those that touch them. The edge of the
    section is no boundary.

    >>> near_boundary(np.array([[True, True, True, False, False, False]]), 2).astype(int)
    array([[0, 1, 1, 1, 1, 0]])
    """
    from scipy import ndimage

    if not boundary_px:
        return np.zeros_like(truth)
    offsets = np.arange(-boundary_px, boundary_px + 1)
    disk = offsets[:, None] ** 2 + offsets**2 <= boundary_px**2
    reached = ndimage.binary_dilation(truth, disk)
    return np.asarray(reached & ~ndimage.binary_erosion(truth, disk, border_value=1))


_ZERO = np.zeros((), np.int64)
_NOTHING = Overlap(truth_px=_ZERO, predicted_px=_ZERO, intersection_px=_ZERO)


def _sum(first: Overlap, second: Overlap) -> Overlap:
    return Overlap(
        truth_px=np.add(first.truth_px, second.truth_px),
        predicted_px=np.add(first.predicted_px, second.predicted_px),
        intersection_px=np.add(first.intersection_px, second.intersection_px),
    )
