from __future__ import annotations

import dataclasses
import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mitosam.geometry import Box
from mitosam.io.volume import volume_of_array
from mitosam.morphometry.block_grid import BYTES_A_VOXEL, plan_blocks
from tests.morphometry.measuring import grid_of

SHAPES = st.tuples(*[st.integers(1, 7)] * 3)
grids = st.builds(grid_of, SHAPES, st.tuples(*[st.sets(st.integers(1, 6))] * 3))


@given(grids)
def test_each_voxel_lies_in_one_block_and_each_section_in_one_layer(grid):
    covered = np.zeros(grid.shape_zyx, int)
    for layer in grid.layers():
        assert len({(grid.box(n).start_zyx[0], grid.box(n).stop_zyx[0]) for n in layer}) == 1
        for number in layer:
            covered[grid.box(number).slices] += 1
    assert (covered == 1).all()


@given(grids)
def test_the_block_behind_begins_where_a_block_ends(grid):
    for number in range(len(grid)):
        here = grid.box(number)
        for axis in range(3):
            behind = grid.behind(number, axis)
            if behind is None:
                assert here.stop_zyx[axis] == grid.shape_zyx[axis]
            else:
                expected = list(here.start_zyx)
                expected[axis] = here.stop_zyx[axis]
                assert grid.box(behind).start_zyx == tuple(expected)


@given(grids, st.data())
def test_a_box_touches_the_blocks_that_share_voxels_with_it(grid, data):
    ends = [sorted(data.draw(st.tuples(st.integers(0, n - 1), st.integers(1, n))))
            for n in grid.shape_zyx]  # fmt: skip
    box = Box(tuple(a for a, _ in ends), tuple(max(b, a + 1) for a, b in ends))
    inside = np.zeros(grid.shape_zyx, bool)
    inside[box.slices] = True
    expected = [n for n in range(len(grid)) if inside[grid.box(n).slices].any()]
    assert grid.touched(box) == expected


@given(
    st.tuples(*[st.integers(1, 500)] * 3),
    st.tuples(*[st.integers(1, 64)] * 3),
    st.integers(1, 10**7),
)
def test_blocks_are_whole_chunks_where_memory_holds_one(shape, chunk, most):
    volume = dataclasses.replace(
        volume_of_array("v", np.zeros((1, 1, 1), np.uint8)),
        shape_zyx=shape, chunk_zyx=chunk, read_box=lambda box: None,
    )  # fmt: skip
    grid = plan_blocks(volume, most * BYTES_A_VOXEL)
    block = grid.box(0).shape_zyx
    assert math.prod(block) <= most
    if math.prod(min(pair) for pair in zip(chunk, shape, strict=True)) <= most:
        for size, piece, whole in zip(block, chunk, shape, strict=True):
            assert size % piece == 0 or size == whole


def test_a_file_without_boxes_is_read_by_whole_sections():
    volume = volume_of_array("v", np.zeros((10, 20, 30), np.uint8))
    assert plan_blocks(volume, 3 * 600 * BYTES_A_VOXEL).box(0).shape_zyx == (3, 20, 30)
    assert plan_blocks(volume, 1).box(0).shape_zyx == (1, 20, 30)
