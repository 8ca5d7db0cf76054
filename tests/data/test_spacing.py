from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from mitosam.data.spacing import section_spacing_px


def sections_apart(spacing_px, num=12, seed=0, side=160):
    """Every so many planes of a texture that looks alike along all axes."""
    depth = int(num * spacing_px) + 1
    noise = np.random.default_rng(seed).normal(size=(depth, side, side)).astype(np.float32)
    texture = ndimage.gaussian_filter(noise, 4.0, mode="wrap")
    grey = np.clip(128 + 40 * texture / texture.std(), 0, 255).astype(np.uint8)
    return grey[:: int(spacing_px)][:num]


@pytest.mark.parametrize("spacing", [1, 2, 4, 6])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_distance_of_sections_is_recovered_from_their_looks(spacing, seed):
    stack = sections_apart(spacing, seed=seed)
    found = section_spacing_px(stack.__getitem__, len(stack), None)
    assert found == pytest.approx(spacing, abs=1)


@given(size=st.tuples(*[st.floats(1, 100)] * 3))
def test_a_voxel_size_is_taken_at_its_word(size):
    z, y, x = size
    found = section_spacing_px(lambda _: pytest.fail("no section is needed"), 9, size)
    assert found == pytest.approx(z / math.sqrt(y * x))


@pytest.mark.parametrize("size", [None, (5.0, 5.0, 5.0)])
def test_one_section_is_infinitely_far_from_any_other(size):
    assert section_spacing_px(lambda _: np.zeros((4, 4), np.uint8), 1, size) == math.inf


@pytest.mark.parametrize("shape", [(40, 40), (1, 50), (3, 3), (1, 1)])
def test_constant_and_tiny_sections_have_a_distance(shape):
    for grey in (np.zeros(shape, np.uint8), np.arange(np.prod(shape)).reshape(shape) % 256):
        found = section_spacing_px(lambda _, grey=grey: grey.astype(np.uint8), 3, None)
        assert found >= 1
        assert math.isfinite(found)


def test_one_black_section_does_not_decide():
    stack = sections_apart(2)
    stack[3] = 0
    assert section_spacing_px(stack.__getitem__, len(stack), None) == pytest.approx(2, abs=1)
