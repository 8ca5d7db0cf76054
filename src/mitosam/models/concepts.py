"""SAM 3: boxes and masks for a concept named by a phrase.

Source: https://arxiv.org/abs/2511.16719 and `transformers.models.sam3`. Only the image model is
used; of a checkpoint for videos, the tracker is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPTokenizer, Sam3Config

# Not from transformers itself, which hides the class where torchvision is not installed; it is
# needed for prompts by example alone.
from transformers.models.sam3.modeling_sam3 import Sam3Model

from mitosam.errors import ModelError
from mitosam.geometry import Window
from mitosam.models.detections import (
    CroppedMask,
    Detections,
    RawBoxes,
    as_detections,
    choose_boxes,
)
from mitosam.models.detector_files import (
    CLIP_TOKENIZER_FILES,
    load_network,
    load_tokenizer,
    side_px,
    tokens_of_phrases,
)
from mitosam.models.detector_images import PixelSettings, read_pixel_settings, scaled

PUBLISHED = PixelSettings(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
VIDEO_TYPE = "sam3_video"


class Concepts:
    """SAM 3's image model, asked by phrases."""

    draws_masks = True
    default_min_score = 0.3

    def __init__(
        self, folder: Path, config: dict[str, object], name: str, device: torch.device
    ) -> None:
        self.name = name
        self._tokenizer = load_tokenizer(CLIPTokenizer, folder, CLIP_TOKENIZER_FILES)
        self._pixels = read_pixel_settings(folder, PUBLISHED)
        own = image_config(config, folder)
        self._network = load_network(Sam3Model, Sam3Config, own, folder).to(device)

    @torch.inference_mode()
    def detect(
        self,
        image: UInt8[np.ndarray, "height width"],
        phrases: Sequence[str],
        *,
        min_score: float | None = None,
    ) -> Detections:
        """Boxes and masks for any of the phrases; see `TextDetector`."""
        config, device = self._network.config, self._network.device
        most = config.text_config.max_position_embeddings
        tokens = tokens_of_phrases(self._tokenizer, phrases, most, self.name).to(device)
        side = side_px(config.vision_config.image_size)
        pixels = scaled(image, (side, side), self._pixels).to(device)
        seen = self._network.get_vision_features(pixels)
        found = [
            self._network(vision_embeds=seen, input_ids=ids[None], attention_mask=mask[None])
            for ids, mask in zip(tokens["input_ids"], tokens["attention_mask"], strict=True)
        ]
        shape_yx = image.shape[0], image.shape[1]
        raw = raw_boxes(found, shape_yx)
        threshold = self.default_min_score if min_score is None else min_score
        chosen, queries = choose_boxes(raw, shape_yx, threshold)
        logits = torch.cat([each.pred_masks[0] for each in found])
        masks = [_mask(logits[int(query)], shape_yx) for query in queries]
        return _without_empty(chosen, masks, phrases)


def image_config(config: dict[str, object], folder: Path) -> dict[str, object]:
    """The image model's part of a config.json, which the published one holds as its detector."""
    if config.get("model_type") != VIDEO_TYPE:
        return config
    detector = config.get("detector_config")
    if not isinstance(detector, dict):
        raise ModelError(f"{folder}/config.json has no detector_config; fetch the model again")
    return detector


def raw_boxes(found: Sequence[object], shape_yx: tuple[int, int]) -> RawBoxes:
    """Boxes in pixels of the image, from corners as shares of it, of all phrases together.

    The score is the query's times that of the concept being there at all, as published.
    """
    height, width = shape_yx
    scale = torch.tensor([width, height, width, height], dtype=torch.float32)
    boxes = [each.pred_boxes[0].float().cpu() * scale for each in found]  # type: ignore[attr-defined]
    scores = [_scores(each) for each in found]
    phrase = [torch.full((len(each),), index) for index, each in enumerate(scores)]
    return RawBoxes(xyxy=torch.cat(boxes), scores=torch.cat(scores), phrase=torch.cat(phrase))


def _scores(found: object) -> Float[Tensor, " Q"]:
    scores: Tensor = found.pred_logits[0].float().sigmoid()  # type: ignore[attr-defined]
    presence = found.presence_logits  # type: ignore[attr-defined]
    if presence is not None:
        scores = scores * presence[0].float().sigmoid()
    return scores.cpu()


def _mask(logits: Float[Tensor, "m m"], shape_yx: tuple[int, int]) -> CroppedMask | None:
    """One query's mask at the image's own pixels, cut to its tightest window; None if empty."""
    shares = logits.float().sigmoid()[None, None]
    whole = F.interpolate(shares, shape_yx, mode="bilinear", align_corners=False)[0, 0] > 0.5
    rows, columns = (torch.nonzero(whole.any(dim=axis))[:, 0].tolist() for axis in (1, 0))
    if not rows:
        return None
    y, x, bottom, right = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
    window = Window(y, x, bottom - y, right - x)
    return CroppedMask(window=window, pixels=whole[y:bottom, x:right].cpu().numpy())


def _without_empty(
    chosen: RawBoxes, masks: list[CroppedMask | None], phrases: Sequence[str]
) -> Detections:
    kept = torch.tensor([mask is not None for mask in masks], dtype=torch.bool)
    drawn = RawBoxes(xyxy=chosen.xyxy[kept], scores=chosen.scores[kept], phrase=chosen.phrase[kept])
    return as_detections(drawn, phrases, tuple(mask for mask in masks if mask is not None))
