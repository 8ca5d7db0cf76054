"""Surface areas in 3D and perimeters in 2D by counting where lines cross boundaries."""

from __future__ import annotations

import itertools
import math
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int

Spacing = tuple[float, ...]


def boundary_sizes(
    labels: Int[np.ndarray, "*shape"], spacing: Spacing, num_labels: int
) -> Float[np.ndarray, " labels"]:
    """Surface area (three axes) or perimeter (two axes) of labels 1 to `num_labels`.

    What lies outside the array is background. The unit is that of `spacing`, squared for areas.
    By Crofton's formula a body's surface area is 4 times its mean projected area, its perimeter
    pi times its mean projected width; a projection is measured by how often the grid's lines along
    one direction enter and leave. Directions are those to the 26 (or 8) neighbouring voxels, each
    weighted by the share of the sphere that is nearer to it than to the others, so that anisotropic
    voxels need no resampling. Source: Legland, Kieu and Devaux, Image Anal. Stereol. 26 (2007) 83.

    >>> square = np.ones((100, 100), np.int32)
    >>> round(float(boundary_sizes(square, (1, 1), 1)[0]))  # flat sides: the worst case
    378
    """
    padded = np.pad(labels, 1)
    counts = [_crossings(padded, step, num_labels)[1:] for step in half_steps(labels.ndim)]
    return sizes_of_crossings(np.stack(counts, axis=1), spacing)


def sizes_of_crossings(
    crossings: Int[np.ndarray, "labels steps"], spacing: Spacing
) -> Float[np.ndarray, " labels"]:
    """The surface area or perimeter of labels that lines along `half_steps` cross so often."""
    spacing = tuple(float(size) for size in spacing)
    voxel = math.prod(spacing)
    sizes = np.zeros(len(crossings))
    for column, (step, weight) in enumerate(_directions(spacing)):
        length = math.hypot(*(n * size for n, size in zip(step, spacing, strict=True)))
        sizes += weight * voxel / length * crossings[:, column]
    # A line crosses a convex body's boundary twice.
    return (2.0 if len(spacing) == 3 else math.pi / 2) * sizes


def half_steps(num_axes: int) -> list[tuple[int, ...]]:
    """One of each pair of opposite steps to the 26 (or 8) neighbours; those in plane come first.

    >>> half_steps(2)
    [(0, 1), (1, -1), (1, 0), (1, 1)]
    """
    steps = itertools.product((-1, 0, 1), repeat=num_axes)
    return [step for step in steps if step > (0,) * num_axes]


def _crossings(
    padded: Int[np.ndarray, "*shape"], step: tuple[int, ...], num_labels: int
) -> Int[np.ndarray, " labels_and_background"]:
    """How often lines along `step` enter or leave each label."""
    first, second = neighbour_views(padded, step)
    differ = first != second
    return np.bincount(first[differ], minlength=num_labels + 1) + np.bincount(
        second[differ], minlength=num_labels + 1
    )


def neighbour_views(
    array: Int[np.ndarray, "*shape"], step: tuple[int, ...]
) -> tuple[Int[np.ndarray, "*smaller"], Int[np.ndarray, "*smaller"]]:
    """Two views of an array in which equal places are `step` (-1, 0 or 1 an axis) apart."""
    axes = list(zip(step, array.shape, strict=True))
    ahead = tuple(slice(max(n, 0), size + min(n, 0)) for n, size in axes)
    behind = tuple(slice(max(-n, 0), size + min(-n, 0)) for n, size in axes)
    return array[behind], array[ahead]


@lru_cache(maxsize=32)
def _directions(spacing: Spacing) -> tuple[tuple[tuple[int, ...], float], ...]:
    """One of each pair of opposite steps with the weight of both; the weights sum to 1."""
    steps = [step for step in itertools.product((-1, 0, 1), repeat=len(spacing)) if any(step)]
    vectors = np.array(steps) * np.array(spacing)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    weights = _shares_of_sphere(vectors) if len(spacing) == 3 else _shares_of_circle(vectors)
    return tuple(
        (step, 2 * float(weight))
        for step, weight in zip(steps, weights, strict=True)
        if step > tuple(-n for n in step)
    )


def _shares_of_sphere(vectors: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
    from scipy.spatial import SphericalVoronoi

    areas: Float[np.ndarray, " n"] = SphericalVoronoi(vectors).calculate_areas()
    areas /= areas.sum()
    return areas


def _shares_of_circle(vectors: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, " n"]:
    angles = np.arctan2(vectors[:, 0], vectors[:, 1])
    order = np.argsort(angles)
    gaps = np.diff(angles[order], append=angles[order[0]] + 2 * np.pi)
    shares = np.empty(len(angles))
    shares[order] = (gaps + np.roll(gaps, 1)) / (4 * np.pi)
    return shares
