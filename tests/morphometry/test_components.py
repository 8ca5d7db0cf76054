from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from mitosam.io.volume import volume_of_array
from mitosam.morphometry.block_counts import count_block, read_block
from mitosam.morphometry.block_grid import BlockGrid
from mitosam.morphometry.components import connect
from mitosam.morphometry.runs import painted
from tests.morphometry.measuring import grid_of

masks_with_cuts = st.tuples(
    arrays(np.bool_, st.tuples(*[st.integers(1, 6)] * 3), elements=st.sampled_from([0, 0, 0, 1])),
    st.tuples(*[st.sets(st.integers(1, 5))] * 3),
)


def connected(masks, grid=None):
    """The volume of ids that the blocks' regions are part of."""
    volume = volume_of_array("masks", masks)
    grid = grid or BlockGrid.regular(masks.shape, masks.shape)
    counts = [
        count_block(read_block(volume, None, grid.box(n)), volume, None, binary=True)
        for n in range(len(grid))
    ]
    labels = np.zeros(masks.shape, int)
    for count, ids in zip(counts, connect(grid, lambda n: counts[n].faces), strict=True):
        for region in np.unique(count.runs.instance):
            inside = painted(count.runs.at(count.runs.instance == region), masks.shape)
            labels[inside] = ids[region]
    return labels


@given(masks_with_cuts)
def test_scipy_finds_the_same_regions_in_the_whole_volume_at_once(drawn):
    masks, cuts = drawn
    expected, _ = ndimage.label(masks, np.ones((3, 3, 3)))
    np.testing.assert_array_equal(connected(masks, grid_of(masks.shape, cuts)), expected)


@pytest.mark.parametrize("value", [1, 255])
@pytest.mark.parametrize("block", [(3, 4, 5), (1, 2, 2)])
def test_two_arms_that_meet_in_the_last_section_are_one(value, block):
    masks = np.zeros((3, 4, 5), np.uint8)
    masks[:, 1, 0] = masks[:, 1, 4] = masks[2, 1] = value
    assert np.unique(connected(masks, BlockGrid.regular(masks.shape, block))).tolist() == [0, 1]


def test_voxels_of_three_blocks_that_meet_at_a_corner_are_one():
    masks = np.zeros((2, 2, 2), np.uint8)
    masks[0, 0, 1] = masks[1, 1, 0] = 1  # only the block at 0, 0, 0 sees both
    assert connected(masks, BlockGrid.regular((2, 2, 2), (1, 1, 1))).max() == 1
