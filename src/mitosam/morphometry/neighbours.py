"""How far it is from each instance to the nearest other one, surface to surface."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from jaxtyping import Bool, Float, Int

Corners = Int[np.ndarray, "n 3"]


def surface_corners(mask: Bool[np.ndarray, "z y x"]) -> Corners:
    """The corners of voxels, z, y, x from the mask's corner, where inside and outside meet."""
    padded = np.pad(mask, 1)
    some = every = padded
    for axis in range(3):
        ahead = (slice(None),) * axis + (slice(1, None),)
        behind = (slice(None),) * axis + (slice(None, -1),)
        some, every = some[ahead] | some[behind], every[ahead] & every[behind]
    return np.argwhere(some & ~every).astype(np.int32)


class SurfaceStore:
    """The surfaces of many instances, kept in an unnamed temporary file and not in memory."""

    def __init__(self, folder: Path | None = None) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self._places: list[tuple[int, int]] = []
        self.starts: list[tuple[int, ...]] = []
        self.stops: list[tuple[int, ...]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._places)

    def add(self, corners: Corners) -> None:
        """Keep the next instance's surface, in the volume's voxels."""
        self._places.append((self._file.seek(0, 2), len(corners)))
        self._file.write(np.ascontiguousarray(corners, np.int32).data)
        self.starts.append(tuple(corners.min(0).tolist()))
        self.stops.append(tuple(corners.max(0).tolist()))

    def get(self, index: int) -> Corners:
        """The surface that was added as number `index`."""
        offset, count = self._places[index]
        self._file.seek(offset)
        return np.frombuffer(self._file.read(12 * count), np.int32).reshape(-1, 3)


def nearest_distances(
    surfaces: SurfaceStore, voxel_size_nm: tuple[float, float, float]
) -> Float[np.ndarray, " instances"]:
    """From each instance the distance in nm to the nearest other; NaN where there is no other.

    Exact for bodies made of voxels: the smallest distance between two corners is that between the
    voxels' boxes, and is 0 where bodies touch. Bounding boxes bound distances from below, so that
    few pairs are compared; two surfaces are in memory at a time.
    """
    nearest = np.full(len(surfaces), np.inf)
    if len(surfaces) > 1:
        size = np.array(voxel_size_nm)
        boxes = _Boxes(np.array(surfaces.starts) * size, np.array(surfaces.stops) * size)
        for index in range(len(surfaces)):
            _search_outward(surfaces, index, boxes, nearest, size)
    return np.where(np.isinf(nearest), np.nan, nearest)


class _Boxes:
    """The boxes of all surfaces, found by where they are, as there may be a million."""

    def __init__(
        self, starts: Float[np.ndarray, "instances 3"], stops: Float[np.ndarray, "instances 3"]
    ) -> None:
        from scipy.spatial import cKDTree

        self.starts, self.stops = starts, stops
        self._centres = (starts + stops) / 2
        self._radii = np.linalg.norm(stops - starts, axis=1) / 2
        self._largest = float(self._radii.max())
        self._tree = cKDTree(self._centres)

    def first_reach(self, index: int) -> float:
        """How far the next centre is: most surfaces are nearer to each other."""
        distances, _ = self._tree.query(self._centres[index], k=2)
        return float(distances[1])

    def within(self, index: int, reach: float) -> Int[np.ndarray, " others"]:
        """At least all other boxes that are nearer than `reach`."""
        radius = (reach + self._radii[index] + self._largest) * (1 + 1e-9)
        found = np.array(self._tree.query_ball_point(self._centres[index], radius), np.int64)
        found.sort()
        others: Int[np.ndarray, " others"] = found[found != index]
        return others


def _search_outward(
    surfaces: SurfaceStore,
    index: int,
    boxes: _Boxes,
    nearest: Float[np.ndarray, " instances"],
    size: Float[np.ndarray, " 3"],
) -> None:
    """Look for the nearest among boxes that are near, then farther off until none can be nearer."""
    reach = boxes.first_reach(index)
    while True:
        others = boxes.within(index, reach)
        bounds = _box_distances(
            boxes.starts[index], boxes.stops[index], boxes.starts[others], boxes.stops[others]
        )
        _search(surfaces, index, others, bounds, nearest, size)
        if nearest[index] <= reach or len(others) == len(nearest) - 1:
            return
        reach = max(2 * reach, float(size.min()))


def _search(
    surfaces: SurfaceStore,
    index: int,
    others: Int[np.ndarray, " others"],
    bounds: Float[np.ndarray, " others"],
    nearest: Float[np.ndarray, " instances"],
    size: Float[np.ndarray, " 3"],
) -> None:
    """Lower `nearest` of one instance, and of those it is compared with, to what is found."""
    from scipy.spatial import cKDTree

    if not others.size or bounds.min() >= nearest[index]:
        return
    order = np.argsort(bounds, kind="stable")
    own = surfaces.get(index) * size
    low, high = own.min(0), own.max(0)
    tree = cKDTree(own, compact_nodes=False, balanced_tree=False)
    for bound, other in zip(bounds[order].tolist(), others[order].tolist(), strict=True):
        if bound >= nearest[index]:
            return
        corners = surfaces.get(other) * size
        # A few corners bound the distance from above, and then most corners are out of reach.
        few, _ = tree.query(corners[:: len(corners) // NUM_PROBES + 1])
        reach = min(float(few.min()), float(nearest[index]))
        near = _box_distances(corners, corners, low, high) < reach
        found, _ = tree.query(corners[near], distance_upper_bound=reach)
        distance = min(float(few.min()), float(found.min(initial=np.inf)))
        nearest[[index, other]] = np.minimum(nearest[[index, other]], distance)


NUM_PROBES = 300


def _box_distances(
    starts: Float[np.ndarray, "*n 3"],
    stops: Float[np.ndarray, "*n 3"],
    other_starts: Float[np.ndarray, "*m 3"],
    other_stops: Float[np.ndarray, "*m 3"],
) -> Float[np.ndarray, " k"]:
    gaps = np.maximum(np.maximum(other_starts - stops, starts - other_stops), 0)
    distances: Float[np.ndarray, " k"] = np.linalg.norm(gaps, axis=-1)
    return distances
