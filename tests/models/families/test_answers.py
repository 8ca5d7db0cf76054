"""Every family behind the one protocol, against transformers' own model of the same weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers.image_utils import (
    IMAGENET_DEFAULT_MEAN,
    IMAGENET_DEFAULT_STD,
    IMAGENET_STANDARD_MEAN,
    IMAGENET_STANDARD_STD,
)

from mitosam.geometry import ModelFrame, Window
from mitosam.inference.section_embedding import section_embedding
from mitosam.models.head import Head, HeadShape, as_stack
from mitosam.models.high_resolution import HighResolution
from mitosam.models.promptable import ModelPrompts
from tests.models.family_prompts import KINDS_OF_PROMPT, embed, prompts_of
from tests.models.tiny_families import FAMILIES, correct_sam_hq
from tests.models.tiny_models import HIDDEN, example_image


def test_an_embedding_has_the_shape_the_model_says(model):
    family = FAMILIES[model.architecture]
    assert model.input_px == family.input_px
    assert model.embedding_shape[1:] == (family.grid, family.grid)
    assert model.embedding_shape[0] == HIDDEN + model.packed_channels > HIDDEN
    images = torch.cat([example_image(model.input_px, seed) for seed in (1, 2)])
    embeddings = model.encode(images)
    assert embeddings.shape == (2, *model.embedding_shape)
    assert embeddings.dtype == torch.float32
    decoded = model.decode_outputs(embeddings[:1], prompts_of("box", model), "all")
    assert decoded.low_res_logits.shape == (1, 2, 4, model.low_res_px, model.low_res_px)
    assert decoded.iou_predictions.shape == (1, 2, 4)


@pytest.mark.parametrize("kind", KINDS_OF_PROMPT)
@pytest.mark.parametrize("multimask_output", [False, True], ids=["single", "multi"])
def test_masks_are_those_of_transformers_own_model(pair, kind, multimask_output):
    model, theirs = pair
    prompts = prompts_of(kind, model)
    with torch.inference_mode(), correct_sam_hq(theirs):
        expected = theirs(
            pixel_values=example_image(model.input_px),
            input_boxes=prompts.boxes,
            input_points=prompts.points,
            input_labels=prompts.labels,
            input_masks=prompts.masks,
            multimask_output=multimask_output,
        )
    found = model.decode(embed(model), prompts, multimask_output=multimask_output)
    scale = expected.pred_masks.abs().max()
    torch.testing.assert_close(
        found.low_res_logits / scale, expected.pred_masks / scale, rtol=0, atol=1e-5
    )
    torch.testing.assert_close(found.iou_predictions, expected.iou_scores, rtol=1e-4, atol=1e-5)


def test_an_unstable_single_mask_gives_way_to_a_candidate_unless_the_decoder_is_trained(model):
    if not isinstance(model, HighResolution):
        return
    embedding, prompts = embed(model), prompts_of("points", model)
    every = model.decode_outputs(embedding, prompts, "all").low_res_logits
    single = model.decode(embedding, prompts).low_res_logits
    assert torch.equal(single, every[:, :, :1])
    model.mask_decoder.requires_grad_(True)
    own = model.decode(embedding, prompts).low_res_logits.detach()
    model.mask_decoder.requires_grad_(False)
    is_other = (own != single).flatten(2).any(2)
    is_candidate = (every[:, :, 1:] == single).flatten(3).all(3).any(2)
    assert torch.equal(is_other, is_candidate)


def test_each_prompts_masks_are_independent_of_the_others(model):
    embedding, prompts = embed(model), prompts_of("box and points", model)
    together = model.decode_outputs(embedding, prompts, "all")
    for i in range(2):
        asked = {
            name: getattr(prompts, name)[:, i : i + 1] for name in ("boxes", "points", "labels")
        }
        alone = model.decode_outputs(embedding, ModelPrompts(**asked), "all")
        scale = together.low_res_logits.abs().max()
        torch.testing.assert_close(
            alone.low_res_logits / scale,
            together.low_res_logits[:, i : i + 1] / scale,
            rtol=0,
            atol=1e-5,
        )


def test_images_of_a_batch_are_independent_of_each_other(model):
    both = torch.cat([embed(model, 1), embed(model, 2)])
    prompts = prompts_of("box", model)
    twice = ModelPrompts(boxes=prompts.boxes.repeat(2, 1, 1))
    together = model.decode(both, twice, multimask_output=True).low_res_logits
    for i in range(2):
        alone = model.decode(both[i : i + 1], prompts, multimask_output=True).low_res_logits
        scale = alone.abs().max()
        torch.testing.assert_close(together[i] / scale, alone[0] / scale, rtol=0, atol=1e-5)


def test_a_cached_embedding_gives_nearly_the_same_masks(model):
    embedding, prompts = embed(model), prompts_of("box", model)
    fresh = model.decode(embedding, prompts, multimask_output=True).low_res_logits
    cached = model.decode(embedding.half(), prompts, multimask_output=True).low_res_logits
    assert (fresh - cached).abs().max() <= 0.01 * fresh.abs().max()
    assert ((fresh > 0) == (cached > 0)).float().mean() > 0.99


def test_bf16_gives_nearly_the_same_masks(model):
    embedding, prompts = embed(model), prompts_of("box", model)
    exact = model.decode(embedding, prompts, multimask_output=True).low_res_logits
    model.precision = "bf16"
    try:
        rough = model.decode(embed(model), prompts, multimask_output=True).low_res_logits
    finally:
        model.precision = "fp32"
    assert rough.dtype == torch.float32
    assert ((exact > 0) == (rough > 0)).float().mean() > 0.9


def test_everything_loaded_is_frozen_and_in_evaluation_mode(model):
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not any(module.training for module in model.modules())


def test_grey_values_are_normalised_as_the_familys_own_processor_does(model):
    # The processors themselves cannot be imported here: they ask for torchvision.
    mean, std = torch.tensor(IMAGENET_DEFAULT_MEAN), torch.tensor(IMAGENET_DEFAULT_STD)
    if model.architecture == "sam3_tracker":
        mean, std = torch.tensor(IMAGENET_STANDARD_MEAN), torch.tensor(IMAGENET_STANDARD_STD)
    frame = ModelFrame((0, 0), model.input_px, model.input_px)
    grey = np.full((model.input_px, model.input_px), 51, np.uint8)
    torch.testing.assert_close(model.prepare(grey, frame)[0, :, 5, 7], (0.2 - mean) / std)


def test_a_sections_mosaic_and_the_head_take_packed_embeddings(model):
    section = np.random.default_rng(0).integers(0, 255, (96, 144), np.uint8)

    def encode(pixels: np.ndarray, frame: ModelFrame) -> torch.Tensor:
        return model.encode(model.prepare(pixels, frame))[0]

    mosaic = section_embedding(section, encode, tile_px=64, input_px=model.input_px)
    channels = model.embedding_shape[0]
    assert mosaic.shape == (channels, 12, 18)
    assert np.isfinite(mosaic).all()
    shape = HeadShape(
        section_offsets=(0,), embedding_channels=channels, width=4, grey_mean=128, grey_std=60
    )
    head = Head(shape).eval()
    with torch.inference_mode():
        maps = head(as_stack(torch.from_numpy(section)[None, None]), torch.from_numpy(mosaic)[None])
    assert maps.shape == (1, 2, 96, 144)


def test_a_window_of_a_mosaic_is_what_the_tile_says(model):
    tile = np.random.default_rng(1).integers(0, 255, (64, 64), np.uint8)
    frame = ModelFrame((0, 0), 64, model.input_px)
    embedding = model.encode(model.prepare(tile, frame))[0]
    mosaic = section_embedding(tile, lambda *_: embedding, tile_px=64, input_px=model.input_px)
    if embedding.shape[1] == 8:  # at 8 px to a cell it is the tile's own grid
        assert np.array_equal(mosaic, embedding.numpy())
    assert mosaic.shape[1:] == (8, 8)
    assert Window(0, 0, 8, 8).height == mosaic.shape[1]
