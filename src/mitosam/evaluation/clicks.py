"""Correcting by clicks: where a careful user would click next, and what a number of clicks gives.

After each answer the next click goes to the middle of the largest mistake, as interactive
segmentation is usually measured (K. Sofiiuk and others, *Reviving iterative training with mask
guidance for interactive segmentation*, ICIP 2022). The clicks are taken from the truth: these
scores tell what a user's patience buys, not what a model finds by itself.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import ndimage

from mitosam.evaluation.bootstrap import Interval, bootstrap_mean
from mitosam.evaluation.instances import MSA_THRESHOLDS

Start = Literal["object-box", "object-point"]
ScoredMethod = Literal["base", "tuned"]
STARTS: tuple[Start, ...] = ("object-box", "object-point")


@dataclass(frozen=True, slots=True, kw_only=True)
class Click:
    """The middle of a pixel; `positive` where the object was missed, else where it was not."""

    x: float
    y: float
    positive: bool


def next_click(predicted: Bool[np.ndarray, "h w"], truth: Bool[np.ndarray, "h w"]) -> Click | None:
    """The pixel deepest inside the largest mistake; None where there is no mistake.

    A mistake is a piece (8-connected) of what was missed, or of what is too much. Of equally large
    ones what was missed comes first; depth counts the frame's edge as the mistake's.
    """
    missed, excess = _largest(truth & ~predicted), _largest(predicted & ~truth)
    positive = missed.sum() >= excess.sum()
    mistake = missed if positive else excess
    if not mistake.any():
        return None
    depth = ndimage.distance_transform_edt(np.pad(mistake, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(int(np.argmax(depth)), depth.shape)
    return Click(x=float(x) + 0.5, y=float(y) + 0.5, positive=bool(positive))


def _largest(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    pieces: Int[np.ndarray, "h w"]
    pieces, count = ndimage.label(mask, structure=np.ones((3, 3)))
    if count < 2:
        return mask
    largest: Bool[np.ndarray, "h w"] = pieces == np.bincount(pieces.ravel())[1:].argmax() + 1
    return largest


@dataclass(frozen=True, slots=True, kw_only=True)
class ClickScore:
    """One object's mask after some correcting clicks; 0 clicks is the first prompt alone."""

    start: Start
    method: ScoredMethod
    volume: str
    section: int
    y: int
    x: int
    object_id: int
    clicks: int
    truth_px: int
    predicted_px: int
    intersection_px: int
    predicted_iou: float

    @property
    def iou(self) -> float:
        """Intersection over union with the truth."""
        return self.intersection_px / (self.truth_px + self.predicted_px - self.intersection_px)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClickSummary:
    """All objects after some correcting clicks.

    `msa` is the mean over sections of the mean segmentation accuracy at IoU 0.5 to 0.95: each
    object has one mask, and one that misses a threshold is a miss and a false find at once.
    """

    start: Start
    method: ScoredMethod
    clicks: int
    num_objects: int
    mean_iou: float
    interval: Interval
    msa: float
    mean_predicted_iou: float = math.nan
    """What the model itself expected; NaN in runs that were clicked before this was kept."""
    iou_error: float = math.nan
    """Mean of |predicted IoU - IoU|."""


def summarise_clicks(scores: Sequence[ClickScore], seed: int) -> list[ClickSummary]:
    """A row for each first prompt, method and number of clicks."""
    groups: dict[tuple[Start, ScoredMethod, int], list[ClickScore]] = defaultdict(list)
    for score in scores:
        groups[score.start, score.method, score.clicks].append(score)
    rows = []
    for (start, method, clicks), group in sorted(groups.items()):
        ious = np.array([score.iou for score in group])
        expected = np.array([score.predicted_iou for score in group])
        sections = [(score.volume, score.section) for score in group]
        rows.append(
            ClickSummary(
                start=start,
                method=method,
                clicks=clicks,
                num_objects=len(group),
                mean_iou=float(ious.mean()),
                interval=bootstrap_mean(ious, sections, seed=seed),
                msa=_mean_msa(group),
                mean_predicted_iou=float(expected.mean()),
                iou_error=float(np.abs(expected - ious).mean()),
            )
        )
    return rows


def _mean_msa(scores: Sequence[ClickScore]) -> float:
    of_section: dict[tuple[str, int], list[float]] = defaultdict(list)
    for score in scores:
        of_section[score.volume, score.section].append(score.iou)
    return float(np.mean([prompted_msa(np.array(ious)) for ious in of_section.values()]))


def prompted_msa(ious: Float[np.ndarray, " n"]) -> float:
    """TP / (TP + FP + FN) in the mean over thresholds, where each object of a section has one mask.

    >>> round(prompted_msa(np.array([1.0, 0.0])), 6)
    0.333333
    """
    hits = (ious[:, None] >= np.array(MSA_THRESHOLDS)).sum(axis=0)
    return float(np.mean(hits / (2 * len(ious) - hits)))
