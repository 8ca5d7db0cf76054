from __future__ import annotations

import pytest
import torch
from transformers.models.sam.configuration_sam import SamMaskDecoderConfig
from transformers.models.sam.modeling_sam import SamMaskDecoder

from mitosam.inference.decode import lay_out
from mitosam.models.decoder import build_decoder
from mitosam.models.promptable import ModelPrompts
from tests.models.tiny_models import (
    HIDDEN,
    example_image,
    example_prompts,
    make_tiny_vit_sam,
    randomise,
)


def make_config() -> SamMaskDecoderConfig:
    config = SamMaskDecoderConfig(hidden_size=HIDDEN, mlp_dim=48, iou_head_hidden_dim=24)
    config._attn_implementation = "eager"
    return config


def decode(decoder: SamMaskDecoder, num_positions: int, precision: str):
    """Logits and predicted IoU of two images with three prompts each."""
    generator = torch.Generator().manual_seed(3)
    shapes = {"image": (2, HIDDEN, 16, 16), "position": (1, HIDDEN, 16, 16)}
    shapes |= {"dense": (2, HIDDEN, 16, 16), "sparse": (2, 3, 2, HIDDEN)}
    drawn = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        return decoder(
            image_embeddings=drawn["image"],
            image_positional_embeddings=drawn["position"].expand(num_positions, -1, -1, -1),
            sparse_prompt_embeddings=drawn["sparse"],
            dense_prompt_embeddings=drawn["dense"],
            multimask_output=True,
        )


def outputs_and_gradients(build, num_positions: int, precision: str) -> list[torch.Tensor]:
    """Masks, predicted IoU, and the gradient of every weight that has one."""
    decoder = build(make_config())
    randomise(decoder)
    masks, ious = decode(decoder, num_positions, precision)
    (masks.float().square().mean() + ious.float().square().mean()).backward()
    gradients = [weight.grad for weight in decoder.parameters() if weight.grad is not None]
    return [masks.detach(), ious.detach(), torch.cat([g.flatten() for g in gradients])]


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.fixture(scope="module")
def stock() -> list[torch.Tensor]:
    # transformers repeats the position for each image; ours has one that serves all.
    return outputs_and_gradients(SamMaskDecoder, 2, "fp32")


def test_masks_and_gradients_are_those_of_transformers_decoder(stock):
    for found, expected in zip(outputs_and_gradients(build_decoder, 1, "fp32"), stock, strict=True):
        assert relative_error(found, expected) < 1e-4


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_one_pass_gives_the_single_mask_and_the_three_to_the_bit(precision: str):
    sam = make_tiny_vit_sam(input_px=64)
    sam.precision = precision
    embedding, asked = sam.encode(example_image(64)), example_prompts(64)
    with torch.inference_mode():
        together = sam.decode_outputs(embedding, asked, "all")
        for chosen, multimask_output in ((slice(0, 1), False), (slice(1, 4), True)):
            expected = sam.decode(embedding, asked, multimask_output=multimask_output)
            assert torch.equal(together.low_res_logits[:, :, chosen], expected.low_res_logits)
            assert torch.equal(together.iou_predictions[:, :, chosen], expected.iou_predictions)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("num_prompts", [1, 3])
def test_an_image_laid_out_before_gives_the_same_masks_to_the_bit(precision, num_prompts):
    sam = make_tiny_vit_sam(input_px=64)
    sam.precision = precision
    embedding = sam.encode(example_image(64))
    corners = torch.rand(1, num_prompts, 2, generator=torch.Generator().manual_seed(0)) * 30
    asked = ModelPrompts(boxes=torch.cat([corners, corners + 20], dim=-1))
    with torch.inference_mode():
        found = sam.decode(lay_out(embedding), asked)
        expected = sam.decode(embedding.contiguous(), asked)
    assert torch.equal(found.low_res_logits, expected.low_res_logits)
    assert torch.equal(found.iou_predictions, expected.iou_predictions)


def test_bf16_errs_no_more_than_transformers_decoder_does(stock):
    ours = outputs_and_gradients(build_decoder, 1, "bf16")
    theirs = outputs_and_gradients(SamMaskDecoder, 2, "bf16")
    for found, rival, expected in zip(ours, theirs, stock, strict=True):
        assert relative_error(found, expected) < 1.5 * relative_error(rival, expected)
