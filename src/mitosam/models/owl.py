"""OWLv2: boxes for phrases, each of which is a query of its own.

Source: https://arxiv.org/abs/2306.09683 and `transformers.models.owlv2`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from transformers import CLIPTokenizer, Owlv2Config, Owlv2ForObjectDetection

from mitosam.models.detections import (
    Detections,
    RawBoxes,
    as_detections,
    choose_boxes,
    corners_of,
)
from mitosam.models.detector_files import (
    CLIP_TOKENIZER_FILES,
    load_network,
    load_tokenizer,
    side_px,
    tokens_of_phrases,
)
from mitosam.models.detector_images import PixelSettings, read_pixel_settings, squared

PUBLISHED = PixelSettings(
    mean=(0.48145466, 0.4578275, 0.40821073), std=(0.26862954, 0.26130258, 0.27577711)
)


class Owl:
    """An OWLv2 of any size."""

    draws_masks = False
    default_min_score = 0.1

    def __init__(
        self, folder: Path, config: dict[str, object], name: str, device: torch.device
    ) -> None:
        self.name = name
        self._tokenizer = load_tokenizer(CLIPTokenizer, folder, CLIP_TOKENIZER_FILES)
        self._pixels = read_pixel_settings(folder, PUBLISHED)
        network = load_network(Owlv2ForObjectDetection, Owlv2Config, config, folder)
        self._network = network.to(device)

    @torch.inference_mode()
    def detect(
        self,
        image: UInt8[np.ndarray, "height width"],
        phrases: Sequence[str],
        *,
        min_score: float | None = None,
    ) -> Detections:
        """Boxes for any of the phrases; see `TextDetector`."""
        config = self._network.config
        most = config.text_config.max_position_embeddings
        tokens = tokens_of_phrases(self._tokenizer, phrases, most, self.name)
        side = side_px(config.vision_config.image_size)
        device = self._network.device
        found = self._network(
            pixel_values=squared(image, side, self._pixels).to(device), **tokens.to(device)
        )
        shape_yx = image.shape[0], image.shape[1]
        raw = raw_boxes(found.logits[0], found.pred_boxes[0], shape_yx)
        threshold = self.default_min_score if min_score is None else min_score
        chosen, _ = choose_boxes(raw, shape_yx, threshold)
        return as_detections(chosen, phrases)


def raw_boxes(
    logits: Float[Tensor, "Q P"], centred: Float[Tensor, "Q 4"], shape_yx: tuple[int, int]
) -> RawBoxes:
    """Boxes in pixels of the image, from centres and sizes as shares of the padded square."""
    best = logits.float().cpu().max(dim=1)
    return RawBoxes(
        xyxy=corners_of(centred.float().cpu()) * max(shape_yx),
        scores=best.values.sigmoid(),
        phrase=best.indices,
    )
