"""The shapes a phantom is made of: smooth noise, warped cells, and bent tubes.

Lengths are in units of 5 nm, the voxel of the FIB-SEM stack that the phantom is made to resemble,
so that its looks do not depend on the voxel size asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Float32, Int
from scipy import ndimage
from scipy.spatial import cKDTree

UNIT_NM = 5.0

Field = Float32[np.ndarray, "z y x"]


@dataclass(frozen=True, slots=True)
class Grid:
    """Where a volume's voxels lie, in units of 5 nm."""

    shape_zyx: tuple[int, int, int]
    spacing_zyx: tuple[float, float, float]

    @property
    def extent_zyx(self) -> Float[np.ndarray, " 3"]:
        """The volume's side lengths."""
        return np.asarray(np.array(self.shape_zyx) * np.array(self.spacing_zyx))

    def coarse(self, step: float) -> Grid:
        """A grid over the same extent whose voxels measure about `step` or more."""
        shape = np.maximum(2, np.ceil(self.extent_zyx / np.maximum(step, self.spacing_zyx)))
        depth, height, width = (int(n) for n in shape)
        z, y, x = (float(s) for s in self.extent_zyx / shape)
        return Grid((depth, height, width), (z, y, x))

    def coordinates(self) -> list[Float32[np.ndarray, " ..."]]:
        """Voxel centres along z, y and x, ready to broadcast."""
        axes = [
            (np.arange(n, dtype=np.float32) + 0.5) * np.float32(s)
            for n, s in zip(self.shape_zyx, self.spacing_zyx, strict=True)
        ]
        return [axes[0][:, None, None], axes[1][None, :, None], axes[2][None, None, :]]

    def resample(self, field: Field) -> Field:
        """A field of a coarser grid over the same extent, interpolated linearly axis by axis."""
        for axis, length in enumerate(self.shape_zyx):
            field = _stretch(field, axis, length)
        return field


def _stretch(field: Field, axis: int, length: int) -> Field:
    size = field.shape[axis]
    if size == length:
        return field
    where = np.clip((np.arange(length) + 0.5) * size / length - 0.5, 0, size - 1)
    low = np.minimum(where.astype(int), size - 1)
    high = np.minimum(low + 1, size - 1)
    shape = [1, 1, 1]
    shape[axis] = length
    weight = (where - low).astype(np.float32).reshape(shape)
    below = np.take(field, low, axis)
    return np.asarray(below + weight * (np.take(field, high, axis) - below))


def smooth_noise(grid: Grid, scale: float, rng: np.random.Generator) -> Field:
    """Noise of mean 0 and standard deviation 1 that varies over about `scale` units."""
    coarse = grid.coarse(max(scale / 2, 1e-3))
    sigma = [min(scale / s, n) for s, n in zip(coarse.spacing_zyx, coarse.shape_zyx, strict=True)]
    noise = rng.standard_normal(coarse.shape_zyx, np.float32)
    noise = ndimage.gaussian_filter(noise, sigma, mode="wrap", truncate=3)
    noise = (noise - noise.mean()) / max(float(noise.std()), 1e-6)
    return grid.resample(noise)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """Neurites: which cell a voxel lies in, and how far it is from that cell's membrane."""

    ids: Int[np.ndarray, "z y x"]
    depth: Field
    num_cells: int


def grow_cells(grid: Grid, rng: np.random.Generator, *, spacing: float = 60.0) -> Cells:
    """A warped Voronoi tessellation in which some neighbours are merged, so sizes vary widely."""
    coarse = grid.coarse(2.0)
    points = _warped(coarse, rng)
    margin = spacing
    low, high = -margin, coarse.extent_zyx + margin
    num_seeds = max(8, int(np.prod(high - low) / spacing**3))
    seeds = rng.uniform(low, high, (num_seeds, 3))
    cell_of = _merged(seeds, rng, spacing)
    distance, nearest = cKDTree(seeds).query(points, k=8, workers=-1)
    cells = cell_of[nearest]
    other = _soft_minimum(np.where(cells != cells[:, :1], distance, distance[:, -1:]))
    depth = ((other - distance[:, 0]) / 2).astype(np.float32).reshape(coarse.shape_zyx)
    ids = cells[:, 0].reshape(coarse.shape_zyx)
    for axis, length in enumerate(grid.shape_zyx):
        ids = np.take(ids, np.arange(length) * ids.shape[axis] // length, axis)
    return Cells(ids=ids, depth=grid.resample(depth), num_cells=int(cell_of.max()) + 1)


def _soft_minimum(
    distance: Float[np.ndarray, "n k"], roundness: float = 3.0
) -> Float[np.ndarray, " n"]:
    """The smallest of each row, a little less where several are near it: that rounds corners."""
    least = distance.min(axis=1, keepdims=True)
    near = np.exp(-(distance - least) / roundness).sum(axis=1)
    return np.asarray(least[:, 0] - roundness * np.log(near))


def _warped(grid: Grid, rng: np.random.Generator) -> Float[np.ndarray, "n 3"]:
    """Voxel centres moved by smooth noise, which bends the membranes between cells."""
    moved = [
        np.broadcast_to(axis, grid.shape_zyx)
        + 16 * smooth_noise(grid, 50, rng)
        + 4 * smooth_noise(grid, 14, rng)
        for axis in grid.coordinates()
    ]
    return np.stack([axis.ravel() for axis in moved], axis=1)


def _merged(
    seeds: Float[np.ndarray, "n 3"], rng: np.random.Generator, spacing: float
) -> Int[np.ndarray, " n"]:
    """Cell ids of seeds: about half the seeds join the cell of a sparser set of centres."""
    reach = 2.2 * spacing
    num_centres = max(1, len(seeds) // 9)
    centres = seeds[rng.choice(len(seeds), num_centres, replace=False)]
    distance, nearest = cKDTree(centres).query(seeds)
    joins = (rng.random(num_centres)[nearest] < 0.65) & (distance < reach)
    alone = num_centres + np.arange(len(seeds))
    _, ids = np.unique(np.where(joins, nearest, alone), return_inverse=True)
    return ids


@dataclass(frozen=True, slots=True, kw_only=True)
class Tube:
    """A bent tube within the part of the volume that it touches.

    `distance` is from its centreline, `along` the way along it, both in units.
    """

    where: tuple[slice, slice, slice]
    distance: Field
    along: Field


def bend_tube(
    grid: Grid,
    centre_zyx: Float[np.ndarray, " 3"],
    length: float,
    reach: float,
    rng: np.random.Generator,
) -> Tube | None:
    """A randomly bent tube round `centre_zyx`; None where it misses the volume.

    `reach` is how far from the centreline the distance is wanted.
    """
    path = _bent_path(centre_zyx, length, rng)
    spacing = np.array(grid.spacing_zyx)
    low = np.maximum(0, np.floor((path.min(axis=0) - reach) / spacing)).astype(int)
    high = np.ceil((path.max(axis=0) + reach) / spacing).astype(int)
    high = np.minimum(np.array(grid.shape_zyx), high)
    if (low >= high).any():
        return None
    where = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    axes = [
        (np.arange(a, b, dtype=np.float32) + 0.5) * np.float32(s)
        for a, b, s in zip(low, high, spacing, strict=True)
    ]
    distance, along = _nearest_on_path(axes, path.astype(np.float32))
    return Tube(where=(where[0], where[1], where[2]), distance=distance, along=along)


def _bent_path(
    centre_zyx: Float[np.ndarray, " 3"], length: float, rng: np.random.Generator
) -> Float[np.ndarray, "n 3"]:
    """Points of an arc of random direction and bend, centred on `centre_zyx`."""
    direction = rng.standard_normal(3)
    direction /= np.linalg.norm(direction)
    sideways = np.cross(direction, rng.standard_normal(3))
    sideways /= np.linalg.norm(sideways)
    t = np.linspace(-0.5, 0.5, max(2, round(length / 12)))[:, None]
    bend = rng.uniform(0, 0.9) * length
    path: Float[np.ndarray, "n 3"] = (
        centre_zyx + t * length * direction + (t**2 - 1 / 12) * bend * sideways
    )
    return path


def _nearest_on_path(
    axes: list[Float32[np.ndarray, " n"]], path: Float32[np.ndarray, "n 3"]
) -> tuple[Field, Field]:
    """Distance to the nearest of the path's pieces, and where along the path that is."""
    z, y, x = axes[0][:, None, None], axes[1][None, :, None], axes[2][None, None, :]
    best = np.full((len(axes[0]), len(axes[1]), len(axes[2])), np.inf, np.float32)
    along = np.zeros_like(best)
    walked = np.float32(0)
    for start, stop in pairwise(path):
        step = stop - start
        length = np.float32(np.linalg.norm(step))
        dz, dy, dx = z - start[0], y - start[1], x - start[2]
        t = np.clip((dz * step[0] + dy * step[1] + dx * step[2]) / length**2, 0, 1)
        square = (dz - t * step[0]) ** 2 + (dy - t * step[1]) ** 2 + (dx - t * step[2]) ** 2
        nearer = square < best
        best[nearer] = square[nearer]
        along[nearer] = walked + t[nearer] * length
        walked += length
    return np.sqrt(best), along
