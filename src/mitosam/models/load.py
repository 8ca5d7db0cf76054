"""One way in for every checkpoint: `load_model(name_or_path)`."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import SamConfig
from transformers.models.sam.modeling_sam import (
    SamMaskDecoder,
    SamPositionalEmbedding,
    SamPromptEncoder,
)

from mitosam.models.checkpoints import require_all_weights
from mitosam.models.sam import Sam
from mitosam.models.tinyvit import TinyViT, TinyViTConfig

EMBEDDED = "vit_t"
EMBEDDED_WEIGHTS = Path(__file__).parent / "weights" / "vit_t.safetensors"


def load_model(name_or_path: str | Path = EMBEDDED) -> Sam:
    """A model ready to encode and decode, in evaluation mode, with nothing trainable."""
    model = build_tiny()
    weights = {name: tensor.float() for name, tensor in load_file(EMBEDDED_WEIGHTS).items()}
    require_all_weights(model.state_dict(), weights, str(name_or_path))
    model.load_state_dict(weights)
    return model.eval().requires_grad_(False)


def build_tiny() -> Sam:
    """The embedded architecture with weights not yet loaded."""
    config = SamConfig(attn_implementation="sdpa")
    config.mask_decoder_config._attn_implementation = "sdpa"
    with torch.device("cpu"):
        return Sam(
            architecture="vit_t",
            config={},
            vision_encoder=TinyViT(TinyViTConfig()),
            shared_image_embedding=SamPositionalEmbedding(config.vision_config),
            prompt_encoder=SamPromptEncoder(config),
            mask_decoder=SamMaskDecoder(config.mask_decoder_config),
        )
