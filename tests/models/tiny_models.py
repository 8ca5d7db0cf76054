"""Small random-weight models of the real classes, and checkpoints of them in each format."""

from __future__ import annotations

import torch
from transformers import SamConfig, SamModel
from transformers.models.sam.configuration_sam import (
    SamMaskDecoderConfig,
    SamPromptEncoderConfig,
    SamVisionConfig,
)

import mitosam
from mitosam.models.build import build_tiny
from mitosam.models.promptable import ModelPrompts, Promptable
from mitosam.models.sam import Sam
from mitosam.models.tinyvit import TinyViTConfig
from mitosam.models.tuned import TunedInfo

HIDDEN = 32


def tiny_sam_config(input_px: int = 128) -> SamConfig:
    """A ViT of 3 layers: two with windows that do not divide the grid, one global."""
    return SamConfig(
        vision_config=SamVisionConfig(
            hidden_size=24,
            output_channels=HIDDEN,
            num_hidden_layers=3,
            num_attention_heads=3,
            image_size=input_px,
            window_size=3,
            global_attn_indexes=(1,),
            num_pos_feats=HIDDEN // 2,
            mlp_dim=40,
        ),
        prompt_encoder_config=SamPromptEncoderConfig(hidden_size=HIDDEN, image_size=input_px),
        mask_decoder_config=SamMaskDecoderConfig(
            hidden_size=HIDDEN, mlp_dim=48, iou_head_hidden_dim=24, layer_norm_eps=1e-5
        ),
    )


def randomise(module: torch.nn.Module, seed: int = 0) -> None:
    """Weights that let every part matter; norms stay near one."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        is_norm = "norm" in name and name.endswith("weight")
        parameter.data.copy_(1 + 0.1 * noise if is_norm else 0.3 * noise)


def make_transformers_sam(seed: int = 0, input_px: int = 128) -> SamModel:
    model = SamModel(tiny_sam_config(input_px))
    randomise(model, seed)
    return model.eval()


def make_tiny_vit_sam(seed: int = 0, input_px: int = 1024) -> Sam:
    """MobileSAM's architecture, narrow."""
    encoder = TinyViTConfig(
        input_px=input_px,
        embed_dims=(8, 8, 10, 12),
        depths=(1, 1, 1, 1),
        num_heads=(2, 2, 5, 3),
        output_channels=HIDDEN,
    )
    model = build_tiny(encoder, tiny_sam_config(input_px))
    randomise(model, seed)
    position = model.shared_image_embedding.positional_embedding
    model.prompt_encoder.shared_embedding.positional_embedding.data.copy_(position)
    return model.eval().requires_grad_(False)


def example_image(input_px: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(1, 3, input_px, input_px, generator=torch.Generator().manual_seed(seed))


def example_prompts(input_px: int) -> ModelPrompts:
    boxes = torch.tensor([[[0.1, 0.2, 0.6, 0.7], [0.5, 0.5, 0.9, 0.95]]])
    return ModelPrompts(boxes=boxes * input_px)


def decode_example(model: Sam) -> torch.Tensor:
    """Low-res logits of two boxes on the example image."""
    embedding = model.encode(example_image(model.input_px))
    decoded = model.decode(embedding, example_prompts(model.input_px), multimask_output=True)
    return decoded.low_res_logits.detach()


def info_for(model: Promptable) -> TunedInfo:
    """What training says of a tuned model."""
    return TunedInfo(
        base_name=model.name,
        base_hash=model.weights_hash,
        normalisation={"kind": "percentile", "low": "12.0", "high": "230.5"},
        tile_px=512,
        trained_parts=("mask_decoder",),
        settings_toml='seed = 1\nnote = "ä"\n',
        scores={"dice": 0.91},
        created="2026-01-02T03:04:05+00:00",
        mitosam_version=mitosam.__version__,
    )
