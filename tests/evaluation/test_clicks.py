"""Where the next click goes, and what scores after clicks add up to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mitosam.evaluation.clicks import Click, ClickScore, next_click, summarise_clicks

masks = arrays(bool, (9, 11))


def square(y, x, size, shape=(20, 20)):
    mask = np.zeros(shape, bool)
    mask[y : y + size, x : x + size] = True
    return mask


def test_no_mistake_asks_for_no_click():
    assert next_click(square(2, 2, 5), square(2, 2, 5)) is None


def test_the_middle_of_what_was_missed_is_clicked():
    assert next_click(square(0, 0, 0), square(4, 6, 5)) == Click(x=8.5, y=6.5, positive=True)


def test_what_is_too_much_gets_a_negative_click_where_it_is_larger():
    predicted = square(0, 0, 3) | square(10, 10, 7)
    assert next_click(predicted, square(0, 0, 4)) == Click(x=13.5, y=13.5, positive=False)


@given(masks, masks)
def test_a_click_lies_on_a_mistake_of_its_kind(predicted, truth):
    click = next_click(predicted, truth)
    if click is None:
        assert (predicted == truth).all()
    else:
        y, x = int(click.y), int(click.x)
        assert truth[y, x] == click.positive
        assert predicted[y, x] != click.positive


@given(masks, masks)
def test_swapping_truth_and_prediction_swaps_the_sign(predicted, truth):
    one, other = next_click(predicted, truth), next_click(truth, predicted)
    missed, excess = (np.count_nonzero(a & ~b) for a, b in ((truth, predicted), (predicted, truth)))
    if missed == 0 or excess == 0:
        assert one == (other and replace(other, positive=not other.positive))


@given(masks, st.integers(0, 3))
def test_clicks_that_are_obeyed_end_at_the_truth(truth, seed):
    predicted = np.random.default_rng(seed).random(truth.shape) < 0.5
    for _ in range(truth.size + 1):
        click = next_click(predicted, truth)
        if click is None:
            break
        predicted[int(click.y), int(click.x)] = click.positive
    assert (predicted == truth).all()


def score(section, iou_hundredths, clicks=0):
    return ClickScore(
        start="object-box", method="tuned", volume="v", section=section, y=0, x=0, object_id=1,
        clicks=clicks, truth_px=100, predicted_px=iou_hundredths, intersection_px=iou_hundredths,
        predicted_iou=0.5,
    )  # fmt: skip


def test_a_summary_worked_by_hand():
    # IoU 0.72 reaches 5 of the 10 thresholds, 1.0 all of them and 0.4 none.
    rows = summarise_clicks([score(0, 72), score(0, 100), score(1, 40), score(1, 90, 1)], seed=0)
    assert [(row.clicks, row.num_objects) for row in rows] == [(0, 3), (1, 1)]
    assert rows[0].mean_iou == pytest.approx((0.72 + 1 + 0.4) / 3)
    # Section 0: both hit at 5 thresholds (1), one of two at the others (1 / 3); section 1: none.
    assert rows[0].msa == pytest.approx(((5 * 1 + 5 / 3) / 10 + 0) / 2)
