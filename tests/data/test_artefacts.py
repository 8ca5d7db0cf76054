from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitosam.data.artefacts import (
    KINDS,
    NO_ARTEFACTS,
    Artefacts,
    blur,
    darken_fold,
    drop_region,
    scratch,
    shift_strips,
)

FLAT = np.full((40, 40), 128, np.uint8)
NOISY = np.random.default_rng(0).integers(0, 256, (40, 40)).astype(np.uint8)
STRENGTHS = {
    "blur_px": 2.0,
    "noise": 20.0,
    "strips": 30.0,
    "fold": 0.9,
    "dropout": 0.4,
    "scratches": 3.0,
}
seeds = st.integers(0, 2**32 - 1)
kinds = pytest.mark.parametrize("kind", KINDS)


def rng() -> np.random.Generator:
    return np.random.default_rng(3)


@given(seeds)
def test_none_gives_the_image_itself(seed):
    assert Artefacts(seed=seed).of_pixels(NOISY) is NOISY
    assert NO_ARTEFACTS.of_pixels(NOISY) is NOISY


@kinds
def test_each_changes_the_image_and_follows_from_its_seed(kind):
    one, again, other = (
        Artefacts(seed=seed).with_strength(kind, STRENGTHS[kind]).of_pixels(NOISY)
        for seed in (1, 1, 2)
    )
    assert (one.dtype, one.shape) == (NOISY.dtype, NOISY.shape)
    assert np.array_equal(one, again)
    assert not np.array_equal(one, NOISY)
    if kind != "blur_px":  # nothing in it is random
        assert not np.array_equal(one, other)


@kinds
def test_turning_another_one_on_moves_none(kind):
    """The place of a fold, say, is the same with noise and without."""
    only = Artefacts(seed=5).with_strength(kind, STRENGTHS[kind])
    both = only.with_strength("noise" if kind == "fold" else "fold", 1e-9)
    assert np.array_equal(both.of_pixels(FLAT), only.of_pixels(FLAT))


@given(st.fixed_dictionaries({kind: st.floats(0, 0.8) for kind in KINDS}), seeds)
def test_any_mixture_is_an_image_of_the_same_size(strengths, seed):
    found = Artefacts(seed=seed, **strengths).of_pixels(NOISY)
    assert (found.dtype, found.shape) == (np.uint8, NOISY.shape)


def test_blur_keeps_the_mean_of_a_spot_and_spreads_it():
    spot = np.zeros((41, 41))
    spot[20, 20] = 100
    found = blur(spot, 2.0)
    assert found.sum() == pytest.approx(100)
    assert found[20, 20] == pytest.approx(100 / (2 * np.pi * 4), rel=0.02)


def test_noise_has_the_spread_that_is_asked_for():
    found = Artefacts(noise=10, seed=1).of_pixels(np.full((200, 200), 128, np.uint8))
    assert found.std() == pytest.approx(10, rel=0.03)
    assert found.mean() == pytest.approx(128, abs=0.3)


@given(seeds)
def test_strips_are_rows_and_jump_no_further_than_told(seed):
    found = shift_strips(FLAT.astype(float), 30, np.random.default_rng(seed))
    assert (found == found[:, :1]).all()
    jumps = np.abs(np.diff(found[:, 0]))
    assert (jumps > 0).sum() <= 3
    assert jumps.max() <= 3 * 30  # where cuts fall together


@given(seeds)
def test_a_fold_darkens_and_its_middle_most(seed):
    found = darken_fold(np.full((64, 64), 100.0), 0.75, np.random.default_rng(seed))
    assert found.max() <= 100
    assert found.min() >= 25 - 1e-9


def test_scratches_are_thin():
    found = scratch(np.full((100, 100), 128.0), 2, rng())
    assert 0 < (np.abs(found - 128) > 5).mean() < 0.2


@given(seeds, st.floats(0.05, 0.8))
def test_a_dropped_region_is_one_rectangle_of_one_value(seed, share):
    image = np.arange(1600, dtype=float).reshape(40, 40) + 1000
    found = drop_region(image, share, np.random.default_rng(seed))
    rows, columns = np.nonzero(found != image)
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert len(rows) == height * width
    assert max(height, width) <= max(1, round(40 * share))
    assert len(np.unique(found[rows, columns])) == 1
