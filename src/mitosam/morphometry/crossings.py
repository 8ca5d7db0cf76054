"""How often the grid's lines cross the boundaries of a block's instances."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from mitosam.morphometry.crofton import half_steps

NUM_IN_PLANE = 4
"""Of the 13 steps of `half_steps(3)`, those at the beginning that stay on a section."""
NUM_ACROSS = 9

Offset = tuple[int, int, int]


def _ends(step: tuple[int, ...]) -> tuple[Offset, Offset]:
    """Where a step begins and ends in the smallest cell of 2 x 2 x 2 voxels that holds it."""
    (z0, z1), (y0, y1), (x0, x1) = ((max(-n, 0), max(n, 0)) for n in step)
    return (z0, y0, x0), (z1, y1, x1)


ENDS = tuple(_ends(step) for step in half_steps(3))


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossings:
    """Crossings along the in-plane steps for each label on each plane, and across for each label.

    Label and plane count as the window's do; labels without a crossing on a plane have no row.
    """

    plane: Int[np.ndarray, " rows"]
    label: Int[np.ndarray, " rows"]
    in_plane: Int[np.ndarray, "rows 4"]
    across: Int[np.ndarray, "labels 9"]


def count_crossings(window: Int[np.ndarray, "z y x"], num_labels: int) -> Crossings:
    """The crossings in all cells of 2 x 2 x 2 voxels of a window, for labels 1 to `num_labels`.

    Each step lies in one smallest cell, so that windows whose cells share out those of a volume
    count each crossing once. Cells that hold one label, nearly all, are passed over.
    """
    rows: list[tuple[np.ndarray, ...]] = []
    across = np.zeros((NUM_ACROSS, num_labels + 1), np.int64)
    uneven = _uneven_squares(window[0])
    for plane, (near, far) in enumerate(itertools.pairwise(window)):
        below = _uneven_squares(far)
        cells = np.flatnonzero(uneven | below | (near[:-1, :-1] != far[:-1, :-1]))
        uneven = below
        if not cells.size:
            continue
        counts = _count_cells(near, far, cells, num_labels)
        across += counts[NUM_IN_PLANE:]
        labels = np.flatnonzero(counts[:NUM_IN_PLANE, 1:].any(axis=0)) + 1
        rows.append((np.full(len(labels), plane), labels, counts[:NUM_IN_PLANE, labels].T))
    empty = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, NUM_IN_PLANE), np.int64))
    planes, found, in_plane = (np.concatenate(c) for c in zip(empty, *rows, strict=True))
    return Crossings(plane=planes, label=found, in_plane=in_plane, across=across[:, 1:].T)


def _uneven_squares(plane: Int[np.ndarray, "y x"]) -> Bool[np.ndarray, "y-1 x-1"]:
    """Which squares of 2 x 2 pixels hold more than one label."""
    along_x = plane[:, 1:] != plane[:, :-1]
    uneven: Bool[np.ndarray, "y-1 x-1"] = along_x[1:] | along_x[:-1]
    uneven |= plane[1:, :-1] != plane[:-1, :-1]
    return uneven


def _count_cells(
    near: Int[np.ndarray, "y x"],
    far: Int[np.ndarray, "y x"],
    cells: Int[np.ndarray, " cells"],
    num_labels: int,
) -> Int[np.ndarray, "13 labels_and_background"]:
    """Crossings in the cells between two planes, by step and label."""
    width = near.shape[1]
    first = cells + cells // (width - 1)  # a plane has one column more than it has cells
    corners = {
        (z, y, x): plane.reshape(-1)[first + (y * width + x)]
        for z, plane in enumerate((near, far))
        for y, x in itertools.product((0, 1), repeat=2)
    }
    counts = np.empty((len(ENDS), num_labels + 1), np.int64)
    for row, (begin, end) in zip(counts, ENDS, strict=True):
        one, other = corners[begin], corners[end]
        differ = one != other
        row[:] = np.bincount(one[differ], minlength=num_labels + 1)
        row += np.bincount(other[differ], minlength=num_labels + 1)
    return counts
