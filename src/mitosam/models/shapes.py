"""What a checkpoint's weight shapes say about the model they belong to.

Names are segment-anything's. Two things leave no trace in any shape and are taken as published:
the mask decoder's 8 heads, and MobileSAM's 1024 px input.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from transformers import SamConfig
from transformers.models.sam.configuration_sam import (
    SamMaskDecoderConfig,
    SamPromptEncoderConfig,
    SamVisionConfig,
)

from mitosam.errors import ModelError
from mitosam.models.build import DECODER_NORM_EPS
from mitosam.models.tinyvit import TinyViTConfig

Weights = Mapping[str, Tensor]


def sam_config_of(weights: Weights) -> SamConfig:
    """The configuration of a SAM with a ViT encoder."""
    return _config(weights, _vision_config(weights))


def tiny_configs_of(weights: Weights) -> tuple[TinyViTConfig, SamConfig]:
    """The encoder's shape and the rest's, of a MobileSAM with its BatchNorm folded."""
    encoder = _tiny_vit_config(weights)
    positions = _shape(weights, "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix")[1]
    vision = SamVisionConfig(image_size=encoder.input_px, num_pos_feats=positions)
    return encoder, _config(weights, vision)


def _config(weights: Weights, vision: SamVisionConfig) -> SamConfig:
    return SamConfig(
        vision_config=vision,
        prompt_encoder_config=_prompt_encoder_config(weights, vision),
        mask_decoder_config=_mask_decoder_config(weights),
    )


def _vision_config(weights: Weights) -> SamVisionConfig:
    place = "image_encoder"
    _, grid, _, hidden = _shape(weights, f"{place}.pos_embed")
    patch = _shape(weights, f"{place}.patch_embed.proj.weight")[-1]
    depth = _count(weights, f"{place}.blocks.#.norm1.weight")
    tables = [_shape(weights, f"{place}.blocks.{i}.attn.rel_pos_h") for i in range(depth)]
    # A table has one row for each distance from -(size - 1) to size - 1.
    sizes = [(rows + 1) // 2 for rows, _ in tables]
    windows = {size for size in sizes if size != grid}
    if len(windows) > 1 or not sizes:
        raise ModelError(f"a SAM encoder has windows of one size, found {sorted(windows)}")
    return SamVisionConfig(
        hidden_size=hidden,
        output_channels=_shape(weights, f"{place}.neck.0.weight")[0],
        num_hidden_layers=depth,
        num_attention_heads=hidden // tables[0][1],
        image_size=grid * patch,
        patch_size=patch,
        qkv_bias=f"{place}.blocks.0.attn.qkv.bias" in weights,
        mlp_dim=_shape(weights, f"{place}.blocks.0.mlp.lin1.weight")[0],
        window_size=next(iter(windows), 14),
        global_attn_indexes=tuple(i for i, size in enumerate(sizes) if size == grid),
        num_pos_feats=_shape(
            weights, "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
        )[1],
    )


def _prompt_encoder_config(weights: Weights, vision: SamVisionConfig) -> SamPromptEncoderConfig:
    return SamPromptEncoderConfig(
        hidden_size=_shape(weights, "prompt_encoder.no_mask_embed.weight")[1],
        image_size=vision.image_size,
        patch_size=vision.patch_size,
        mask_input_channels=_shape(weights, "prompt_encoder.mask_downscaling.3.weight")[0],
        num_point_embeddings=_count(weights, "prompt_encoder.point_embeddings.#.weight"),
    )


def _mask_decoder_config(weights: Weights) -> SamMaskDecoderConfig:
    layer = "mask_decoder.transformer.layers.0"
    hidden = _shape(weights, "mask_decoder.iou_token.weight")[1]
    return SamMaskDecoderConfig(
        hidden_size=hidden,
        mlp_dim=_shape(weights, f"{layer}.mlp.lin1.weight")[0],
        num_hidden_layers=_count(weights, "mask_decoder.transformer.layers.#.norm1.weight"),
        attention_downsample_rate=hidden
        // _shape(weights, f"{layer}.cross_attn_token_to_image.q_proj.weight")[0],
        num_multimask_outputs=_shape(weights, "mask_decoder.mask_tokens.weight")[0] - 1,
        iou_head_depth=_count(weights, "mask_decoder.iou_prediction_head.layers.#.weight"),
        iou_head_hidden_dim=_shape(weights, "mask_decoder.iou_prediction_head.layers.0.weight")[0],
        layer_norm_eps=DECODER_NORM_EPS,
    )


def _tiny_vit_config(weights: Weights) -> TinyViTConfig:
    place = "image_encoder"
    dims = [_shape(weights, f"{place}.patch_embed.seq.2.weight")[0]]
    dims += [_shape(weights, f"{place}.layers.{i}.downsample.conv1.weight")[0] for i in range(3)]
    # One bias for each head and absolute offset in the window: heads x window squared.
    biases = [
        _shape(weights, f"{place}.layers.{i}.blocks.0.attn.attention_biases") for i in (1, 2, 3)
    ]
    depths = [_count(weights, f"{place}.layers.0.blocks.#.conv1.weight")]
    depths += [_count(weights, f"{place}.layers.{i}.blocks.#.mlp.fc1.weight") for i in (1, 2, 3)]
    return TinyViTConfig(
        embed_dims=_four(dims),
        depths=_four(depths),
        # The first stage has no attention; the published value stands for it.
        num_heads=_four([2, *(heads for heads, _ in biases)]),
        window_sizes=_four([7, *(round(offsets**0.5) for _, offsets in biases)]),
        mlp_ratio=_shape(weights, f"{place}.layers.1.blocks.0.mlp.fc1.weight")[0] // dims[1],
        output_channels=_shape(weights, f"{place}.neck.0.weight")[0],
    )


def _four(values: list[int]) -> tuple[int, int, int, int]:
    first, second, third, fourth = values
    return first, second, third, fourth


def _shape(weights: Weights, name: str) -> tuple[int, ...]:
    if name not in weights:
        raise ModelError(f"these are not the weights of a SAM: {name} is missing")
    return tuple(weights[name].shape)


def _count(weights: Weights, pattern: str) -> int:
    """How many consecutive numbers from 0 stand in for # in the names."""
    number = 0
    while pattern.replace("#", str(number)) in weights:
        number += 1
    return number
