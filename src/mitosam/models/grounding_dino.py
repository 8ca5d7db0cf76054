"""Grounding DINO: boxes for phrases, all of which it reads as one caption.

Source: https://arxiv.org/abs/2303.05499 and `transformers.models.grounding_dino`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from transformers import BertTokenizer, GroundingDinoConfig, GroundingDinoForObjectDetection
from transformers.image_transforms import get_size_with_aspect_ratio

from mitosam.errors import InputError
from mitosam.models.detections import (
    Detections,
    RawBoxes,
    as_detections,
    choose_boxes,
    corners_of,
)
from mitosam.models.detector_files import load_network, load_tokenizer
from mitosam.models.detector_images import PixelSettings, read_pixel_settings, scaled

PUBLISHED = PixelSettings(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
TOKENIZER_FILES = (("tokenizer.json",), ("vocab.txt",))


class GroundingDino:
    """A Grounding DINO of any size."""

    draws_masks = False
    default_min_score = 0.25

    def __init__(
        self, folder: Path, config: dict[str, object], name: str, device: torch.device
    ) -> None:
        self.name = name
        self._tokenizer = load_tokenizer(BertTokenizer, folder, TOKENIZER_FILES)
        self._pixels = read_pixel_settings(folder, PUBLISHED)
        self._network = load_network(
            GroundingDinoForObjectDetection, GroundingDinoConfig, config, folder
        ).to(device)

    @torch.inference_mode()
    def detect(
        self,
        image: UInt8[np.ndarray, "height width"],
        phrases: Sequence[str],
        *,
        min_score: float | None = None,
    ) -> Detections:
        """Boxes for any of the phrases; see `TextDetector`."""
        caption, spans = caption_of(phrases)
        tokens = self._tokenizer(caption, return_tensors="pt", return_offsets_mapping=True)
        offsets = tokens.pop("offset_mapping")[0]
        most = self._network.config.max_text_len
        if len(offsets) > most:
            raise InputError(
                f"{self.name} reads at most {most} tokens at once, got {len(offsets)}; "
                "name fewer things"
            )
        height, width = image.shape
        edges = self._pixels.shortest_px, self._pixels.longest_px
        size = get_size_with_aspect_ratio((height, width), *edges)
        device = self._network.device
        found = self._network(
            pixel_values=scaled(image, size, self._pixels).to(device), **tokens.to(device)
        )
        of_phrase = torch.stack([_inside(offsets, span) for span in spans])
        raw = raw_boxes(found.logits[0], found.pred_boxes[0], of_phrase, (height, width))
        threshold = self.default_min_score if min_score is None else min_score
        chosen, _ = choose_boxes(raw, (height, width), threshold)
        return as_detections(chosen, phrases)


def caption_of(phrases: Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
    """The caption, and where in it each phrase stands.

    >>> caption_of(["Mitochondria", "a lipid droplet"])
    ('mitochondria. a lipid droplet.', [(0, 12), (14, 29)])
    """
    lowered = [phrase.lower() for phrase in phrases]
    starts = accumulate((len(phrase) + len(". ") for phrase in lowered), initial=0)
    spans = [(start, start + len(phrase)) for start, phrase in zip(starts, lowered, strict=False)]
    return ". ".join(lowered) + ".", spans


def raw_boxes(
    logits: Float[Tensor, "Q T"],
    centred: Float[Tensor, "Q 4"],
    of_phrase: Float[Tensor, "P t"],
    shape_yx: tuple[int, int],
) -> RawBoxes:
    """Boxes in pixels of the image, from centres and sizes as shares of it.

    The score is the best token's, as published; the phrase, the one that holds the best token.
    """
    height, width = shape_yx
    probabilities = logits.sigmoid().cpu()
    own = probabilities[:, : of_phrase.shape[1]]
    best = torch.stack([own.masked_fill(~mask, 0).amax(dim=1) for mask in of_phrase], dim=1)
    scale = torch.tensor([width, height, width, height], dtype=torch.float32)
    return RawBoxes(
        xyxy=corners_of(centred.float().cpu()) * scale,
        scores=probabilities.amax(dim=1),
        phrase=best.argmax(dim=1),
    )


def _inside(offsets: Tensor, span: tuple[int, int]) -> Tensor:
    """Which tokens stand inside a span of the caption; special ones have no length."""
    start, end = offsets.unbind(dim=1)
    return (start >= span[0]) & (end <= span[1]) & (end > start)
