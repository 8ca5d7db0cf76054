from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mitosam.inference.head_maps import FLIPS, PixelModel
from mitosam.models.head import CONTEXT_PX, STRIDE_PX, as_stack
from tests.tiny_segmenter import make_head

CHANNELS = 3


@pytest.fixture(scope="module")
def model():
    head = make_head(embedding_channels=CHANNELS)
    return PixelModel(network=head, shape=head.shape, precision="fp32")


def example(shape_yx, seed=0):
    rng = np.random.default_rng(seed)
    stack = rng.integers(0, 256, (3, *shape_yx)).astype(np.uint8)
    cells = tuple(-(-n // 8) for n in shape_yx)
    return stack, rng.normal(size=(CHANNELS, *cells)).astype(np.float32)


def assert_alike(one, other):
    """Sums in another order may turn a rounding."""
    assert np.abs(one.astype(int) - other.astype(int)).max() <= 1


@settings(max_examples=12, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 400), st.integers(1, 400)),
    window_px=st.sampled_from([64, 100, 160]),
)
def test_maps_do_not_depend_on_the_windows(shape, window_px):
    head = make_head(embedding_channels=CHANNELS)
    model = PixelModel(network=head, shape=head.shape, precision="fp32")
    stack, embedding = example(shape)
    whole = model.maps(stack, embedding, window_px=4096)
    assert whole.shape == (2, *shape)
    assert_alike(model.maps(stack, embedding, window_px=window_px), whole)


def test_a_section_in_one_window_is_what_the_network_says(model):
    stack, embedding = example((48, 64))
    with torch.inference_mode():
        logits = model.network(
            as_stack(torch.from_numpy(stack)[None]), torch.from_numpy(embedding)[None]
        )
    once = replace(model, num_flips=1)
    assert_alike(once.maps(stack, embedding), (logits[0].sigmoid() * 255).round().numpy())


def test_the_maps_are_the_mean_of_the_flips(model):
    stack, embedding = example((48, 64))
    once = replace(model, num_flips=1)
    turned = [[np.flip(one, axes).copy() for one in (stack, embedding)] for axes in FLIPS]
    flipped = [
        np.flip(once.maps(*given), axes).astype(float)
        for given, axes in zip(turned, FLIPS, strict=True)
    ]
    np.testing.assert_allclose(model.maps(stack, embedding), np.mean(flipped, axis=0), atol=1.01)


def test_without_an_embedding_its_part_is_zero(model):
    stack, embedding = example((48, 64))
    assert_alike(model.maps(stack, None), model.maps(stack, np.zeros_like(embedding)))


def test_no_pixel_depends_on_anything_beyond_the_context():
    # Weights above 0 and no ReLU that is closed, so that nothing cancels out on the way.
    head = make_head(embedding_channels=CHANNELS).double()
    for parameter in head.parameters():
        parameter.abs_().clamp_(min=1e-3)
    side = 2 * CONTEXT_PX + 4 * STRIDE_PX
    stack = torch.full((1, 3, side, side), 200.0, dtype=torch.float64)
    cells = torch.zeros((1, CHANNELS, side // 8, side // 8), dtype=torch.float64)
    quiet = head(stack, cells)
    farthest = 0
    for place in range(side // 2, side // 2 + STRIDE_PX):
        loud = stack.clone()
        loud[:, :, place, place] += 1000
        touched = (head(loud, cells) != quiet).nonzero()[:, -2:]
        farthest = max(farthest, int((touched - place).abs().max()))
    cell = side // 16
    loud = cells.clone()
    loud[:, :, cell, cell] += 1000
    touched = (head(stack, loud) != quiet).nonzero()[:, -2:]
    farthest = max(farthest, int((touched - cell * 8).abs().max()))
    assert CONTEXT_PX / 2 < farthest <= CONTEXT_PX  # it reaches far, and not farther


def test_beyond_the_ends_of_the_stack_sections_are_repeated(model):
    sections = np.arange(4, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8)
    read = sections.__getitem__
    assert model.stack(read, 0, 4)[:, 0, 0].tolist() == [0, 0, 1]
    assert model.stack(read, 3, 4)[:, 0, 0].tolist() == [2, 3, 3]
    assert model.stack(read, 0, 1)[:, 0, 0].tolist() == [0, 0, 0]
