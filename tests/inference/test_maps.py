from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from mitosam.inference.maps import boundary_of_labels, maps_of_labels
from mitosam.inference.mask_nms import found_mask, merge_masks


@given(
    labels=hnp.arrays(
        np.int32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 3)
    )
)
def test_the_boundary_is_what_two_erosions_of_each_instance_take(labels):
    expected = np.zeros(labels.shape, np.float32)
    for label in range(1, 4):
        mask = labels == label
        core = mask
        for _ in range(2):
            core = ndimage.binary_erosion(core, border_value=1)
        expected[mask & ~core] = 1
    assert np.array_equal(boundary_of_labels(labels), expected)


def test_maps_of_merged_masks_by_hand():
    masks = [
        found_mask(np.ones((1, width), bool), (0, x), predicted_iou=score, stability_score=1)
        for x, width, score in ((0, 5, 0.9), (4, 6, 0.8))
    ]
    maps = maps_of_labels(merge_masks(masks, (1, 12)).labels)
    assert maps.foreground.tolist() == [[1] * 10 + [0] * 2]
    assert maps.boundary.tolist() == [[0, 0, 0, 1, 1, 1, 1, 0, 1, 1, 0, 0]]
    assert maps.foreground.dtype == maps.boundary.dtype == np.float32


def test_no_masks_give_empty_maps():
    maps = maps_of_labels(merge_masks([], (2, 3)).labels)
    assert not maps.foreground.any()
    assert not maps.boundary.any()
