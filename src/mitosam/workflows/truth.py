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
    """In one section."""
    volume_voxels: int
    """Through the stack, those that its faces cut included."""
    whole_voxels: int
    """Through the stack, of those that no face cuts; 0 where there is none."""


def smallest_sizes(volume: PreparedVolume, sections: Sequence[int]) -> TrueSizes:
    """Half of what one in twenty instances stays below."""
    areas: list[np.ndarray] = []
    volumes: list[np.ndarray] = []
    whole: list[np.ndarray] = []
    for run in runs_of(sections):
        labels = true_instances(volume, run)
        ids, counts = np.unique(labels, return_counts=True)
        uncut = ~np.isin(ids, _at_faces(labels)) & (ids > 0)
        volumes.append(counts[ids > 0])
        whole.append(counts[uncut])
        areas += [_counts(section) for section in labels]
    return TrueSizes(
        area_px=max(1, _half_of_small(areas)),
        volume_voxels=max(1, _half_of_small(volumes)),
        whole_voxels=_half_of_small(whole),
    )


def _at_faces(labels: Int[np.ndarray, "z y x"]) -> Int[np.ndarray, " ids"]:
    """The ids that touch a face of the volume."""
    faces = [np.unique(labels.take(end, axis)) for axis in range(3) for end in (0, -1)]
    return np.unique(np.concatenate(faces))


def _counts(labels: Int[np.ndarray, "*shape"]) -> Int[np.ndarray, " ids"]:
    ids, counts = np.unique(labels, return_counts=True)
    return np.asarray(counts[ids > 0])


def _half_of_small(sizes: Sequence[np.ndarray]) -> int:
    together = np.concatenate([np.empty(0, int), *sizes])
    return int(np.quantile(together, 0.05) / 2) if together.size else 0
