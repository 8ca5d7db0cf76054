"""What one section shows of each instance: area, perimeter, axes and place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from mitosam.morphometry.crofton import sizes_of_crossings
from mitosam.morphometry.sums import SectionSums

NM_PER_UM = 1000.0
NAN = float("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class SectionRow:
    """One instance on one section.

    A box is y0, x0, y1, x1 as pixel edges, so y1 and x1 lie past the last pixel; a centroid counts
    from the section's corner, so that of pixel (0, 0) is 0.5, 0.5. Axes are those of the ellipse
    with equal second moments. What needs a voxel size is NaN without one.
    """

    section: int
    instance: int
    area_px: int
    y0: int
    x0: int
    y1: int
    x1: int
    centroid_y_px: float
    centroid_x_px: float
    perimeter_px: float
    major_axis_px: float
    minor_axis_px: float
    area_um2: float = NAN
    perimeter_nm: float = NAN
    major_axis_nm: float = NAN
    minor_axis_nm: float = NAN
    centroid_y_nm: float = NAN
    centroid_x_nm: float = NAN


def section_rows(
    sums: SectionSums, voxel_size_nm: tuple[float, float, float] | None
) -> Iterator[SectionRow]:
    """A row for each instance on each section, from sums over all blocks that show the sections."""
    columns = {
        "section": sums.section,
        "instance": sums.instance,
        "area_px": sums.area,
        **{name: getattr(sums, name) for name in ("y0", "x0", "y1", "x1")},
        **_pixel_columns(sums),
    }
    if voxel_size_nm:
        columns |= _length_columns(sums, columns, voxel_size_nm[1:])
    names = tuple(columns)
    for values in zip(*(column.tolist() for column in columns.values()), strict=True):
        yield SectionRow(**dict(zip(names, values, strict=True)))


Columns = dict[str, np.ndarray]


def _pixel_columns(sums: SectionSums) -> Columns:
    major, minor = axis_lengths(sums, (1.0, 1.0))
    return {
        "centroid_y_px": sums.y0 + sums.moments[:, 0] / sums.area + 0.5,
        "centroid_x_px": sums.x0 + sums.moments[:, 1] / sums.area + 0.5,
        "perimeter_px": sizes_of_crossings(sums.crossings, (1.0, 1.0)),
        "major_axis_px": major,
        "minor_axis_px": minor,
    }


def _length_columns(sums: SectionSums, columns: Columns, pixel_nm: tuple[float, float]) -> Columns:
    major, minor = axis_lengths(sums, pixel_nm)
    return {
        "area_um2": sums.area * (pixel_nm[0] * pixel_nm[1] / NM_PER_UM**2),
        "perimeter_nm": sizes_of_crossings(sums.crossings, pixel_nm),
        "major_axis_nm": major,
        "minor_axis_nm": minor,
        "centroid_y_nm": columns["centroid_y_px"] * pixel_nm[0],
        "centroid_x_nm": columns["centroid_x_px"] * pixel_nm[1],
    }


def axis_lengths(
    sums: SectionSums, spacing_yx: tuple[float, float]
) -> tuple[Float[np.ndarray, " rows"], Float[np.ndarray, " rows"]]:
    """Major and minor axis of the ellipse with the second moments of each row.

    Pixels count as rectangles, not as points (the 1/12), so that an instance of one pixel has
    axes of 1.15 pixels, and not of none.
    """
    height, width = spacing_yx
    y, x, yy, yx, xx = sums.moments.T
    num = sums.area
    yy = (_covariance(num, yy, y, y) + 1 / 12) * height**2
    xx = (_covariance(num, xx, x, x) + 1 / 12) * width**2
    yx = _covariance(num, yx, y, x) * height * width
    mean, spread = (yy + xx) / 2, np.hypot((yy - xx) / 2, yx)
    return 4 * np.sqrt(mean + spread), 4 * np.sqrt(np.maximum(mean - spread, 0))


def _covariance(
    num: Int[np.ndarray, " rows"],
    products: Float[np.ndarray, " rows"],
    one: Float[np.ndarray, " rows"],
    other: Float[np.ndarray, " rows"],
) -> Float[np.ndarray, " rows"]:
    """Mean product less product of means, by whole numbers of any length: nothing cancels."""
    rows = zip(num.tolist(), products.tolist(), one.tolist(), other.tolist(), strict=True)
    exact = [(n * int(p) - int(a) * int(b)) / (n * n) for n, p, a, b in rows]
    return np.array(exact, np.float64)
