"""Soft maps of one section: what is mitochondrion, and where one ends."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int
from scipy import ndimage

from mitosam.inference.mask_nms import Instances

BOUNDARY_PX = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class SectionMaps:
    """Two probabilities in [0, 1] for each pixel: of an instance, and of an instance's boundary."""

    foreground: Float32[np.ndarray, "height width"]
    boundary: Float32[np.ndarray, "height width"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundInstances:
    """The instances that an automatic method found on one section, and its maps of them."""

    instances: Instances
    maps: SectionMaps


def maps_of_labels(labels: Int[np.ndarray, "height width"]) -> SectionMaps:
    """Maps of 0 and 1: where an instance is, and where its boundary."""
    return SectionMaps(
        foreground=(labels > 0).astype(np.float32), boundary=boundary_of_labels(labels)
    )


def boundary_of_labels(labels: Int[np.ndarray, "height width"]) -> Float32[np.ndarray, ...]:
    """1 on the outermost two pixels of each instance, 0 elsewhere.

    Those are its pixels from which two steps to a side, up or down leave it. The section's edges
    bound nothing: where they cut an instance, it goes on unseen.

    >>> boundary_of_labels(np.array([[0, 7, 7, 7, 7]])).tolist()
    [[0.0, 1.0, 1.0, 0.0, 0.0]]
    """
    cross = ndimage.generate_binary_structure(2, 1)
    reach = ndimage.iterate_structure(cross, BOUNDARY_PX)
    lowest = ndimage.minimum_filter(labels, footprint=reach, mode="nearest")
    highest = ndimage.maximum_filter(labels, footprint=reach, mode="nearest")
    return ((labels > 0) & (lowest != highest)).astype(np.float32)
