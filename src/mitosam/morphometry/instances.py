"""What a volume tells of each instance: volume, surface, shape, length, place and neighbours."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mitosam.io.volume import Volume
from mitosam.morphometry.census import Census, Extent
from mitosam.morphometry.crofton import boundary_sizes
from mitosam.morphometry.crops import Crop, crop_instances
from mitosam.morphometry.lengths import largest_distance
from mitosam.morphometry.neighbours import SurfaceStore, nearest_distances, surface_corners
from mitosam.morphometry.sections import NAN, NM_PER_UM
from mitosam.morphometry.skeleton import measure_skeleton
from mitosam.progress import SILENT, Progress

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


def measure_instances(
    labels: Volume,
    census: Census,
    voxel_size_nm: VoxelSize | None,
    *,
    probability: Volume | None = None,
    scratch: Path | None = None,
    progress: Progress = SILENT,
) -> tuple[InstanceRow, ...]:
    """The rows of all instances, by id.

    `census` has counted all rows of `measure_sections`. Surfaces wait in a temporary file in
    `scratch`, by default where the system keeps such files.

    Raises
    ------
    InputError
        The probabilities differ in shape from the labels, or do not lie in [0, 1].
    """
    in_nm = voxel_size_nm if len(labels) > 1 else None
    rows = []
    with SurfaceStore(scratch) as surfaces:
        for crop in crop_instances(labels, census.extents, probability, progress=progress):
            extent = census.extents[crop.instance]
            row = _counted(crop, extent, labels.shape_zyx, voxel_size_nm)
            if in_nm:
                surfaces.add(surface_corners(crop.mask) + np.array(extent.start_zyx, np.int32))
                row = _with_shape(row, crop, in_nm)
            rows.append(row)
        if in_nm:
            distances = nearest_distances(surfaces, in_nm).tolist()
            rows = [
                replace(row, nearest_neighbour_nm=distance)
                for row, distance in zip(rows, distances, strict=True)
            ]
    return tuple(sorted(rows, key=lambda row: row.instance))


def _counted(
    crop: Crop, extent: Extent, shape_zyx: tuple[int, int, int], voxel_size_nm: VoxelSize | None
) -> InstanceRow:
    """What needs neither shape nor neighbours."""
    centroid_px = extent.centroid_zyx_px
    size = voxel_size_nm or (NAN, NAN, NAN)
    centroid_nm = [at * step for at, step in zip(centroid_px, size, strict=True)]
    in_volume = shape_zyx[0] > 1
    return InstanceRow(
        instance=crop.instance,
        num_voxels=extent.num_voxels,
        num_sections=extent.num_sections,
        **dict(zip(("z0", "y0", "x0"), extent.start_zyx, strict=True)),
        **dict(zip(("z1", "y1", "x1"), extent.stop_zyx, strict=True)),
        touches_border=extent.touches_border(shape_zyx),
        largest_area_px=extent.largest_area_px,
        centroid_z_px=centroid_px[0],
        centroid_y_px=centroid_px[1],
        centroid_x_px=centroid_px[2],
        confidence=crop.confidence,
        centroid_z_nm=centroid_nm[0] if in_volume else NAN,
        centroid_y_nm=centroid_nm[1],
        centroid_x_nm=centroid_nm[2],
        largest_area_um2=extent.largest_area_px * size[1] * size[2] / NM_PER_UM**2,
    )


def _with_shape(row: InstanceRow, crop: Crop, voxel_size_nm: VoxelSize) -> InstanceRow:
    volume_nm3 = row.num_voxels * math.prod(voxel_size_nm)
    skeleton = measure_skeleton(crop.mask, voxel_size_nm)
    area_nm2 = NAN
    if row.num_voxels >= MIN_VOXELS_FOR_SURFACE:
        area_nm2 = float(boundary_sizes(crop.mask.view(np.uint8), voxel_size_nm, 1)[0])
    return replace(
        row,
        volume_um3=volume_nm3 / NM_PER_UM**3,
        surface_area_um2=area_nm2 / NM_PER_UM**2,
        sphericity=sphericity(volume_nm3, area_nm2),
        length_nm=max(skeleton.span_nm, largest_distance(crop.mask, voxel_size_nm)),
        skeleton_length_nm=skeleton.length_nm,
        num_branch_points=skeleton.num_branch_points,
    )


def sphericity(volume: float, surface_area: float) -> float:
    """The surface area of a ball of this volume over this area: pi^(1/3) (6 V)^(2/3) / A.

    A ball has 1 and everything else less. Source: Wadell, J. Geol. 43 (1935) 250.

    >>> round(sphericity(1.0, 6.0), 3)  # a cube
    0.806
    """
    return float(math.pi ** (1 / 3) * (6 * volume) ** (2 / 3) / surface_area)
