"""The surfaces of a label volume's instances as points with normals, made to be drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int, Integer

ReadSection = Callable[[int], Integer[np.ndarray, "height width"]]
Triple = tuple[float, float, float]

MAX_VOXELS = 3_000_000
_MAX_SIDE = 256
_PAD = 4
_MAX_SIGMA = 2.5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Thinned:
    """Every so many voxels of a label volume.

    `labels` counts the instances from 1 in the order in which they first appear, and `ids[i]` is
    the volume's own label of instance `i + 1`. `pitch_zyx` is the distance between the voxels that
    were kept, `origin_zyx` where the first lies and `extent_zyx` the size of the whole volume, in
    the voxel size's unit.
    """

    labels: Int[np.ndarray, "z y x"]
    ids: tuple[int, ...]
    pitch_zyx: Triple
    origin_zyx: Triple
    extent_zyx: Triple


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Surface:
    """Points of all instances' surfaces: XYZ from the volume's centre, outward normals.

    `instance` counts from 0.
    """

    points: Float32[np.ndarray, "n 3"]
    normals: Float32[np.ndarray, "n 3"]
    instance: Int[np.ndarray, " n"]


def thin_out(
    shape_zyx: tuple[int, int, int],
    read_section: ReadSection,
    voxel_size_zyx: Triple,
    *,
    max_voxels: int = MAX_VOXELS,
) -> Thinned:
    """The volume at like spacing along its axes, in about `max_voxels` or fewer.

    Only the sections that are kept are read, one at a time. An instance that falls between the
    kept voxels is lost.
    """
    extent = np.array(shape_zyx) * voxel_size_zyx
    pitch = max(
        np.cbrt(extent.prod() / max_voxels),
        extent.max() / _MAX_SIDE,  # for thin slabs
    )
    strides = np.maximum(1, np.ceil(pitch / np.array(voxel_size_zyx) - 1e-9)).astype(int)
    starts = np.minimum(strides // 2, np.array(shape_zyx) - 1)
    kept = [
        # copied, as a view would keep the whole section
        read_section(int(z))[starts[1] :: strides[1], starts[2] :: strides[2]].copy()
        for z in range(starts[0], shape_zyx[0], strides[0])
    ]
    labels, ids = order_of_appearance(np.stack(kept))
    origin = (starts + 0.5) * voxel_size_zyx
    return Thinned(
        labels=labels,
        ids=ids,
        pitch_zyx=_triple(strides * voxel_size_zyx),
        origin_zyx=_triple(origin),
        extent_zyx=_triple(extent),
    )


def order_of_appearance(
    labels: Integer[np.ndarray, "*shape"],
) -> tuple[Int[np.ndarray, "*shape"], tuple[int, ...]]:
    """The labels counted anew from 1 as they first appear, and the old label of each.

    >>> order_of_appearance(np.array([0, 9, 9, 4, 9]))
    (array([0, 1, 1, 2, 1], dtype=int32), (9, 4))
    """
    values, first, place = np.unique(labels, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    order = order[values[order] != 0]
    new = np.zeros(len(values), np.int32)
    new[order] = np.arange(1, len(order) + 1)
    return new[place].reshape(labels.shape), tuple(int(value) for value in values[order])


def find_surface(thinned: Thinned, spacing: float) -> Surface:
    """Points about `spacing` apart on the half-way surface of each instance's smoothed mask.

    Each instance is smoothed by itself, so that neighbours that touch stay apart.
    """
    parts = list(_surfaces(thinned, spacing))
    centre = np.array(thinned.extent_zyx) / 2
    origin = np.array(thinned.origin_zyx) - centre
    points = np.concatenate([part[0] for part in parts]) + origin.astype(np.float32)
    normals = np.concatenate([part[1] for part in parts])
    numbers = np.repeat(np.arange(len(parts)), [len(part[0]) for part in parts])
    return Surface(points=points[:, ::-1].copy(), normals=normals[:, ::-1].copy(), instance=numbers)


Points = tuple[Float32[np.ndarray, "n 3"], Float32[np.ndarray, "n 3"]]


def _surfaces(thinned: Thinned, spacing: float) -> Iterator[Points]:
    from scipy.ndimage import find_objects

    for number, box in enumerate(find_objects(thinned.labels), start=1):
        mask = np.pad((thinned.labels[box] == number).astype(np.float32), _PAD)
        corner = np.array([side.start - _PAD for side in box])
        yield _surface_of(mask, corner, np.array(thinned.pitch_zyx), spacing)


def _surface_of(
    mask: Float32[np.ndarray, "z y x"],
    corner: Int[np.ndarray, " 3"],
    pitch: np.ndarray,
    spacing: float,
) -> Points:
    """Points and normals, ZYX, from the thinned volume's first voxel."""
    from scipy.ndimage import binary_dilation, binary_erosion, gaussian_filter, map_coordinates

    field = gaussian_filter(mask, np.minimum(0.8 * pitch.max() / pitch, _MAX_SIGMA))
    level = 0.5 * field.max()  # below a half where the instance is thinner than the smoothing
    inside = field > level
    band = np.argwhere(binary_dilation(inside) & ~binary_erosion(inside))
    slopes = np.stack(np.gradient(field, *(float(side) for side in pitch)))
    places = _subdivide(band, np.maximum(1, np.ceil(pitch / spacing)).astype(int))
    places = places[_near(places, field, slopes, level, spacing)]
    slope = np.stack([map_coordinates(s, places.T, order=1, mode="nearest") for s in slopes], 1)
    excess = map_coordinates(field, places.T, order=1, mode="nearest") - level
    steepness = np.maximum(np.linalg.norm(slope, axis=1), 1e-12)[:, None]
    normals = -slope / steepness
    points = (places + corner) * pitch + normals * (excess[:, None] / steepness)
    return points.astype(np.float32), normals.astype(np.float32)


def _subdivide(voxels: Int[np.ndarray, "n 3"], parts: Int[np.ndarray, " 3"]) -> np.ndarray:
    """The centres of the `parts` into which each voxel is cut along each axis."""
    steps = [(np.arange(num) + 0.5) / num - 0.5 for num in parts]
    offsets = np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1).reshape(-1, 3)
    places: np.ndarray = (voxels[:, None] + offsets).reshape(-1, 3)
    return places


def _near(
    places: np.ndarray,
    field: Float32[np.ndarray, "z y x"],
    slopes: Float32[np.ndarray, "3 z y x"],
    level: float,
    spacing: float,
) -> np.ndarray:
    """Which places lie within about half a spacing of the surface."""
    from scipy.ndimage import map_coordinates, maximum_filter

    steepest = maximum_filter(np.sqrt((slopes**2).sum(0)), 3)[tuple(np.rint(places).astype(int).T)]
    values = map_coordinates(field, places.T, order=1, mode="nearest")
    near: np.ndarray = np.abs(values - level) <= 0.7 * spacing * steepest
    return near


def _triple(values: np.ndarray) -> Triple:
    z, y, x = (float(value) for value in values)
    return z, y, x
