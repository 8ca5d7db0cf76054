"""The tracker of SAM 3 on single images, which takes SAM's prompts. arXiv 2511.16719."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from transformers import Sam3TrackerConfig
from transformers.initialization import no_init_weights
from transformers.models.sam3.modeling_sam3 import Sam3VisionModel
from transformers.models.sam3_tracker.modeling_sam3_tracker import (
    Sam3TrackerMaskDecoder,
    Sam3TrackerPositionalEmbedding,
    Sam3TrackerPromptEncoder,
)

from mitosam.models.high_resolution import (
    HighResolution,
    PackedLevels,
    parts_of,
    without_fine_convolutions,
)
from mitosam.models.promptable import replace_beginning

# What some names begin with in the whole of SAM 3, where tracker and detector share the encoder.
_OF_TRACKER = {
    "detector_model.vision_encoder.backbone.": "vision_encoder.backbone.",
    "tracker_neck.": "vision_encoder.neck.",
}
_DETECTOR = "detector_model."


class Sam3Encoder(PackedLevels, Sam3VisionModel):
    """SAM 3's ViT and the tracker's neck."""


class Sam3Tracker(HighResolution):
    """SAM 3's tracker without its memory."""

    pixel_mean = (127.5, 127.5, 127.5)
    pixel_std = (127.5, 127.5, 127.5)
    transformers_class = "Sam3TrackerModel"

    def own_names(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights under this model's names, without SAM 3's detector of concepts."""
        bare = {name.removeprefix("tracker_model."): tensor for name, tensor in weights.items()}
        named = {replace_beginning(name, _OF_TRACKER): tensor for name, tensor in bare.items()}
        return super().own_names(
            {name: tensor for name, tensor in named.items() if not name.startswith(_DETECTOR)}
        )


def sam3_tracker_of(config: Mapping[str, Any]) -> Sam3Tracker:
    """The tracker that a folder's config.json describes, its weights not yet loaded.

    The folder may hold the tracker alone or the whole of SAM 3.
    """
    parts = parts_of(config.get("tracker_config") or config, "sam3_tracker")
    full = Sam3TrackerConfig.from_dict(parts)
    with no_init_weights():
        return Sam3Tracker(
            architecture="sam3_tracker",
            config=parts,
            vision_encoder=Sam3Encoder(full.vision_config),
            shared_image_embedding=Sam3TrackerPositionalEmbedding(full.prompt_encoder_config),
            prompt_encoder=Sam3TrackerPromptEncoder(full.prompt_encoder_config),
            mask_decoder=without_fine_convolutions(
                full.mask_decoder_config, Sam3TrackerMaskDecoder
            ),
        )
