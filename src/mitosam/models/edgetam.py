"""EdgeTAM on single images: SAM 2 with RepViT for its encoder. arXiv 2501.07256."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import EdgeTamConfig
from transformers.initialization import no_init_weights
from transformers.models.edgetam.configuration_edgetam import EdgeTamVisionConfig
from transformers.models.edgetam.modeling_edgetam import (
    EdgeTamMaskDecoder,
    EdgeTamPositionalEmbedding,
    EdgeTamPreTrainedModel,
    EdgeTamPromptEncoder,
    EdgeTamVisionModel,
    EdgeTamVisionNeck,
)

from mitosam.models.high_resolution import (
    HighResolution,
    PackedLevels,
    parts_of,
    without_fine_convolutions,
)
from mitosam.models.repvit import RepVit

# timm's, with the depths of their stages; widths are the vision configuration's.
_DEPTHS = {"repvit_m1": (2, 2, 14, 2)}


class _RepVitVisionModel(EdgeTamVisionModel):
    """transformers' vision model, whose own initialiser would ask for timm."""

    def __init__(self, config: EdgeTamVisionConfig) -> None:
        EdgeTamPreTrainedModel.__init__(self, config)
        self.backbone = RepVit(config.backbone_channel_list[::-1], _depths_of(config))
        self.neck = EdgeTamVisionNeck(config)
        self.num_feature_levels = config.num_feature_levels


class EdgeTamEncoder(PackedLevels, _RepVitVisionModel):
    """RepViT and its neck."""


class EdgeTam(HighResolution):
    """EdgeTAM without its memory."""

    transformers_class = "EdgeTamModel"


def _depths_of(config: EdgeTamVisionConfig) -> tuple[int, ...]:
    backbone = config.backbone_config
    name = backbone.architecture.split(".")[0]  # after a dot, timm says how it was trained
    if name not in _DEPTHS:
        raise ValueError(f"its encoder must be {' or '.join(_DEPTHS)}, got {name}")
    # timm's wrapper passes these on, and so they count before the architecture's own.
    return tuple((backbone.model_args or {}).get("depth", _DEPTHS[name]))


def _vision(parts: Mapping[str, Any]) -> dict[str, Any]:
    """The vision configuration with (no) classes, without which transformers asks timm for them."""
    vision = parts["vision_config"]
    no_classes = {"label_names": [], "num_classes": 0}
    return {**vision, "backbone_config": {**no_classes, **vision["backbone_config"]}}


def edgetam_of(config: Mapping[str, Any]) -> EdgeTam:
    """The EdgeTAM that a folder's config.json describes, its weights not yet loaded."""
    parts = parts_of(config, "edgetam")
    full = EdgeTamConfig.from_dict({**parts, "vision_config": _vision(parts)})
    with no_init_weights():
        return EdgeTam(
            architecture="edgetam",
            config=parts,
            vision_encoder=EdgeTamEncoder(full.vision_config),
            shared_image_embedding=EdgeTamPositionalEmbedding(full.prompt_encoder_config),
            prompt_encoder=EdgeTamPromptEncoder(full.prompt_encoder_config),
            mask_decoder=without_fine_convolutions(full.mask_decoder_config, EdgeTamMaskDecoder),
        )
