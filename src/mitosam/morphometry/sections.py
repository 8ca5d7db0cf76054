"""What one section shows of each instance: area, perimeter, axes and place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import ndimage

from mitosam.io.volume import Volume
from mitosam.morphometry.crofton import boundary_sizes
from mitosam.morphometry.ids import rank_ids
from mitosam.progress import SILENT, Progress

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


def measure_sections(
    labels: Volume,
    voxel_size_nm: tuple[float, float, float] | None,
    *,
    progress: Progress = SILENT,
) -> Iterator[SectionRow]:
    """The rows of all sections in order, by id within a section; one section is read at a time.

    Raises
    ------
    InputError
        The labels are not whole numbers, or negative.
    """
    pixel_nm = voxel_size_nm[1:] if voxel_size_nm else None
    for z in progress.track(
        range(len(labels)), "measuring sections", total=len(labels), unit="section"
    ):
        ids, ranked = rank_ids(labels, z)
        if ids.size:
            yield from _section_rows(z, ids, ranked, pixel_nm)


def _section_rows(
    z: int,
    ids: Int[np.ndarray, " ids"],
    ranked: Int[np.ndarray, "y x"],
    pixel_nm: tuple[float, float] | None,
) -> Iterator[SectionRow]:
    columns = _pixel_columns(ranked, len(ids))
    if pixel_nm:
        columns |= _length_columns(ranked, columns, pixel_nm)
    lists = {name: values.tolist() for name, values in columns.items()}
    boxes = ndimage.find_objects(ranked)
    for index, (instance, (rows, cols)) in enumerate(zip(ids.tolist(), boxes, strict=True)):
        yield SectionRow(
            section=z,
            instance=instance,
            y0=rows.start,
            x0=cols.start,
            y1=rows.stop,
            x1=cols.stop,
            **{name: values[index] for name, values in lists.items()},
        )


Columns = dict[str, np.ndarray]


def _pixel_columns(ranked: Int[np.ndarray, "y x"], num: int) -> Columns:
    y, x = np.nonzero(ranked)
    ranks = ranked[y, x] - 1
    area = np.bincount(ranks, minlength=num)
    centroid_y, centroid_x = (np.bincount(ranks, at, num) / area for at in (y, x))
    major, minor = axis_lengths(ranked, (1.0, 1.0), num)
    return {
        "area_px": area,
        "centroid_y_px": centroid_y + 0.5,
        "centroid_x_px": centroid_x + 0.5,
        "perimeter_px": boundary_sizes(ranked, (1.0, 1.0), num),
        "major_axis_px": major,
        "minor_axis_px": minor,
    }


def _length_columns(
    ranked: Int[np.ndarray, "y x"], columns: Columns, pixel_nm: tuple[float, float]
) -> Columns:
    num = len(columns["area_px"])
    major, minor = axis_lengths(ranked, pixel_nm, num)
    return {
        "area_um2": columns["area_px"] * (pixel_nm[0] * pixel_nm[1] / NM_PER_UM**2),
        "perimeter_nm": boundary_sizes(ranked, pixel_nm, num),
        "major_axis_nm": major,
        "minor_axis_nm": minor,
        "centroid_y_nm": columns["centroid_y_px"] * pixel_nm[0],
        "centroid_x_nm": columns["centroid_x_px"] * pixel_nm[1],
    }


def axis_lengths(
    ranked: Int[np.ndarray, "y x"], spacing_yx: tuple[float, float], num: int
) -> tuple[Float[np.ndarray, " ids"], Float[np.ndarray, " ids"]]:
    """Major and minor axis of the ellipse with the second moments of each of the ids 1 to `num`.

    Pixels count as rectangles, not as points (the 1/12), so that an instance of one pixel has
    axes of 1.15 pixels, and not of none.

    >>> [round(float(axis[0]), 3) for axis in axis_lengths(np.ones((1, 1), int), (1.0, 1.0), 1)]
    [1.155, 1.155]
    """
    y, x = np.nonzero(ranked)
    ranks = ranked[y, x] - 1
    area = np.bincount(ranks, minlength=num)
    offsets = [at - (np.bincount(ranks, at, num) / area)[ranks] for at in (y, x)]
    height, width = spacing_yx
    yy = (np.bincount(ranks, offsets[0] ** 2, num) / area + 1 / 12) * height**2
    xx = (np.bincount(ranks, offsets[1] ** 2, num) / area + 1 / 12) * width**2
    yx = np.bincount(ranks, offsets[0] * offsets[1], num) / area * height * width
    mean, spread = (yy + xx) / 2, np.hypot((yy - xx) / 2, yx)
    return 4 * np.sqrt(mean + spread), 4 * np.sqrt(np.maximum(mean - spread, 0))
