"""Carrying an object to the sections beside it: each mask is the next section's prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from mitosam.geometry import Window
from mitosam.prompts import Prompts
from mitosam.ui.session.assistant import FoundMask
from mitosam.ui.session.edits import mask_iou

# Less alike than this on neighbouring sections, it is another object.
MIN_IOU = 0.4


@dataclass(frozen=True, slots=True, kw_only=True)
class CarryResult:
    """The sections to which an object was carried, and why it went no further (None: it did)."""

    sections: tuple[int, ...]
    stopped: str | None


def box_prompt(y: int, x: int, mask: Bool[np.ndarray, "h w"]) -> Prompts:
    """The box round a mask that fills its own box, with its corner at y, x."""
    height, width = mask.shape
    return Prompts(boxes_xyxy=np.array([[x, y, x + width, y + height]], float))


def most_alike(
    candidates: Sequence[FoundMask], y: int, x: int, mask: Bool[np.ndarray, "h w"]
) -> FoundMask | None:
    """The candidate that overlaps a mask of the section before most; None if none does enough."""
    ious = [_iou(one, y, x, mask) for one in candidates]
    return candidates[int(np.argmax(ious))] if ious and max(ious) >= MIN_IOU else None


def _iou(one: FoundMask, y: int, x: int, mask: Bool[np.ndarray, "h w"]) -> float:
    """The IoU of two masks that lie in windows of their own."""
    top, left = min(one.window.y, y), min(one.window.x, x)
    bottom = max(one.window.y + one.mask.shape[0], y + mask.shape[0])
    right = max(one.window.x + one.mask.shape[1], x + mask.shape[1])
    frame = Window(top, left, bottom - top, right - left)
    return mask_iou(
        _placed(one.mask, one.window.y, one.window.x, frame), _placed(mask, y, x, frame)
    )


def _placed(
    mask: Bool[np.ndarray, "h w"], y: int, x: int, frame: Window
) -> Bool[np.ndarray, "H W"]:
    placed = np.zeros((frame.height, frame.width), bool)
    top, left = y - frame.y, x - frame.x
    placed[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
    return placed
