"""Masks found on a section, kept as small crops: which are the same object, and who gets a pixel.

Non-maximum suppression (NMS) goes through the masks from the highest score to the lowest and keeps
each that overlaps none of those kept before by more than a threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int, Int32

from mitosam.geometry import Window

Indices = Int[np.ndarray, " n"]
Bools = Bool[np.ndarray, " n"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundMask:
    """One mask on a section: the tightest window round it, and which of its pixels are object.

    `predicted_iou` is the model's own guess of the mask's IoU and what masks are ranked by;
    `stability_score` lies in [0, 1]; `area` is in pixels and above 0. See `found_mask`.
    """

    window: Window
    crop: Bool[np.ndarray, "h w"]
    predicted_iou: float
    stability_score: float
    area: int


def found_mask(
    mask: Bool[np.ndarray, "h w"],
    origin_yx: tuple[int, int],
    *,
    predicted_iou: float,
    stability_score: float,
) -> FoundMask | None:
    """The mask whose upper left corner lies at `origin_yx` of the section; None if it is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return None
    top, left = int(rows[0]), int(columns[0])
    # A copy, so that the array it was cut from is not kept alive.
    crop = mask[top : rows[-1] + 1, left : columns[-1] + 1].copy()
    return FoundMask(
        window=Window(origin_yx[0] + top, origin_yx[1] + left, *crop.shape),
        crop=crop,
        predicted_iou=predicted_iou,
        stability_score=stability_score,
        area=int(np.count_nonzero(crop)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Instances:
    """Instance ids of one section, 0 for background, and how sure the model is of each.

    Ids run from 1 without gaps; `confidence[i]` is the predicted IoU of id i + 1, in descending
    order.
    """

    labels: Int32[np.ndarray, "height width"]
    confidence: Float32[np.ndarray, " num"]


def box_nms(found: Sequence[FoundMask], *, box_nms_thresh: float) -> Indices:
    """The indices of the masks that NMS by the IoU of their windows keeps, best first.

    What torchvision's `nms` gives for the windows as boxes and the predicted IoUs as scores.
    """
    bounds, areas = _bounds(found), _window_areas(found)

    def is_new(index: int, kept: Indices) -> bool:
        shared = _shared_box_px(bounds[index], bounds[kept])
        return bool(np.all(shared <= box_nms_thresh * (areas[index] + areas[kept] - shared)))

    return _suppress(found, is_new)


def mask_nms(
    found: Sequence[FoundMask], *, mask_nms_thresh: float, containment_thresh: float = 1.0
) -> Indices:
    """The indices of the masks that NMS by mask overlap keeps, best first.

    A mask is dropped if its IoU with a better one is above `mask_nms_thresh`, or if their
    intersection is more than `containment_thresh` of the smaller of the two; 1 allows both.
    Masks of equal score come in the order of their stability, their windows, and then as given.
    """
    bounds = _bounds(found)
    areas = np.array([mask.area for mask in found], np.int64)

    def overlap(index: int, others: Indices, shared: Int[np.ndarray, " n"]) -> Bools:
        too_alike = shared > mask_nms_thresh * (areas[index] + areas[others] - shared)
        within = shared > containment_thresh * np.minimum(areas[index], areas[others])
        return np.asarray(too_alike | within)

    def is_new(index: int, kept: Indices) -> bool:
        # No pair shares more than its windows do, or than the smaller of the masks has.
        most = np.minimum(_shared_box_px(bounds[index], bounds[kept]), areas[kept])
        near = kept[overlap(index, kept, np.minimum(most, areas[index]))]
        shared = np.array([shared_px(found[index], found[other]) for other in near], np.int64)
        return not overlap(index, near, shared).any()

    return _suppress(found, is_new)


def shared_px(a: FoundMask, b: FoundMask) -> int:
    """The number of pixels that lie in both masks."""
    top, left = max(a.window.y, b.window.y), max(a.window.x, b.window.x)
    bottom = min(a.window.y + a.window.height, b.window.y + b.window.height)
    right = min(a.window.x + a.window.width, b.window.x + b.window.width)
    if top >= bottom or left >= right:
        return 0
    part_a, part_b = (
        mask.crop[
            top - mask.window.y : bottom - mask.window.y,
            left - mask.window.x : right - mask.window.x,
        ]
        for mask in (a, b)
    )
    return int(np.count_nonzero(part_a & part_b))


def merge_masks(found: Sequence[FoundMask], shape_yx: tuple[int, int]) -> Instances:
    """The masks as one label array of this shape; shared pixels go to the mask of higher score.

    Masks of which nothing is left get no id. All windows must lie inside the section.
    """
    ranked = _by_score(found)
    painted = np.zeros(shape_yx, np.int32)
    for place in reversed(range(len(ranked))):
        mask = found[ranked[place]]
        top, left = mask.window.y, mask.window.x
        target = painted[top : top + mask.window.height, left : left + mask.window.width]
        assert target.shape == mask.crop.shape, "masks are cut at the section's edges"
        target[mask.crop] = place + 1
    seen = np.bincount(painted.ravel(), minlength=len(ranked) + 1)[1:] > 0
    new_ids = np.concatenate([[0], np.where(seen, np.cumsum(seen), 0)]).astype(np.int32)
    scores = np.array([found[index].predicted_iou for index in ranked], np.float32)
    return Instances(labels=new_ids[painted], confidence=scores[seen])


def _suppress(found: Sequence[FoundMask], is_new: Callable[[int, Indices], bool]) -> Indices:
    kept = np.empty(len(found), np.int64)
    num_kept = 0
    for index in _by_score(found):
        if is_new(index, kept[:num_kept]):
            kept[num_kept] = index
            num_kept += 1
    return kept[:num_kept]


def _by_score(found: Sequence[FoundMask]) -> list[int]:
    """The masks' indices from the best to the worst, ties in an order that is always the same."""
    return sorted(
        range(len(found)),
        key=lambda i: (-found[i].predicted_iou, -found[i].stability_score, found[i].window),
    )


def _bounds(found: Sequence[FoundMask]) -> Int[np.ndarray, "n 4"]:
    """First and past-the-last row and column of each window: top, left, bottom, right."""
    windows = [mask.window for mask in found]
    rows = [(w.y, w.x, w.y + w.height, w.x + w.width) for w in windows]
    return np.array(rows, np.int64).reshape(-1, 4)


def _window_areas(found: Sequence[FoundMask]) -> Int[np.ndarray, " n"]:
    return np.array([mask.crop.size for mask in found], np.int64)


def _shared_box_px(
    box: Int[np.ndarray, " 4"], boxes: Int[np.ndarray, "n 4"]
) -> Int[np.ndarray, " n"]:
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    return np.asarray(np.maximum(sides, 0).prod(axis=1))
