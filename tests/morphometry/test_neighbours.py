from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mitosam.morphometry.neighbours import SurfaceStore, nearest_distances, surface_corners

SIZE = (30.0, 8.0, 5.0)


def distances(labels, size=SIZE):
    with SurfaceStore() as surfaces:
        for label in np.unique(labels[labels > 0]):
            surfaces.add(surface_corners(labels == label))
        return nearest_distances(surfaces, size)


def by_every_pair_of_voxels(labels, size):
    """The distance between the boxes of two voxels, over all pairs of voxels."""
    places = [np.argwhere(labels == label) for label in np.unique(labels[labels > 0])]
    found = np.full(len(places), np.nan)
    for i, one in enumerate(places):
        for j, other in enumerate(places):
            if i != j:
                gaps = np.maximum(abs(one[:, None] - other[None]) - 1, 0) * np.array(size)
                found[i] = np.fmin(found[i], np.linalg.norm(gaps, axis=-1).min())
    return found


@given(arrays(np.uint8, (5, 6, 7), elements=st.sampled_from([0] * 12 + [1, 2, 3])))
def test_it_is_the_smallest_distance_over_all_pairs_of_voxels(labels):
    np.testing.assert_allclose(distances(labels), by_every_pair_of_voxels(labels, SIZE))


@pytest.mark.parametrize("seed", range(3))
def test_among_many_bodies_far_apart_the_nearest_is_found(seed):
    rng = np.random.default_rng(seed)
    labels = np.zeros((12, 90, 90), np.uint8)
    places = [tuple(rng.integers(0, labels.shape)) for _ in range(60)]
    for label, at in enumerate(places, start=2):
        labels[at] = label
    labels[5, 40:45, 10:80] = 1  # one body is much larger than the others
    np.testing.assert_allclose(distances(labels), by_every_pair_of_voxels(labels, SIZE))


def test_a_case_worked_by_hand():
    labels = np.zeros((9, 9, 9), np.uint8)
    labels[0, 0, 0] = 1
    labels[0, 0, 4] = 2  # three voxels of 5 nm between them
    labels[8, 0, 4] = 3  # seven voxels of 30 nm from the second
    assert distances(labels).tolist() == [15, 15, 210]


def test_bodies_that_touch_at_a_corner_are_0_apart():
    labels = np.zeros((2, 2, 2), np.uint8)
    labels[0, 0, 0], labels[1, 1, 1] = 1, 2
    assert distances(labels).tolist() == [0, 0]


def test_a_lone_body_has_no_neighbour():
    assert np.isnan(distances(np.ones((2, 2, 2), np.uint8))).all()


def test_the_corners_of_a_voxel_are_eight():
    assert len(surface_corners(np.ones((1, 1, 1), bool))) == 8


def test_corners_inside_a_body_are_no_surface():
    assert len(surface_corners(np.ones((3, 3, 3), bool))) == 4**3 - 2**3


@pytest.mark.parametrize("k", [0.25, 3.0])
def test_voxels_k_times_as_large_have_k_times_the_distance(k):
    labels = np.zeros((6, 9, 9), np.uint8)
    labels[0, 1:3, 1:3], labels[4, 5:7, 6:8] = 1, 2
    larger = tuple(side * k for side in SIZE)
    np.testing.assert_allclose(distances(labels, larger), k * distances(labels))
