"""The true instances of some sections of a prepared volume, through the stack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from mitosam.data.prepared import PreparedVolume
from mitosam.evaluation.instances import section_instances, volume_instances


def runs_of(sections: Sequence[int]) -> list[range]:
    """Consecutive sections, together.

    >>> runs_of((0, 1, 2, 7, 8))
    [range(0, 3), range(7, 9)]
    """
    found: list[range] = []
    for z in sorted(sections):
        if found and found[-1].stop == z:
            found[-1] = range(found[-1].start, z + 1)
        else:
            found.append(range(z, z + 1))
    return found


def true_instances(volume: PreparedVolume, sections: range) -> Int[np.ndarray, "n height width"]:
    """Instance ids of consecutive sections: those of the masks, or the 3D pieces of binary ones."""
    labels = np.asarray(volume.labels[sections.start : sections.stop])
    return volume_instances(labels > 0) if volume.info.coding == "binary" else labels


def true_section(volume: PreparedVolume, z: int) -> Int[np.ndarray, "height width"]:
    """The instances of one section by itself, as 2D scores take them."""
    labels = np.asarray(volume.labels[z])
    return section_instances(labels > 0 if volume.info.coding == "binary" else labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueSizes:
    """How small true instances are, as far as the training sections tell."""

    area_px: int
    volume_voxels: int


def smallest_sizes(volume: PreparedVolume, sections: Sequence[int]) -> TrueSizes:
    """Half of what one in twenty instances stays below, in a section and through the stack.

    Instances that are cut by the ends of the stack count as they are.
    """
    areas, volumes = [np.empty(0, int)], [np.empty(0, int)]
    for run in runs_of(sections):
        labels = true_instances(volume, run)
        volumes.append(_counts(labels))
        areas += [_counts(section) for section in labels]
    return TrueSizes(area_px=_half_of_small(areas), volume_voxels=_half_of_small(volumes))


def _counts(labels: Int[np.ndarray, "*shape"]) -> Int[np.ndarray, " ids"]:
    ids, counts = np.unique(labels, return_counts=True)
    return np.asarray(counts[ids > 0])


def _half_of_small(sizes: list[np.ndarray]) -> int:
    together = np.concatenate(sizes)
    return max(1, int(np.quantile(together, 0.05) / 2)) if together.size else 1
