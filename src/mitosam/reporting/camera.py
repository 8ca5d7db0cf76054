"""Looking at points in space without perspective, the nearest in each pixel."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Float32, Int, Int64

NOTHING = np.iinfo(np.int64).max
_DEPTH_STEPS = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """A view on a volume centred at 0 whose axes are x (right), y (to the viewer) and z (down).

    `azimuth` turns the volume about z, to the right for a greater angle; `elevation` is how far
    the camera stands above the horizon. Both are in radians. `scale` is in pixels per unit.
    """

    azimuth: float
    elevation: float
    scale: float
    height: int
    width: int

    @property
    def axes(self) -> Float[np.ndarray, "3 3"]:
        """The unit vectors that point right, down and away from the viewer, a row each."""
        cos_a, sin_a = np.cos(self.azimuth), np.sin(self.azimuth)
        cos_e, sin_e = np.cos(self.elevation), np.sin(self.elevation)
        return np.array(
            [
                [cos_a, sin_a, 0],
                [-sin_e * sin_a, sin_e * cos_a, cos_e],
                [cos_e * sin_a, -cos_e * cos_a, sin_e],
            ]
        )

    def shrunk(self, step: int) -> Camera:
        """The same view on a canvas that is `step` times smaller."""
        return replace(
            self,
            scale=self.scale / step,
            height=self.height // step,
            width=self.width // step,
        )

    def project(self, points: Float[np.ndarray, "n 3"]) -> Float32[np.ndarray, "n 3"]:
        """Column, row and depth of each point in pixels, the volume's centre in the middle."""
        seen = points.astype(np.float32) @ (self.scale * self.axes.T).astype(np.float32)
        return seen + np.array([self.width / 2, self.height / 2, 0], np.float32)


def nearest_points(
    projected: Float32[np.ndarray, "n 3"], shape_yx: tuple[int, int], *, reach: float
) -> Int64[np.ndarray, "height width"]:
    """For each pixel the index of its nearest point under its depth, as one sortable number.

    Depth stands in the upper 31 bits, from `-reach` to `reach`; `index_of` and `depth_of` take the
    number apart. A pixel without a point is `NOTHING`. Points outside the picture are left out.
    """
    height, width = shape_yx
    column, row = projected[:, 0].astype(np.int64), projected[:, 1].astype(np.int64)
    inside = (projected[:, :2] >= 0).all(1) & (column < width) & (row < height)
    index = np.flatnonzero(inside)
    depth = np.clip((projected[index, 2] / reach + 1) / 2, 0, 1)
    key = ((depth * (_DEPTH_STEPS - 1)).astype(np.int64) << 32) | index
    nearest = np.full(height * width, NOTHING)
    np.minimum.at(nearest, row[index] * width + column[index], key)
    return nearest.reshape(shape_yx)


def widen(nearest: Int64[np.ndarray, "height width"]) -> Int64[np.ndarray, "height width"]:
    """Each point grown to 3 x 3 pixels, the nearest in front."""
    wide = nearest
    for axis in (0, 1):
        rows = np.moveaxis(wide, axis, 0)
        grown = rows.copy()
        np.minimum(grown[1:], rows[:-1], out=grown[1:])
        np.minimum(grown[:-1], rows[1:], out=grown[:-1])
        wide = np.moveaxis(grown, 0, axis)
    return wide


def index_of(nearest: Int64[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """The points' indices."""
    return nearest & 0xFFFFFFFF


def depth_of(nearest: Int64[np.ndarray, " n"], *, reach: float) -> Float[np.ndarray, " n"]:
    """The points' depths in pixels."""
    return ((nearest >> 32) / (_DEPTH_STEPS - 1) * 2 - 1) * reach
