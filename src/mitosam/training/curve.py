"""What a training run writes down as it goes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """The state of training at one validation; the loss is the mean since the one before."""

    step: int
    epoch: float
    seconds: float
    loss: float
    learning_rate: float
    validation_dice: float
    validation_iou: float
