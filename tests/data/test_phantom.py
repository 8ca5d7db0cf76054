from __future__ import annotations

import numpy as np
import pytest

from mitosam.data.phantom import make_phantom
from mitosam.errors import SettingsError

PHANTOM = make_phantom((8, 256, 256), 0)


def test_the_same_seed_gives_the_same_phantom_and_another_another():
    again = make_phantom((8, 256, 256), 0)
    np.testing.assert_array_equal(again.images, PHANTOM.images)
    np.testing.assert_array_equal(again.labels, PHANTOM.labels)
    assert (make_phantom((8, 256, 256), 1).images != PHANTOM.images).any()


def test_it_looks_like_the_stack_it_resembles():
    dark = PHANTOM.images[PHANTOM.labels > 0]
    bright = PHANTOM.images[PHANTOM.labels == 0]
    assert np.median(dark) < np.median(bright) - 25
    assert 30 < PHANTOM.images.std() < 55
    assert 0.04 < (PHANTOM.labels > 0).mean() < 0.25


def test_brightness_alone_does_not_find_the_mitochondria():
    truth = PHANTOM.labels > 0
    best = max(
        2
        * (truth & (PHANTOM.images < level)).sum()
        / (truth.sum() + (PHANTOM.images < level).sum())
        for level in range(60, 200, 10)
    )
    assert best < 0.7


def test_ids_run_without_gaps():
    assert sorted(np.unique(PHANTOM.labels)) == list(range(PHANTOM.labels.max() + 1))
    assert PHANTOM.labels.max() >= 3


@pytest.mark.parametrize("shape", [(1, 64, 64), (3, 16, 200), (2, 1, 64)])
def test_small_phantoms_are_drawn_too(shape):
    phantom = make_phantom(shape, 0)
    assert phantom.images.shape == phantom.labels.shape == shape
    assert phantom.images.dtype == np.uint8
    assert phantom.labels.dtype == np.int32


def test_coarser_voxels_show_more_mitochondria():
    coarse = make_phantom((8, 256, 256), 0, (30.0, 10.0, 10.0))
    assert coarse.labels.max() > PHANTOM.labels.max()
    assert coarse.voxel_size_nm == (30.0, 10.0, 10.0)


def test_impossible_sizes_are_refused():
    with pytest.raises(SettingsError, match="above 0"):
        make_phantom((0, 4, 4), 0)
