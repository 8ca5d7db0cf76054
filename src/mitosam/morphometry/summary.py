"""What a volume holds as a whole: how many instances, how dense, how large in the middle."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from mitosam.morphometry.instances import InstanceRow, VoxelSize
from mitosam.morphometry.sections import NM_PER_UM


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Mean and median size of some instances; None where there are none, or no voxel size."""

    count: int
    mean_voxels: float | None
    median_voxels: float | None
    mean_volume_um3: float | None
    median_volume_um3: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeSummary:
    """Counts and densities of a volume, and the sizes with and without what its border cuts.

    `volume_fraction` is the share of all voxels that lie in instances; on a single section it is
    the share of the area. What needs a voxel size is None without one; a volume and its density
    need several sections, a density per area a single one.
    """

    num_instances: int
    num_touching_border: int
    volume_fraction: float
    imaged_volume_um3: float | None
    density_per_um3: float | None
    imaged_area_um2: float | None
    density_per_um2: float | None
    all_instances: Sizes
    without_border: Sizes


def summarise(
    instances: Sequence[InstanceRow],
    shape_zyx: tuple[int, int, int],
    voxel_size_nm: VoxelSize | None,
) -> VolumeSummary:
    """The summary of all instances of a volume."""
    inside = [row for row in instances if not row.touches_border]
    depth, height, width = shape_zyx
    area = volume = None
    if voxel_size_nm:
        area = height * width * voxel_size_nm[1] * voxel_size_nm[2] / NM_PER_UM**2
        volume = area * depth * voxel_size_nm[0] / NM_PER_UM if depth > 1 else None
    return VolumeSummary(
        num_instances=len(instances),
        num_touching_border=len(instances) - len(inside),
        volume_fraction=sum(row.num_voxels for row in instances) / math.prod(shape_zyx),
        imaged_volume_um3=volume,
        density_per_um3=len(instances) / volume if volume else None,
        imaged_area_um2=area,
        density_per_um2=len(instances) / area if area and depth == 1 else None,
        all_instances=_sizes(instances),
        without_border=_sizes(inside),
    )


def _sizes(rows: Sequence[InstanceRow]) -> Sizes:
    voxels = [row.num_voxels for row in rows]
    volumes = [row.volume_um3 for row in rows if not math.isnan(row.volume_um3)]
    return Sizes(
        count=len(rows),
        mean_voxels=statistics.fmean(voxels) if voxels else None,
        median_voxels=statistics.median(voxels) if voxels else None,
        mean_volume_um3=statistics.fmean(volumes) if volumes else None,
        median_volume_um3=statistics.median(volumes) if volumes else None,
    )
