from __future__ import annotations

import pytest
import torch
from transformers.models.sam.modeling_sam import SamVisionEncoder

from mitosam.models import vit
from mitosam.models.vit import use_sliced_attention
from tests.models.tiny_models import example_image, randomise, tiny_sam_config


def make_encoder(attention: str) -> SamVisionEncoder:
    config = tiny_sam_config().vision_config
    config._attn_implementation = attention
    encoder = SamVisionEncoder(config)
    randomise(encoder)
    return encoder.eval()


@pytest.mark.parametrize("slice_numbers", [1, 5_000, 25_000_000])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_slices_of_any_size_give_what_transformers_attention_gives(
    monkeypatch, attention: str, slice_numbers: int
):
    monkeypatch.setattr(vit, "SLICE_NUMBERS", slice_numbers)
    stock, sliced = make_encoder(attention), make_encoder(attention)
    use_sliced_attention(sliced)
    images = torch.cat([example_image(128, seed) for seed in (1, 2)])
    with torch.inference_mode():
        expected = stock(images).last_hidden_state
        torch.testing.assert_close(sliced(images).last_hidden_state, expected, rtol=1e-4, atol=1e-4)


def test_gradients_reach_the_position_tables():
    encoder = make_encoder("sdpa")
    use_sliced_attention(encoder)
    encoder(example_image(128)).last_hidden_state.square().mean().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())
