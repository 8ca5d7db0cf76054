from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitosam.training.jitter import random_points, shake_boxes

seeds = st.integers(0, 2**32)


@st.composite
def boxes_in_a_frame(draw):
    """Boxes of whole pixels inside a frame, down to one pixel wide."""
    height, width = draw(st.integers(1, 60)), draw(st.integers(1, 60))

    def side(length):
        start = draw(st.integers(0, length - 1))
        return start, draw(st.integers(start + 1, length))

    corners = [(side(width), side(height)) for _ in range(draw(st.integers(1, 4)))]
    boxes = np.array([(x0, y0, x1, y1) for (x0, x1), (y0, y1) in corners], np.float64)
    return boxes, (height, width)


@given(boxes_in_a_frame(), st.floats(0, 0.5), seeds)
def test_shaken_boxes_stay_inside_the_frame_and_never_close(boxes_and_shape, share, seed):
    boxes, (height, width) = boxes_and_shape
    shaken = shake_boxes(boxes, share, (height, width), np.random.default_rng(seed))
    x0, y0, x1, y1 = shaken.T
    assert (x0 >= 0).all()
    assert (y0 >= 0).all()
    assert (x1 <= width).all()
    assert (y1 <= height).all()
    assert (x1 - x0 >= 1 - 1e-9).all()
    assert (y1 - y0 >= 1 - 1e-9).all()


@given(boxes_in_a_frame(), st.floats(0, 0.5), seeds)
def test_no_side_moves_further_than_its_share_or_the_one_pixel_that_must_stay(
    boxes_and_shape, share, seed
):
    boxes, shape = boxes_and_shape
    shaken = shake_boxes(boxes, share, shape, np.random.default_rng(seed))
    sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    assert (np.abs(shaken - boxes) <= np.maximum(share * sides, 1) + 1e-9).all()


@given(boxes_in_a_frame(), seeds)
def test_no_share_leaves_the_boxes_alone(boxes_and_shape, seed):
    boxes, shape = boxes_and_shape
    assert np.array_equal(shake_boxes(boxes, 0, shape, np.random.default_rng(seed)), boxes)


def test_the_boxes_really_move_in_and_out():
    boxes = np.tile([[20.0, 20.0, 60.0, 60.0]], (200, 1))
    moved = shake_boxes(boxes, 0.1, (80, 80), np.random.default_rng(0)) - boxes
    assert moved.min() == pytest.approx(-4, abs=0.2)
    assert moved.max() == pytest.approx(4, abs=0.2)


@given(seeds, st.integers(1, 4))
def test_random_points_are_pixel_centres_of_their_object(seed, num_objects):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_objects + 1, (9, 13))
    ids = np.unique(labels[labels > 0])
    points = random_points(labels, ids, rng)
    assert points.shape == (len(ids), 2)
    assert (points % 1 == 0.5).all()
    columns, rows = np.floor(points).astype(int).T
    assert (labels[rows, columns] == ids).all()


def test_random_points_reach_every_pixel_alike():
    labels = np.zeros((4, 5), int)
    labels[1, 1:4] = 7
    points = random_points(labels, np.full(3000, 7), np.random.default_rng(0))
    columns, counts = np.unique(points[:, 0], return_counts=True)
    assert columns.tolist() == [1.5, 2.5, 3.5]
    assert (np.abs(counts - 1000) < 120).all()


def test_no_objects_give_no_points():
    empty = np.zeros(0, int)
    assert random_points(np.zeros((2, 2), int), empty, np.random.default_rng(0)).shape == (0, 2)
