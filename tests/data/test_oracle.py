from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mitosam.data.masks import pieces
from mitosam.data.oracle import jitter_boxes, object_boxes, object_points, patch_box
from mitosam.geometry import box_of_mask

random_labels = hnp.arrays(np.int32, (11, 13), elements=st.integers(0, 2)).map(pieces)


def test_boxes_and_points_by_hand():
    labels = np.zeros((8, 10), np.int32)
    labels[1:6, 2:7] = 1
    labels[7, 9] = 2
    assert patch_box(labels).tolist() == [2, 1, 10, 8]
    assert object_boxes(labels).tolist() == [[2, 1, 7, 6], [9, 7, 10, 8]]
    assert object_points(labels).tolist() == [[4.5, 3.5], [9.5, 7.5]]


def test_no_objects_give_no_prompts():
    empty = np.zeros((4, 4), np.int32)
    assert object_boxes(empty).shape == (0, 4)
    assert object_points(empty).shape == (0, 2)


@given(random_labels)
def test_every_object_has_its_own_tight_box_and_a_point_inside(labels):
    boxes, points = object_boxes(labels), object_points(labels)
    assert len(boxes) == len(points) == labels.max()
    for number, (box, (x, y)) in enumerate(zip(boxes, points, strict=True), start=1):
        np.testing.assert_array_equal(box, box_of_mask(labels == number))
        assert labels[int(y), int(x)] == number


@given(random_labels)
def test_the_patch_box_is_the_hull_of_the_object_boxes(labels):
    if labels.any():
        boxes = object_boxes(labels)
        hull = [*boxes[:, :2].min(axis=0), *boxes[:, 2:].max(axis=0)]
        assert patch_box(labels).tolist() == hull


@given(labels=random_labels, max_px=st.integers(0, 30), seed=st.integers(0, 99))
def test_jitter_moves_sides_outward_by_whole_pixels_inside_the_frame(labels, max_px, seed):
    boxes = object_boxes(labels)
    moved = jitter_boxes(boxes, max_px, labels.shape, np.random.default_rng(seed))
    outward = (moved - boxes) * [-1, -1, 1, 1]
    assert (outward >= 0).all()
    assert (outward <= max(0, max_px - 1)).all()
    assert (moved == np.rint(moved)).all()
    assert (moved >= 0).all()
    assert (moved[:, 2] <= 13).all()
    assert (moved[:, 3] <= 11).all()


def test_the_paper_s_jitter_reaches_from_0_to_19_and_follows_the_seed():
    boxes = np.tile([500.0, 500.0, 510.0, 510.0], (2000, 1))
    first = jitter_boxes(boxes, 20, (1000, 1000), np.random.default_rng(3))
    again = jitter_boxes(boxes, 20, (1000, 1000), np.random.default_rng(3))
    np.testing.assert_array_equal(first, again)
    assert set(np.abs(first - boxes).ravel()) == set(range(20))
    assert boxes[0].tolist() == [500, 500, 510, 510]
