"""Overlap of two masks: Dice and IoU, of single masks, of batches and pooled over pixels.

Throughout, two empty masks agree completely and score 1, and one empty mask against a mask that
is not empty scores 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from mitosam.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """The pixel counts that Dice and IoU come from; arrays of one shape, or plain numbers."""

    truth_px: Int[np.ndarray, "*batch"]
    predicted_px: Int[np.ndarray, "*batch"]
    intersection_px: Int[np.ndarray, "*batch"]

    @property
    def dice(self) -> Float[np.ndarray, "*batch"]:
        """2 |P & T| / (|P| + |T|)."""
        return _ratio(2 * self.intersection_px, self.truth_px + self.predicted_px)

    @property
    def iou(self) -> Float[np.ndarray, "*batch"]:
        """|P & T| / |P | T|."""
        return _ratio(
            self.intersection_px, self.truth_px + self.predicted_px - self.intersection_px
        )

    @property
    def pooled(self) -> Overlap:
        """The counts summed: as if all masks were one, so that big objects weigh more."""
        return Overlap(
            truth_px=np.sum(self.truth_px),
            predicted_px=np.sum(self.predicted_px),
            intersection_px=np.sum(self.intersection_px),
        )


def _ratio(part: Int[np.ndarray, "*batch"], whole: Int[np.ndarray, "*batch"]) -> np.ndarray:
    return np.where(whole == 0, 1.0, part / np.maximum(whole, 1))


def measure_overlap(
    predicted: Bool[np.ndarray, "*batch height width"],
    truth: Bool[np.ndarray, "*batch height width"],
) -> Overlap:
    """The pixel counts of each pair of masks.

    Raises
    ------
    InputError
        The masks differ in shape or are not boolean.
    """
    check_masks(predicted, truth)
    return Overlap(
        truth_px=np.count_nonzero(truth, axis=(-2, -1)),
        predicted_px=np.count_nonzero(predicted, axis=(-2, -1)),
        intersection_px=np.count_nonzero(predicted & truth, axis=(-2, -1)),
    )


def check_masks(predicted: np.ndarray, truth: np.ndarray) -> None:
    """Raise an InputError unless two masks are boolean and of one shape."""
    if predicted.shape != truth.shape:
        raise InputError(
            "two masks must have one shape to be compared, "
            f"got {predicted.shape} predicted and {truth.shape} true"
        )
    for mask in (predicted, truth):
        if mask.dtype != np.bool_:
            raise InputError(f"masks must be boolean, got {mask.dtype}; pass mask > 0")


def dice(
    predicted: Bool[np.ndarray, "*batch height width"],
    truth: Bool[np.ndarray, "*batch height width"],
) -> Float[np.ndarray, "*batch"]:
    """Dice's coefficient 2 |P & T| / (|P| + |T|) of each pair of masks, in [0, 1].

    Two empty masks score 1. Source: Dice, Ecology 26 (1945) 297.

    >>> truth = np.array([[True, True], [False, False]])
    >>> predicted = np.array([[True, False], [False, False]])
    >>> round(float(dice(predicted, truth)), 4)
    0.6667
    >>> float(dice(truth & False, truth & False))
    1.0
    """
    return measure_overlap(predicted, truth).dice


def iou(
    predicted: Bool[np.ndarray, "*batch height width"],
    truth: Bool[np.ndarray, "*batch height width"],
) -> Float[np.ndarray, "*batch"]:
    """Jaccard's index |P & T| / |P | T| (intersection over union) of each pair, in [0, 1].

    Two empty masks score 1. Source: Jaccard, New Phytologist 11 (1912) 37.

    >>> truth = np.array([[True, True], [False, False]])
    >>> predicted = np.array([[True, False], [False, False]])
    >>> float(iou(predicted, truth))
    0.5
    >>> float(iou(truth & False, truth & False))
    1.0
    """
    return measure_overlap(predicted, truth).iou


def pooled_dice(
    predicted: Bool[np.ndarray, "*batch height width"],
    truth: Bool[np.ndarray, "*batch height width"],
) -> float:
    """Dice of all masks taken as one: 2 sum |P & T| / sum (|P| + |T|).

    Only empty masks score 1. Pooling weighs each pixel alike where a mean weighs each mask alike.

    >>> truth = np.array([[[True, True]], [[False, False]]])
    >>> predicted = np.array([[[True, True]], [[False, True]]])
    >>> pooled_dice(predicted, truth), dice(predicted, truth).tolist()
    (0.8, [1.0, 0.0])
    """
    return float(measure_overlap(predicted, truth).pooled.dice)


def pooled_iou(
    predicted: Bool[np.ndarray, "*batch height width"],
    truth: Bool[np.ndarray, "*batch height width"],
) -> float:
    """IoU of all masks taken as one: sum |P & T| / sum |P | T|.

    Only empty masks score 1.

    >>> truth = np.array([[[True, True]], [[False, False]]])
    >>> predicted = np.array([[[True, False]], [[False, True]]])
    >>> round(pooled_iou(predicted, truth), 4)
    0.3333
    """
    return float(measure_overlap(predicted, truth).pooled.iou)
