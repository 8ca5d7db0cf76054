from __future__ import annotations

import math

import pytest

from mitosam.evaluation.scores import Score
from mitosam.evaluation.volumes import summarise_volumes


def score(volume: str, truth_px: int, shared_px: int, method: str = "base", section: int = 0):
    return Score(
        protocol="patch-box",
        method=method,
        volume=volume,
        section=section,
        y=0,
        x=64 * section,
        object_id=0,
        num_objects=1,
        truth_px=truth_px,
        predicted_px=truth_px,
        intersection_px=shared_px,
        predicted_iou=0.5,
    )


def test_each_volume_counts_once_however_many_patches_it_has():
    large = [score("large", 10, 10, section=z) for z in range(9)]  # IoU and Dice 1
    small = [score("small", 10, 5)]  # IoU 5 / 15, Dice 10 / 20
    rows = summarise_volumes([*large, *small], seed=0)
    assert [(row.volume, row.count) for row in rows] == [("large", 9), ("small", 1), ("", 2)]
    mean = rows[-1]
    assert mean.is_mean
    assert mean.iou == pytest.approx((1 + 1 / 3) / 2)
    assert mean.dice == pytest.approx((1 + 0.5) / 2)
    assert math.isnan(mean.iou_interval.low)
    assert (rows[0].iou_interval.low, rows[0].iou_interval.high) == (1.0, 1.0)


def test_methods_have_rows_of_their_own_in_the_order_of_tables():
    scores = [
        score(volume, 10, 8, method)
        for method in ("filled box", "tuned", "base")
        for volume in ("a", "b")
    ]
    rows = summarise_volumes(scores, seed=0)
    assert [row.method for row in rows[::3]] == ["base", "tuned", "filled box"]


def test_one_volume_needs_no_rows():
    assert summarise_volumes([score("a", 10, 8), score("a", 10, 7, section=1)], seed=0) == []
