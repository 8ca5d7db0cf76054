from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mitosam.geometry import Box
from mitosam.morphometry.lengths import largest_distance
from mitosam.morphometry.neighbours import surface_corners
from mitosam.morphometry.runs import painted, rank_runs
from mitosam.morphometry.shapes import instance_surface, measure_shape
from mitosam.morphometry.skeleton import measure_skeleton
from tests.morphometry.shapes import ANISOTROPIC, ISOTROPIC, capsule, star

masks = arrays(np.bool_, st.tuples(*[st.integers(1, 6)] * 3)).filter(np.any)


def runs_of(mask):
    return rank_runs(mask, "mask", [f"page {z}" for z in range(len(mask))]).runs


@given(masks)
def test_runs_paint_the_mask_they_come_from(mask):
    np.testing.assert_array_equal(painted(runs_of(mask), mask.shape), mask)


@given(masks, st.integers(2, 4))
def test_a_coarser_voxel_holds_any_of_its_voxels(mask, coarser):
    shape = tuple(-(-n // coarser) for n in mask.shape)
    expected = np.zeros(shape, bool)
    for at in np.argwhere(mask):
        expected[tuple(at // coarser)] = True
    np.testing.assert_array_equal(painted(runs_of(mask), shape, coarser), expected)


@given(masks, st.integers(1, 60), st.tuples(*[st.integers(0, 9)] * 3))
def test_a_surface_found_in_parts_is_that_of_the_whole_mask(mask, max_voxels, start):
    box = Box(start, tuple(np.add(start, mask.shape).tolist()))
    runs = runs_of(mask).moved(tuple(-n for n in start))
    found = instance_surface(runs, box, max_voxels)
    expected = surface_corners(mask) + np.array(start)
    assert sorted(found.tolist()) == sorted(expected.tolist())


@pytest.mark.parametrize("size", [ISOTROPIC, ANISOTROPIC])
def test_a_shape_is_that_of_the_mask(size):
    mask = star(40, 200, 3, size, np.random.default_rng(1)).mask
    shape = measure_shape(runs_of(mask), Box((0, 0, 0), mask.shape), size, 10**9)
    skeleton = measure_skeleton(mask, size)
    assert shape.coarser == 1
    assert shape.length_nm == max(skeleton.span_nm, largest_distance(mask, size))
    assert shape.skeleton_length_nm == skeleton.length_nm
    assert shape.num_branch_points == skeleton.num_branch_points


@pytest.mark.parametrize("size", [ISOTROPIC, ANISOTROPIC])
def test_a_long_body_is_about_as_long_at_half_the_resolution(size):
    mask = capsule(64, 600, size, np.random.default_rng(2)).mask
    box = Box((0, 0, 0), mask.shape)
    fine = measure_shape(runs_of(mask), box, size, mask.size * 2)
    coarse = measure_shape(runs_of(mask), box, size, mask.size // 4)
    assert (fine.coarser, coarse.coarser) == (1, 2)
    assert coarse.length_nm == pytest.approx(fine.length_nm, rel=0.05)
    assert coarse.skeleton_length_nm == pytest.approx(fine.skeleton_length_nm, rel=0.1)


def test_a_neck_of_one_voxel_does_not_break_at_a_coarser_resolution():
    mask = np.zeros((9, 9, 60), bool)
    mask[3:7, 3:7, :20] = mask[3:7, 3:7, 40:] = True
    mask[4, 4, 20:40] = True
    shape = measure_shape(runs_of(mask), Box((0, 0, 0), mask.shape), ISOTROPIC, 2000)
    assert shape.coarser == 2
    assert shape.length_nm == pytest.approx(60 * 8, rel=0.1)
