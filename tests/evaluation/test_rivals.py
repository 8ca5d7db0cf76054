from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.draw import ellipse

from mitosam.evaluation.rivals import filled_box, inscribed_ellipse, score_rivals
from mitosam.geometry import box_of_mask
from tests.evaluation.test_scores import SUBJECT

SHAPE = (24, 30)
boxes = st.tuples(
    st.integers(0, 28), st.integers(0, 22), st.integers(1, 30), st.integers(1, 24)
).map(lambda b: np.array([b[0], b[1], min(b[0] + b[2], 30), min(b[1] + b[3], 24)], float))


@given(boxes)
def test_the_box_round_a_filled_box_is_that_box(box):
    np.testing.assert_array_equal(box_of_mask(filled_box(box, SHAPE)), box)


@given(boxes)
def test_the_ellipse_lies_in_its_box_and_is_as_symmetric(box):
    inside, whole = inscribed_ellipse(box, SHAPE), filled_box(box, SHAPE)
    assert not (inside & ~whole).any()
    x0, y0, x1, y1 = box.astype(int)
    cut = inside[y0:y1, x0:x1]
    np.testing.assert_array_equal(cut, cut[::-1])
    np.testing.assert_array_equal(cut, cut[:, ::-1])


@given(boxes)
def test_scikit_image_draws_the_same_ellipse(box):
    x0, y0, x1, y1 = box
    expected = np.zeros(SHAPE, bool)
    rows, columns = ellipse(
        (y0 + y1 - 1) / 2, (x0 + x1 - 1) / 2, (y1 - y0) / 2 + 1e-9, (x1 - x0) / 2 + 1e-9, SHAPE
    )
    expected[rows, columns] = True
    assert np.count_nonzero(expected ^ inscribed_ellipse(box, SHAPE)) <= 4  # centres on the rim


@given(arrays(np.bool_, SHAPE).filter(np.any))
def test_no_pixel_of_an_object_lies_outside_its_filled_box(truth):
    box_score, _ = score_rivals(SUBJECT, box_of_mask(truth), truth)
    assert box_score.intersection_px == box_score.truth_px == np.count_nonzero(truth)


def test_a_large_ellipse_fills_pi_quarters_of_its_box():
    share = inscribed_ellipse(np.array([0.0, 0, 400, 300]), (300, 400)).mean()
    assert share == pytest.approx(np.pi / 4, abs=1e-3)


def test_a_box_without_area_holds_nothing():
    box = np.array([3.0, 3, 3, 9])
    assert not filled_box(box, SHAPE).any()
    assert not inscribed_ellipse(box, SHAPE).any()


def test_what_reaches_past_the_frame_is_left_out():
    assert filled_box(np.array([-5.0, -5, 2, 2]), SHAPE).sum() == 4
