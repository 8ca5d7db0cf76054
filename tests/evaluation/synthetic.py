"""Scores made from numbers instead of masks."""

from __future__ import annotations

import math

from mitosam.evaluation.scores import Method, Protocol, Score


def make_score(
    iou_percent: int,
    *,
    method: Method = "base",
    section: int = 0,
    x: int = 0,
    num_objects: int = 1,
    object_id: int = 0,
    protocol: Protocol = "patch-box",
    volume: str = "cells",
) -> Score:
    """A score whose IoU is exactly `iou_percent` / 100: a part of 100 true pixels is found."""
    return Score(
        protocol=protocol,
        method=method,
        volume=volume,
        section=section,
        y=0,
        x=x,
        object_id=object_id,
        num_objects=num_objects,
        truth_px=100,
        predicted_px=iou_percent,
        intersection_px=iou_percent,
        predicted_iou=math.nan,
    )
