"""How long an instance is from end to end: along its middle line, or straight across."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import sparse
from scipy.sparse import csgraph


def largest_distance(
    mask: Bool[np.ndarray, "z y x"], voxel_size_nm: tuple[float, float, float]
) -> float:
    """The largest straight distance in nm between two points of a mask; 0 for an empty one.

    Voxels reach to the middles of their faces, so that a single row of n voxels is n voxels long.

    >>> largest_distance(np.ones((1, 1, 5), bool), (8.0, 8.0, 8.0))
    40.0
    """
    return farthest_apart(_row_ends(mask), voxel_size_nm)


def farthest_apart(
    ends: Int[np.ndarray, "n 3"], voxel_size_nm: tuple[float, float, float]
) -> float:
    """The same of the voxels whose first and last ones of each row are `ends`."""
    from scipy.spatial import ConvexHull
    from scipy.spatial.distance import pdist

    if not len(ends):
        return 0.0
    steps = np.concatenate([np.eye(3), -np.eye(3)]) / 2
    faces = (ends[:, None] + steps).reshape(-1, 3) * voxel_size_nm
    return float(pdist(faces[ConvexHull(faces).vertices]).max())


def _row_ends(mask: Bool[np.ndarray, "z y x"]) -> Int[np.ndarray, "n 3"]:
    """The first and the last voxel of each row: the corners of the convex hull are among them."""
    z, y = np.nonzero(mask.any(axis=2))
    rows = mask[z, y]
    first, last = rows.argmax(axis=1), mask.shape[2] - 1 - rows[:, ::-1].argmax(axis=1)
    return np.concatenate([np.stack([z, y, x], axis=1) for x in (first, last)])


def longest_way(
    graph: sparse.csr_array,
    points_nm: Float[np.ndarray, "n 3"],
    solid: Bool[np.ndarray, "z y x"],
    depth_nm: Float[np.ndarray, "z y x"],
    voxel_size_nm: tuple[float, float, float],
) -> float:
    """The length of the longest of the shortest ways along a skeleton, and on to the surface.

    Edges have lengths in nm. A way goes on straight ahead from each of its ends, as it came over
    the last stretch as long as the body is deep there. `solid` has a rim that is no body, and its
    first voxel's middle is at 0, 0, 0.
    """
    longest = 0.0
    degrees = np.diff(graph.indptr)
    _, piece_of = csgraph.connected_components(graph, directed=False)
    for piece in np.unique(piece_of[degrees > 0]):
        way = _longest_in_piece(graph, int(np.flatnonzero(piece_of == piece)[0]))
        line = points_nm[way]
        length = float(np.linalg.norm(np.diff(line, axis=0), axis=1).sum())
        for end, number in ((line, way[0]), (line[::-1], way[-1])):
            if degrees[number] == 1:  # a loop has no end
                length += _to_surface(end, solid, depth_nm, voxel_size_nm)
        longest = max(longest, length)
    return longest


def _longest_in_piece(graph: sparse.csr_array, start: int) -> Int[np.ndarray, " m"]:
    """The points along the longest of the shortest ways, which in a tree two searches find."""
    first = _farthest(csgraph.dijkstra(graph, indices=start))
    reached, before = csgraph.dijkstra(graph, indices=first, return_predecessors=True)
    way = [_farthest(reached)]
    while way[-1] != first:
        way.append(int(before[way[-1]]))
    return np.array(way)


def _farthest(distances: Float[np.ndarray, " n"]) -> int:
    return int(np.where(np.isfinite(distances), distances, -1).argmax())


def _to_surface(
    line_nm: Float[np.ndarray, "m 3"],
    solid: Bool[np.ndarray, "z y x"],
    depth_nm: Float[np.ndarray, "z y x"],
    voxel_size_nm: tuple[float, float, float],
) -> float:
    """How far the surface lies from a line's first point, straight on."""
    tip, size = line_nm[0], np.array(voxel_size_nm)
    depth = depth_nm[tuple(_index(tip, size, solid.shape))]
    steps = np.linalg.norm(np.diff(line_nm, axis=0), axis=1)
    behind = min(int(np.searchsorted(steps.cumsum(), depth)) + 1, len(line_nm) - 1)
    onward = tip - line_nm[behind]
    length = float(np.linalg.norm(onward))
    if length == 0:
        return 0.0
    step = size.min() / 4
    reach = np.arange(0, np.linalg.norm(size * solid.shape), step)
    at = _index(tip + reach[:, None] * (onward / length), size, solid.shape)
    return max(0.0, (int(solid[tuple(at.T)].argmin()) - 0.5) * float(step))


def _index(
    places_nm: Float[np.ndarray, "*n 3"],
    size_nm: Float[np.ndarray, " 3"],
    shape: tuple[int, ...],
) -> Int[np.ndarray, "*n 3"]:
    """The voxels that hold these places, or the nearest ones."""
    nearest = np.rint(places_nm / size_nm).astype(int)
    return np.asarray(np.clip(nearest, 0, np.array(shape) - 1))
