from __future__ import annotations

import numpy as np
import pytest

from mitosam.errors import InputError
from mitosam.prompts import PADDING_LABEL, Prompts

BOXES = np.array([[1.0, 2.0, 5.0, 6.0], [0.0, 0.0, 8.0, 6.0]])
POINTS = np.array([[[3.0, 4.0], [99.0, 99.0]], [[8.0, 6.0], [0.0, 0.0]]])
LABELS = np.array([[1, PADDING_LABEL], [1, 0]])


def test_a_subset_keeps_boxes_and_points_together():
    chosen = Prompts(boxes_xyxy=BOXES, points_xy=POINTS, point_labels=LABELS).subset(1, 2)
    assert len(chosen) == 1
    assert chosen.boxes_xyxy.tolist() == BOXES[1:].tolist()
    assert chosen.point_labels.tolist() == [[1, 0]]


def test_incomplete_prompts_are_refused():
    with pytest.raises(InputError, match="neither"):
        Prompts()
    with pytest.raises(InputError, match="go together"):
        Prompts(points_xy=POINTS)
    with pytest.raises(InputError, match="1 boxes and 2 sets"):
        Prompts(boxes_xyxy=BOXES[:1], points_xy=POINTS, point_labels=LABELS)


def test_prompts_that_touch_the_edge_are_inside_and_padding_counts_for_nothing():
    Prompts(boxes_xyxy=BOXES, points_xy=POINTS, point_labels=LABELS).check_inside((6, 8))


@pytest.mark.parametrize(
    "box", [[-1, 0, 2, 2], [0, -1, 2, 2], [0, 0, 9, 2], [0, 0, 2, 7], [0, 0, 0, 2], [3, 3, 2, 4]]
)
def test_boxes_outside_or_empty_are_refused(box):
    with pytest.raises(InputError, match=r"a box needs|boxes must lie inside the 8 x 6 px"):
        Prompts(boxes_xyxy=np.array([box], float)).check_inside((6, 8))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_boxes_that_are_no_numbers_are_refused(value):
    with pytest.raises(InputError):
        Prompts(boxes_xyxy=np.array([[0, 0, 2, value]])).check_inside((6, 8))


def test_points_outside_are_refused():
    outside = Prompts(points_xy=np.array([[[8.5, 1.0]]]), point_labels=np.array([[1]]))
    with pytest.raises(InputError, match=r"got x=8\.5, y=1"):
        outside.check_inside((6, 8))
