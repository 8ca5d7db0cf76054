from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import pdist

from mitosam.morphometry.lengths import largest_distance
from mitosam.morphometry.skeleton import measure_skeleton
from tests.morphometry.shapes import (
    ANISOTROPIC,
    ISOTROPIC,
    ball,
    capsule,
    cylinder,
    ellipsoid,
    star,
)

CUBE = (1.0, 1.0, 1.0)
small_masks = arrays(np.bool_, st.tuples(*[st.integers(1, 4)] * 3))


def length_of(mask, size):
    """As the table of instances has it."""
    return max(measure_skeleton(mask, size).span_nm, largest_distance(mask, size))


@pytest.mark.parametrize("size", [ISOTROPIC, ANISOTROPIC])
@pytest.mark.parametrize(
    ("body", "length"),
    [
        (lambda size, rng: ball(120, size, rng), 240),
        (lambda size, rng: ellipsoid((130, 120, 110), size, rng), 260),
        (lambda size, rng: ellipsoid((200, 112, 64), size, rng), 400),
        (lambda size, rng: capsule(64, 300, size, rng), 300 + 2 * 64),
        (lambda size, rng: capsule(64, 600, size, rng), 600 + 2 * 64),
        (lambda size, rng: cylinder(170, 160, size, rng), np.hypot(160, 2 * 170)),
        (lambda size, rng: cylinder(200, 40, size, rng), np.hypot(40, 2 * 200)),
        (lambda size, rng: star(64, 400, 3, size, rng), 2 * 400 + 2 * 64),
    ],
    ids=["ball", "near-ball", "ellipsoid", "short", "long", "fat-cylinder", "plate", "star"],
)
def test_bodies_of_every_shape_are_as_long_as_they_are(body, length, size):
    """Voxels reach beyond the surface: a ball of 8 sections of 30 nm measures a tenth too much."""
    mask = body(size, np.random.default_rng(3)).mask
    assert length_of(mask, size) == pytest.approx(length, rel=0.16)


def test_a_body_that_the_border_cuts_is_measured_to_the_cut():
    """A disc of 69 voxels through 33 sections, as a thin volume cuts one out of a mitochondrion."""
    _, y, x = np.indices((33, 71, 71)) - 35
    disc = np.hypot(y, x) <= 34.5
    assert length_of(disc, (5.0, 5.0, 5.0)) == pytest.approx(5 * np.hypot(33, 69), rel=0.02)
    tube = np.hypot(y, x) <= 5
    assert measure_skeleton(tube, CUBE).span_nm == pytest.approx(33, rel=0.05)


def test_a_bent_body_is_longer_than_its_ends_are_apart():
    _, y, x = np.indices((13, 70, 40)) - np.array([6, 35, 3])[:, None, None, None]
    z = np.arange(13)[:, None, None] - 6
    half_ring = (np.hypot(np.hypot(y, x) - 28, z) <= 4) & (x >= 0)
    length = length_of(half_ring, CUBE)
    assert length == pytest.approx(np.pi * 28, rel=0.06)
    assert length > 1.25 * largest_distance(half_ring, CUBE)


def test_a_ring_is_half_as_long_as_its_way_round():
    z, y, x = np.indices((9, 61, 61)) - np.array([4, 30, 30])[:, None, None, None]
    ring = np.hypot(np.hypot(y, x) - 22, z) <= 3
    assert measure_skeleton(ring, CUBE).span_nm == pytest.approx(np.pi * 22, rel=0.06)


@given(small_masks, st.sampled_from([CUBE, (30.0, 8.0, 5.0)]))
def test_the_largest_distance_is_that_of_all_pairs(mask, size):
    steps = np.concatenate([np.eye(3), -np.eye(3)]) / 2
    faces = (np.argwhere(mask)[:, None] + steps).reshape(-1, 3) * size
    expected = pdist(faces).max() if len(faces) else 0
    assert largest_distance(mask, size) == pytest.approx(expected)


@given(small_masks, st.permutations([0, 1, 2]), st.sampled_from([0, 1, 2]))
def test_the_largest_distance_does_not_depend_on_how_the_axes_run(mask, order, axis):
    turned = np.flip(mask.transpose(order), axis)
    size = np.array([30.0, 8.0, 5.0])
    assert largest_distance(turned, tuple(size[order])) == pytest.approx(
        largest_distance(mask, tuple(size))
    )
