"""What no sum over blocks tells of an instance: its lengths, its middle line, its surface."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from mitosam.geometry import Box
from mitosam.morphometry.lengths import farthest_apart
from mitosam.morphometry.neighbours import Corners, surface_corners
from mitosam.morphometry.runs import Runs, painted
from mitosam.morphometry.skeleton import measure_skeleton

BYTES_A_BOX_VOXEL = 80
"""What the skeleton takes for each voxel of an instance's box and its rim; 73 were measured."""

VoxelSize = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Lengths of one instance; `coarser` says how many voxels along each axis were taken as one."""

    length_nm: float
    skeleton_length_nm: float
    num_branch_points: int
    coarser: int


def measure_shape(runs: Runs, box: Box, voxel_size_nm: VoxelSize, max_voxels: int) -> Shape:
    """The shape of one instance, whose bounding box is `box`.

    Where the box has more than `max_voxels`, two (then four, eight, ...) voxels along each axis
    become one, which holds the instance if any of them does, so that no neck of it breaks. The
    largest straight distance is that of the voxels themselves even then.
    """
    coarser = 1
    while _num_voxels(shape := _coarse_shape(box, coarser)) > max_voxels:
        coarser *= 2
    inside = runs.moved(box.start_zyx)
    z, y, x = (coarser * size for size in voxel_size_nm)
    skeleton = measure_skeleton(painted(inside, shape, coarser), (z, y, x))
    straight = farthest_apart(_row_ends(inside), voxel_size_nm)
    return Shape(
        length_nm=max(skeleton.span_nm, straight),
        skeleton_length_nm=skeleton.length_nm,
        num_branch_points=skeleton.num_branch_points,
        coarser=coarser,
    )


def _coarse_shape(box: Box, coarser: int) -> tuple[int, int, int]:
    z, y, x = (-(-n // coarser) for n in box.shape_zyx)
    return z, y, x


def _num_voxels(shape_zyx: tuple[int, int, int]) -> int:
    return math.prod(n + 2 for n in shape_zyx)  # with the rim that the skeleton needs


def _row_ends(runs: Runs) -> Int[np.ndarray, "n 3"]:
    """The first and the last voxel of each row, among which are the convex hull's corners."""
    order = np.lexsort((runs.x0, runs.y, runs.z))
    z, y, first, last = (column[order] for column in (runs.z, runs.y, runs.x0, runs.x1 - 1))
    begins = np.ones(len(z), np.bool_)
    begins[1:] = (z[1:] != z[:-1]) | (y[1:] != y[:-1])
    starts, stops = np.flatnonzero(begins), np.flatnonzero(np.append(begins[1:], True))
    ends = [(z[starts], y[starts], first[starts]), (z[stops], y[stops], last[stops])]
    return np.concatenate([np.stack(places, axis=1) for places in ends])


def instance_surface(runs: Runs, box: Box, max_voxels: int) -> Corners:
    """The corners of its voxels where inside and outside meet, in the volume's voxels.

    Boxes of more than `max_voxels` are looked at in parts.
    """
    inside = runs.moved(box.start_zyx)
    parts = [_corners(inside, box, rows) for rows in _parts(box, max_voxels)]
    return np.concatenate(parts) + np.array(box.start_zyx, np.int32)


def _parts(box: Box, max_voxels: int) -> Iterator[tuple[range, range]]:
    """Stretches of corners along z and y, of which there is one more than voxels."""
    depth, height, width = box.shape_zyx
    rows = max(1, min(height + 1, max_voxels // (2 * width)))
    planes = max(1, min(depth + 1, max_voxels // (rows * width)))
    for z, y in itertools.product(range(0, depth + 1, planes), range(0, height + 1, rows)):
        yield range(z, min(z + planes, depth + 1)), range(y, min(y + rows, height + 1))


def _corners(runs: Runs, box: Box, part: tuple[range, range]) -> Corners:
    """The surface corners in a part of the box: those between its voxels and those before them."""
    z, y = part
    near = (runs.z >= z.start - 1) & (runs.z < z.stop)
    near &= (runs.y >= y.start - 1) & (runs.y < y.stop)
    moved = runs.at(near).moved((z.start - 1, y.start - 1, 0))
    mask = painted(moved, (len(z) + 1, len(y) + 1, box.shape_zyx[2]))
    corners = surface_corners(mask)
    own = (corners[:, :2] >= 1).all(axis=1)
    own &= (corners[:, 0] <= len(z)) & (corners[:, 1] <= len(y))
    return corners[own] + np.array([z.start - 1, y.start - 1, 0], np.int32)
