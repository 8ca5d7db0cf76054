"""Bodies of known volume, surface and length on voxel grids, at places between the voxels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ellipeinc, ellipkinc

ISOTROPIC = (8.0, 8.0, 8.0)
ANISOTROPIC = (30.0, 8.0, 8.0)


@dataclass(frozen=True)
class Body:
    """A mask and what its formulas say, in nm; `length` is that of the middle line."""

    mask: np.ndarray
    volume: float
    area: float
    length: float = float("nan")
    num_branch_points: int = 0


def random_rotation(rng):
    columns, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return columns


def places(extent_nm, voxel_size_nm, rng):
    """The voxels' centres, z, y, x from the middle, of a box that holds a ball of this radius."""
    axes = []
    for size in voxel_size_nm:
        half = int(np.ceil(extent_nm / size)) + 2
        axes.append((np.arange(-half, half + 1) + rng.uniform(-0.5, 0.5)) * size)
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


def ball(radius, voxel_size_nm, rng):
    at = places(radius, voxel_size_nm, rng)
    inside = np.linalg.norm(at, axis=-1) <= radius
    return Body(inside, 4 / 3 * np.pi * radius**3, 4 * np.pi * radius**2, 0.0)


def ellipsoid(axes, voxel_size_nm, rng):
    """Semi-axes a > b > c; its area by Legendre's formula."""
    a, b, c = axes
    at = places(a, voxel_size_nm, rng) @ random_rotation(rng)
    inside = np.linalg.norm(at / np.array(axes), axis=-1) <= 1
    phi = np.arccos(c / a)
    m = a**2 * (b**2 - c**2) / (b**2 * (a**2 - c**2))
    elliptic = ellipeinc(phi, m) * np.sin(phi) ** 2 + ellipkinc(phi, m) * np.cos(phi) ** 2
    area = 2 * np.pi * (c**2 + a * b / np.sin(phi) * elliptic)
    return Body(inside, 4 / 3 * np.pi * a * b * c, area)


def capsule(radius, length, voxel_size_nm, rng):
    """A tube of this length with a half ball at each end."""
    at = places(radius + length / 2, voxel_size_nm, rng) @ random_rotation(rng)
    along = np.clip(at[..., :1], -length / 2, length / 2)
    inside = np.linalg.norm(at - along * [1, 0, 0], axis=-1) <= radius
    volume = np.pi * radius**2 * (length + 4 / 3 * radius)
    return Body(inside, volume, 2 * np.pi * radius * (length + 2 * radius), length)


def cylinder(radius, length, voxel_size_nm, rng):
    """A tilted tube with flat ends."""
    at = places(np.hypot(radius, length / 2), voxel_size_nm, rng) @ random_rotation(rng)
    inside = (abs(at[..., 0]) <= length / 2) & (np.hypot(at[..., 1], at[..., 2]) <= radius)
    return Body(inside, np.pi * radius**2 * length, 2 * np.pi * radius * (length + radius), length)


def star(radius, length, num_arms, voxel_size_nm, rng):
    """Round arms in one tilted plane that meet in the middle."""
    at = places(radius + length, voxel_size_nm, rng) @ random_rotation(rng)
    inside = np.zeros(at.shape[:3], bool)
    for angle in 2 * np.pi * np.arange(num_arms) / num_arms:
        arm = np.array([np.cos(angle), np.sin(angle), 0])
        along = np.clip(at @ arm, 0, length)[..., None]
        inside |= np.linalg.norm(at - along * arm, axis=-1) <= radius
    return Body(inside, np.nan, np.nan, num_arms * length, 1)
