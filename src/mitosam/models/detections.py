"""What a text-grounded detector finds on an image, and how raw boxes become that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from mitosam.geometry import Window

MAX_BOX_IOU = 0.7
"""Of two boxes that overlap more, the one of lower score is the same object again."""
MIN_SIDE_PX = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CroppedMask:
    """A mask's tightest window, and which of its pixels are object."""

    window: Window
    pixels: Bool[np.ndarray, "h w"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Detections:
    """The n objects found on one image, the surest first.

    Boxes are x0, y0, x1, y1 in the image's pixels and inside it; scores are the detector's own, in
    0 to 1; `phrases` says which phrase each was found for. Masks are there if the detector draws
    them.
    """

    boxes_xyxy: Float[np.ndarray, "n 4"]
    scores: Float[np.ndarray, " n"]
    phrases: tuple[str, ...]
    masks: tuple[CroppedMask, ...] | None = None

    def __len__(self) -> int:
        return len(self.scores)


class TextDetector(Protocol):
    """A network that finds what phrases name."""

    name: str
    draws_masks: bool
    default_min_score: float

    def detect(
        self,
        image: UInt8[np.ndarray, "height width"],
        phrases: Sequence[str],
        *,
        min_score: float | None = None,
    ) -> Detections:
        """What any of the phrases names, with a score above `min_score` (else the family's own).

        Raises
        ------
        InputError
            A phrase is longer than the network reads.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RawBoxes:
    """One box a query in pixels of the image, not yet chosen among; `phrase` is an index."""

    xyxy: Float[Tensor, "Q 4"]
    scores: Float[Tensor, " Q"]
    phrase: Int[Tensor, " Q"]


def choose_boxes(
    raw: RawBoxes, shape_yx: tuple[int, int], min_score: float
) -> tuple[RawBoxes, Int[Tensor, " n"]]:
    """The boxes above `min_score`, cut at the image's edges, each object once, the surest first.

    The second result is the query that each one came from.
    """
    height, width = shape_yx
    boxes = raw.xyxy.cpu().double()
    inside = torch.stack(
        [boxes[:, side].clamp(0, (width, height)[side % 2]) for side in range(4)], dim=1
    )
    sides = inside[:, 2:] - inside[:, :2]
    scores = raw.scores.cpu().double()
    queries = torch.nonzero((scores > min_score) & (sides >= MIN_SIDE_PX).all(dim=1))[:, 0]
    queries = queries[_each_once(inside[queries], scores[queries])]
    chosen = RawBoxes(
        xyxy=inside[queries], scores=scores[queries], phrase=raw.phrase.cpu()[queries]
    )
    return chosen, queries


def _each_once(boxes: Float[Tensor, "n 4"], scores: Float[Tensor, " n"]) -> Int[Tensor, " k"]:
    """The boxes that greedy non-maximum suppression keeps, the surest first."""
    # Ours, as MONAI's takes seconds to import and torchvision is not there.
    left = torch.argsort(scores, descending=True, stable=True)
    kept = []
    while len(left):
        best, left = left[:1], left[1:]
        kept.append(best)
        left = left[box_iou(boxes[best], boxes[left]) <= MAX_BOX_IOU]
    return torch.cat(kept) if kept else left


def box_iou(box: Float[Tensor, "1 4"], others: Float[Tensor, "n 4"]) -> Float[Tensor, " n"]:
    """The IoU of one box with each of the others; all have an area."""
    shared = torch.minimum(box[:, 2:], others[:, 2:]) - torch.maximum(box[:, :2], others[:, :2])
    shared_px = shared.clamp(min=0).prod(dim=1)
    own, areas = ((each[:, 2:] - each[:, :2]).prod(dim=1) for each in (box, others))
    return shared_px / (own + areas - shared_px)


def as_detections(
    chosen: RawBoxes, phrases: Sequence[str], masks: tuple[CroppedMask, ...] | None = None
) -> Detections:
    """The same in numpy, with the phrases themselves."""
    return Detections(
        boxes_xyxy=chosen.xyxy.numpy(),
        scores=chosen.scores.numpy(),
        phrases=tuple(phrases[int(index)] for index in chosen.phrase),
        masks=masks,
    )


def corners_of(centred: Float[Tensor, "Q 4"]) -> Float[Tensor, "Q 4"]:
    """x0, y0, x1, y1 of boxes given as centre and size."""
    centre, half = centred[:, :2], centred[:, 2:] / 2
    return torch.cat([centre - half, centre + half], dim=1)
