"""Models of a given shape, with weights not yet loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, SamConfig
from transformers.models.sam.configuration_sam import SamMaskDecoderConfig, SamVisionConfig
from transformers.models.sam.modeling_sam import (
    SamPositionalEmbedding,
    SamPromptEncoder,
    SamVisionEncoder,
)

from mitosam.models.decoder import build_decoder
from mitosam.models.sam import Sam
from mitosam.models.tiny_folder import read_tiny_config
from mitosam.models.tinyvit import TinyViT, TinyViTConfig
from mitosam.models.vit import use_sliced_attention

# segment-anything's, where transformers' default is 1e-6.
DECODER_NORM_EPS = 1e-5


def default_config() -> SamConfig:
    """The prompt encoder and mask decoder that all published SAMs share."""
    return SamConfig(mask_decoder_config=SamMaskDecoderConfig(layer_norm_eps=DECODER_NORM_EPS))


def build_tiny(encoder: TinyViTConfig | None = None, config: SamConfig | None = None) -> Sam:
    """A TinyViT encoder with SAM's prompt encoder and mask decoder."""
    encoder = encoder or TinyViTConfig()
    config = config or default_config()
    saved = {"tiny_vit": asdict(encoder), "sam": config.to_diff_dict()}
    return _assemble("vit_t", saved, TinyViT(encoder), config)


def build_sam(config: SamConfig) -> Sam:
    """SAM with its own ViT encoder; its weights stand on the meta device until loaded."""
    with torch.device("meta"):
        vision = SamVisionConfig(**copied(config.vision_config))
        vision._attn_implementation = "sdpa"
        encoder = SamVisionEncoder(vision)
        use_sliced_attention(encoder)
        return _assemble("sam", config.to_dict(), encoder, config)


def tiny_of(config: Mapping[str, Any]) -> Sam:
    """The TinyViT SAM that a folder's config.json describes."""
    return build_tiny(*read_tiny_config(config))


def sam_of(config: Mapping[str, Any]) -> Sam:
    """The SAM that a folder's config.json describes."""
    return build_sam(SamConfig.from_dict(dict(config)))


def _assemble(
    architecture: str, saved: dict[str, Any], encoder: nn.Module, config: SamConfig
) -> Sam:
    decoder = SamMaskDecoderConfig(**copied(config.mask_decoder_config))
    return Sam(
        architecture=architecture,
        config=saved,
        vision_encoder=encoder,
        shared_image_embedding=SamPositionalEmbedding(config.vision_config),
        prompt_encoder=SamPromptEncoder(config),
        mask_decoder=build_decoder(decoder),
    )


def copied(config: dict[str, Any] | PreTrainedConfig | None) -> dict[str, Any]:
    """One part's settings, copied so that building changes nothing of the caller's."""
    assert isinstance(config, PreTrainedConfig), "SamConfig turns its parts into configurations"
    return config.to_dict()
