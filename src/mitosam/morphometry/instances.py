"""What a volume tells of each instance: volume, surface, shape, length, place and neighbours."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float

from mitosam.morphometry.crofton import sizes_of_crossings
from mitosam.morphometry.sections import NAN, NM_PER_UM
from mitosam.morphometry.sums import Extents, InstanceSums

VoxelSize = tuple[float, float, float]

MIN_VOXELS_FOR_SURFACE = 30
"""Fewer voxels (a ball of radius 2 has 33) have no surface worth the name: a single one would
measure 40 % too little and be rounder than a ball."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceRow:
    """One instance; docs/measurements.md defines each value.

    Boxes and centroids are as in `SectionRow`. What needs a voxel size, or several sections, is
    NaN (or None) without them.
    """

    instance: int
    num_voxels: int
    num_sections: int
    z0: int
    y0: int
    x0: int
    z1: int
    y1: int
    x1: int
    touches_border: bool
    largest_area_px: int
    centroid_z_px: float
    centroid_y_px: float
    centroid_x_px: float
    confidence: float = NAN
    centroid_z_nm: float = NAN
    centroid_y_nm: float = NAN
    centroid_x_nm: float = NAN
    largest_area_um2: float = NAN
    volume_um3: float = NAN
    surface_area_um2: float = NAN
    sphericity: float = NAN
    length_nm: float = NAN
    skeleton_length_nm: float = NAN
    num_branch_points: int | None = None
    nearest_neighbour_nm: float = NAN


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """The sums of all instances over the whole volume, a row each in both, by id."""

    shape_zyx: tuple[int, int, int]
    extents: Extents
    sums: InstanceSums
    full_scale: float
    """What stands for the probability 1 in its sums."""

    def __post_init__(self) -> None:
        assert np.array_equal(self.extents.instance, self.sums.instance)

    @property
    def centroids_px(self) -> Float[np.ndarray, "instances 3"]:
        """The mean places of the voxels' middles, counted from the volume's corner."""
        num = self.extents.num_voxels[:, None]
        centroids: Float[np.ndarray, "instances 3"] = self.extents.sum_zyx / num + 0.5
        return centroids


Columns = dict[str, np.ndarray]


def instance_rows(
    totals: Totals, voxel_size_nm: VoxelSize | None, shapes: Mapping[str, np.ndarray]
) -> Iterator[InstanceRow]:
    """The rows of all instances, by id.

    `shapes` are the columns that no sum tells, in the instances' order: those of `InstanceRow`
    from `length_nm` on, or none of them.
    """
    columns = _counted(totals, voxel_size_nm)
    if voxel_size_nm and totals.shape_zyx[0] > 1:
        columns |= _sizes(totals, voxel_size_nm)
    columns |= shapes
    names = tuple(field.name for field in fields(InstanceRow) if field.name in columns)
    for values in zip(*(columns[name].tolist() for name in names), strict=True):
        yield InstanceRow(**dict(zip(names, values, strict=True)))


def _counted(totals: Totals, voxel_size_nm: VoxelSize | None) -> Columns:
    """What needs neither shape nor neighbours."""
    extents, size = totals.extents, voxel_size_nm or (NAN, NAN, NAN)
    px = totals.centroids_px
    in_volume = totals.shape_zyx[0] > 1
    return {
        **{name: getattr(extents, name) for name in ("instance", "num_voxels", "num_sections")},
        **dict(zip(("z0", "y0", "x0"), extents.start_zyx.T, strict=True)),
        **dict(zip(("z1", "y1", "x1"), extents.stop_zyx.T, strict=True)),
        "touches_border": extents.touches_border(totals.shape_zyx),
        "largest_area_px": extents.largest_area,
        **{f"centroid_{axis}_px": px[:, i] for i, axis in enumerate("zyx")},
        "confidence": totals.sums.probability / totals.full_scale / extents.num_voxels,
        "centroid_z_nm": px[:, 0] * (size[0] if in_volume else NAN),
        "centroid_y_nm": px[:, 1] * size[1],
        "centroid_x_nm": px[:, 2] * size[2],
        "largest_area_um2": extents.largest_area * size[1] * size[2] / NM_PER_UM**2,
    }


def _sizes(totals: Totals, voxel_size_nm: VoxelSize) -> Columns:
    extents = totals.extents
    crossings = np.concatenate([extents.crossings, totals.sums.crossings], axis=1)
    volume_nm3 = extents.num_voxels * math.prod(voxel_size_nm)
    area_nm2 = sizes_of_crossings(crossings, voxel_size_nm)
    area_nm2[extents.num_voxels < MIN_VOXELS_FOR_SURFACE] = NAN
    return {
        "volume_um3": volume_nm3 / NM_PER_UM**3,
        "surface_area_um2": area_nm2 / NM_PER_UM**2,
        "sphericity": np.array(
            [sphericity(*pair) for pair in zip(volume_nm3.tolist(), area_nm2.tolist(), strict=True)]
        ),
    }


def sphericity(volume: float, surface_area: float) -> float:
    """The surface area of a ball of this volume over this area: pi^(1/3) (6 V)^(2/3) / A.

    A ball has 1 and everything else less. Source: Wadell, J. Geol. 43 (1935) 250.

    >>> round(sphericity(1.0, 6.0), 3)  # a cube
    0.806
    """
    return float(math.pi ** (1 / 3) * (6 * volume) ** (2 / 3) / surface_area)
