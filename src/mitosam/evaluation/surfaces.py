"""How far predicted surfaces lie from the true ones, in nm, in 3D.

Only surface voxels are kept, and the nearest of the other surface is looked up in a k-d tree. A
distance transform of the whole volume, as MONAI takes it, gives the same numbers: see
`tests/evaluation/test_surfaces.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from mitosam.errors import InputError
from mitosam.evaluation.metrics import check_masks


@dataclass(frozen=True, slots=True, kw_only=True)
class SurfaceDistances:
    """Distances between the surfaces of two foregrounds; NaN where one of them has none."""

    asd_nm: float
    """Average symmetric surface distance: mean over the voxels of both surfaces of the distance
    to the nearest of the other."""
    hd95_nm: float
    """Hausdorff distance, robust: of the 95th percentiles of the distances from one surface to
    the other, the larger one."""
    why_undefined: str = ""
    """Why the distances are NaN; empty where they are not."""


class SurfaceCollector:
    """Collects the surface voxels of sections, given from first to last.

    A foreground voxel lies on the surface if one of its six neighbours is background. The faces
    of the volume cut mitochondria, so what lies beyond them is unknown and makes no surface; a
    single section has the outlines of its mitochondria for surface. Two sections are kept at a
    time, and 24 bytes for each surface voxel.
    """

    def __init__(self, voxel_size_nm: tuple[float, float, float]) -> None:
        if min(voxel_size_nm) <= 0:
            raise InputError(f"voxel sizes must be above 0, got {voxel_size_nm} nm")
        self._voxel_size_nm = voxel_size_nm
        self._predicted = _Surface()
        self._truth = _Surface()

    def add(
        self, predicted: Bool[np.ndarray, "height width"], truth: Bool[np.ndarray, "height width"]
    ) -> None:
        """Take in the next section.

        Raises
        ------
        InputError
            The masks are not boolean, or differ in shape from each other or from those before.
        """
        check_masks(predicted, truth)
        self._predicted.add(predicted)
        self._truth.add(truth)

    def result(self) -> SurfaceDistances:
        """The distances over all sections added so far.

        With nothing on either surface there is no distance: both are NaN, and it is said why.
        Formulas and percentiles as in MONAI (`compute_average_surface_distance(symmetric=True)`,
        `compute_hausdorff_distance(percentile=95)`), save that there the volume's faces count as
        surface.
        """
        predicted, truth = self._predicted.points_zyx(), self._truth.points_zyx()
        missing = [name for name, p in (("predicted", predicted), ("true", truth)) if not p.size]
        if missing:
            reason = f"there is no {' and no '.join(missing)} surface"
            return SurfaceDistances(asd_nm=math.nan, hd95_nm=math.nan, why_undefined=reason)
        outward = _distances(predicted, truth, self._voxel_size_nm)
        inward = _distances(truth, predicted, self._voxel_size_nm)
        return SurfaceDistances(
            asd_nm=float(np.concatenate([outward, inward]).mean()),
            hd95_nm=float(max(np.percentile(outward, 95), np.percentile(inward, 95))),
        )


def measure_surfaces(
    predicted: Bool[np.ndarray, "depth height width"],
    truth: Bool[np.ndarray, "depth height width"],
    voxel_size_nm: tuple[float, float, float],
) -> SurfaceDistances:
    """The surface distances of two foregrounds held in memory; voxel size as z, y, x.

    >>> truth = np.zeros((1, 1, 8), bool)
    >>> truth[..., 2:5] = True
    >>> measure_surfaces(np.roll(truth, 1), truth, (5, 5, 5))
    SurfaceDistances(asd_nm=5.0, hd95_nm=5.0, why_undefined='')
    """
    check_masks(predicted, truth)
    collector = SurfaceCollector(voxel_size_nm)
    for predicted_section, true_section in zip(predicted, truth, strict=True):
        collector.add(predicted_section, true_section)
    return collector.result()


class _Surface:
    """The surface voxels of one foreground whose sections come one by one."""

    def __init__(self) -> None:
        self._num_sections = 0
        self._last: Bool[np.ndarray, "height width"] | None = None
        self._core: Bool[np.ndarray, "height width"]  # of the last section, from what came so far
        self._found: list[Int[np.ndarray, "n 3"]] = []

    def add(self, section: Bool[np.ndarray, "height width"]) -> None:
        core = _core(section)
        if self._last is not None:
            if section.shape != self._last.shape:
                raise InputError(
                    f"sections must have one shape, got {section.shape} after {self._last.shape}"
                )
            self._found.append(self._outermost(self._core & section))
            core &= self._last
        self._last, self._core = section.copy(), core
        self._num_sections += 1

    def points_zyx(self) -> Int[np.ndarray, "n 3"]:
        """All surface voxels; nothing is known below the last section, so nothing is cut there."""
        if self._last is None:
            return np.empty((0, 3), np.int64)
        return np.concatenate([*self._found, self._outermost(self._core)])

    def _outermost(self, core: Bool[np.ndarray, "height width"]) -> Int[np.ndarray, "n 3"]:
        assert self._last is not None, "points are taken from a section"
        y, x = np.nonzero(self._last & ~core)
        return np.stack([np.full(len(y), self._num_sections - 1), y, x], axis=1)


def _core(section: Bool[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """The foreground pixels whose neighbours within the section are all foreground."""
    core = section.copy()
    core[1:] &= section[:-1]
    core[:-1] &= section[1:]
    core[:, 1:] &= section[:, :-1]
    core[:, :-1] &= section[:, 1:]
    return core


def _distances(
    points: Int[np.ndarray, "n 3"],
    others: Int[np.ndarray, "m 3"],
    voxel_size_nm: tuple[float, float, float],
) -> Float[np.ndarray, " n"]:
    """From each point to the nearest of the others, in nm."""
    from scipy.spatial import KDTree

    scale = np.array(voxel_size_nm)
    distances, _ = KDTree(others * scale).query(points * scale)
    return np.asarray(distances)
