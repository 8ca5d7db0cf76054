"""SAM 2 and 2.1 on single images: a Hiera encoder. https://arxiv.org/abs/2408.00714."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import Sam2Config
from transformers.initialization import no_init_weights
from transformers.models.sam2.modeling_sam2 import (
    Sam2MaskDecoder,
    Sam2PositionalEmbedding,
    Sam2PromptEncoder,
    Sam2VisionModel,
)

from mitosam.models.high_resolution import (
    HighResolution,
    PackedLevels,
    parts_of,
    without_fine_convolutions,
)


class Sam2Encoder(PackedLevels, Sam2VisionModel):
    """Hiera and its neck."""


class Sam2(HighResolution):
    """SAM 2 without its memory."""

    transformers_class = "Sam2Model"


def sam2_of(config: Mapping[str, Any]) -> Sam2:
    """The SAM 2 that a folder's config.json describes, its weights not yet loaded."""
    parts = parts_of(config, "sam2")
    full = Sam2Config.from_dict(parts)
    with no_init_weights():
        return Sam2(
            architecture="sam2",
            config=parts,
            vision_encoder=Sam2Encoder(full.vision_config),
            shared_image_embedding=Sam2PositionalEmbedding(full.prompt_encoder_config),
            prompt_encoder=Sam2PromptEncoder(full.prompt_encoder_config),
            mask_decoder=without_fine_convolutions(full.mask_decoder_config, Sam2MaskDecoder),
        )
