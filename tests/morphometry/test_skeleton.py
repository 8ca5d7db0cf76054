from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitosam.morphometry.skeleton import _graph, measure_skeleton
from tests.morphometry.shapes import ANISOTROPIC, ISOTROPIC, ball, capsule, cylinder, star

SIZES = pytest.mark.parametrize("voxel_size_nm", [ISOTROPIC, ANISOTROPIC])
CUBE = (1.0, 1.0, 1.0)


@SIZES
def test_a_tube_is_as_long_as_its_middle_line(voxel_size_nm):
    """Thinning eats about 0.2 radii of each end: 5 % here; it varies with place and tilt by 4 %."""
    rng = np.random.default_rng(1)
    found = []
    for _ in range(6):
        body = capsule(64, 600, voxel_size_nm, rng)
        skeleton = measure_skeleton(body.mask, voxel_size_nm)
        assert skeleton.num_branch_points == 0
        found.append(skeleton.length_nm / body.length)
    assert 0.8 < min(found)
    assert max(found) < 1.1
    assert np.mean(found) == pytest.approx(0.95, abs=0.05)


@SIZES
def test_a_cylinders_skeleton_is_no_longer_than_its_diagonal(voxel_size_nm):
    body = cylinder(64, 600, voxel_size_nm, np.random.default_rng(2))
    length = measure_skeleton(body.mask, voxel_size_nm).length_nm
    assert 600 - 2 * 64 - 60 < length < np.hypot(600, 2 * 64) * 1.05


@SIZES
def test_three_arms_have_one_branch_point(voxel_size_nm):
    body = star(64, 400, 3, voxel_size_nm, np.random.default_rng(3))
    skeleton = measure_skeleton(body.mask, voxel_size_nm)
    assert skeleton.num_branch_points == 1
    assert skeleton.length_nm == pytest.approx(body.length, rel=0.15)


@SIZES
def test_a_ball_has_no_length_to_speak_of(voxel_size_nm):
    body = ball(120, voxel_size_nm, np.random.default_rng(4))
    skeleton = measure_skeleton(body.mask, voxel_size_nm)
    assert skeleton.length_nm < 0.5 * 120
    assert skeleton.num_branch_points == 0


def test_a_line_of_voxels_is_measured_exactly():
    line = np.zeros((3, 3, 11), bool)
    line[1, 1] = True
    assert measure_skeleton(line, (4.0, 4.0, 4.0)).length_nm == pytest.approx(10 * 4)


def test_a_ring_keeps_its_whole_length_and_has_no_branch_point():
    _, y, x = np.indices((9, 61, 61)) - np.array([4, 30, 30])[:, None, None, None]
    z = np.indices((9, 61, 61))[0] - 4
    torus = np.hypot(np.hypot(y, x) - 22, z) <= 3
    skeleton = measure_skeleton(torus, CUBE)
    assert skeleton.num_branch_points == 0
    assert skeleton.length_nm == pytest.approx(2 * np.pi * 22, rel=0.06)


def test_a_loop_is_closed_once_and_a_lone_pair_is_an_edge():
    pair = np.zeros((3, 3, 4), bool)
    pair[1, 1, 1:3] = True
    assert _graph(np.argwhere(pair)).nnz == 2
    square = np.zeros((1, 10, 10), bool)
    square[0, 1:9, [1, 8]] = square[0, [1, 8], 1:9] = True
    degrees = np.diff(_graph(np.argwhere(square)).indptr)
    assert degrees.tolist() == [2] * len(degrees)


def test_a_ring_with_a_tail_has_one_branch_point():
    line = np.zeros((1, 12, 24), bool)
    line[0, 1, 1:11] = line[0, 10, 1:11] = True
    line[0, 1:11, 1] = line[0, 1:11, 10] = True
    line[0, 5, 10:22] = True
    assert measure_skeleton(line, CUBE).num_branch_points == 1


def test_a_bump_is_no_branch():
    z, y, x = np.indices((24, 30, 80)) - np.array([12, 12, 0])[:, None, None, None]
    tube = (np.hypot(z, y) <= 7) & (x > 3) & (x < 76)
    bump = np.hypot(np.hypot(z, y - 7), x - 40) <= 3
    assert measure_skeleton(tube | bump, CUBE).num_branch_points == 0


def test_a_cavity_makes_no_sheet():
    body = np.ones((11, 11, 41), bool)
    hollow = body.copy()
    hollow[5, 5, 18:22] = False
    assert measure_skeleton(hollow, CUBE) == measure_skeleton(body, CUBE)


@pytest.mark.parametrize("voxel_size_nm", [CUBE, ANISOTROPIC])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 2), (2, 2, 2), (1, 9, 1), (3, 1, 1)])
def test_tiny_bodies_have_finite_lengths(shape, voxel_size_nm):
    skeleton = measure_skeleton(np.ones(shape, bool), voxel_size_nm)
    assert 0 <= skeleton.length_nm <= np.linalg.norm(np.array(shape) * voxel_size_nm)
    assert skeleton.num_branch_points == 0


@given(st.sampled_from([0.5, 2.0, 4.0]))
def test_voxels_k_times_as_large_have_k_times_the_length(k):
    body = star(64, 200, 3, ANISOTROPIC, np.random.default_rng(5))
    one = measure_skeleton(body.mask, ANISOTROPIC)
    other = measure_skeleton(body.mask, tuple(k * side for side in ANISOTROPIC))
    assert other.length_nm == pytest.approx(k * one.length_nm, rel=1e-6)
    assert other.num_branch_points == one.num_branch_points
