from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from mitosam.io.volume import volume_of_array
from mitosam.morphometry.components import connect


def connected(masks):
    return np.stack(list(connect(volume_of_array("masks", masks)).sections()))


@given(
    arrays(np.bool_, st.tuples(*[st.integers(1, 6)] * 3), elements=st.sampled_from([0, 0, 0, 1]))
)
def test_scipy_finds_the_same_regions_in_the_whole_volume_at_once(masks):
    expected, _ = ndimage.label(masks, np.ones((3, 3, 3)))
    np.testing.assert_array_equal(connected(masks), expected)


@pytest.mark.parametrize("value", [1, 255])
def test_two_arms_that_meet_in_the_last_section_are_one(value):
    masks = np.zeros((3, 4, 5), np.uint8)
    masks[:, 1, 0] = masks[:, 1, 4] = masks[2, 1] = value
    assert np.unique(connected(masks)).tolist() == [0, 1]


def test_sections_can_be_read_in_any_order():
    masks = np.zeros((3, 4, 5), np.uint8)
    masks[0, 0, 0] = masks[2, 3, 4] = 1
    volume = connect(volume_of_array("masks", masks))
    assert [volume.section(z).max() for z in (2, 0, 1)] == [2, 1, 0]
