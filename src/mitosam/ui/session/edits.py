"""What edits do to arrays of ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Int
from scipy.ndimage import distance_transform_edt
from skimage.segmentation import watershed

from mitosam.ui.session.blocks import Ids

# How part of a section changes: its ids before, and after.
Change = Callable[[Ids], Ids]


def painted(mask: Bool[np.ndarray, "h w"], object_id: int) -> Change:
    """The object's id wherever `mask` holds background; other objects keep their pixels."""
    return lambda ids: np.where(mask & (ids == 0), np.uint32(object_id), ids)


def cut_out(mask: Bool[np.ndarray, "h w"], object_id: int) -> Change:
    """Background wherever `mask` holds this object; other objects keep their pixels."""
    return lambda ids: np.where(mask & (ids == object_id), np.uint32(0), ids)


def replaced(object_id: int, by: int) -> Change:
    """Another id, or background, in the place of this one."""
    return lambda ids: np.where(ids == object_id, np.uint32(by), ids)


def given(mask: Bool[np.ndarray, "h w"], new_ids: Int[np.ndarray, "h w"]) -> Change:
    """The new ids within `mask`."""
    return lambda ids: np.where(mask, new_ids.astype(np.uint32), ids)


def parts_round(
    mask: Bool[np.ndarray, "z y x"],
    seeds_zyx: Sequence[tuple[int, int, int]],
    spacing: tuple[float, float, float],
) -> Int[np.ndarray, "z y x"]:
    """The object cut into as many parts as there are seeds, 1 for the first seed; 0 outside it.

    The cut runs where the object is thin between the seeds: a watershed of the distance to its
    surface, with `spacing` the voxel's size. What no seed reaches belongs to the nearest one's
    part, so that no voxel is lost.
    """
    markers = np.zeros(mask.shape, np.int32)
    for number, place in enumerate(seeds_zyx, start=1):
        markers[place] = number
    # Padded, so that the object ends where it was cut out.
    depth = distance_transform_edt(np.pad(mask, 1), sampling=spacing)[1:-1, 1:-1, 1:-1]
    parts: Int[np.ndarray, "z y x"] = watershed(-depth, markers, mask=mask)
    lost = mask & (parts == 0)
    if lost.any():
        nearest = distance_transform_edt(
            parts == 0, sampling=spacing, return_distances=False, return_indices=True
        )
        parts[lost] = parts[tuple(nearest)][lost]
    return parts


def mask_iou(one: Bool[np.ndarray, "h w"], other: Bool[np.ndarray, "h w"]) -> float:
    """The intersection over union; 1 for two empty masks."""
    union = int(np.count_nonzero(one | other))
    return np.count_nonzero(one & other) / union if union else 1.0
