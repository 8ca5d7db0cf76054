"""Prompts of every kind for a model of any size, and an embedding to ask them of."""

from __future__ import annotations

import torch

from mitosam.models.promptable import ModelPrompts, Promptable
from tests.models.tiny_models import example_image

# Kinds of prompt, with coordinates as shares of the input's side.
POINTS = torch.tensor(
    [[[[0.3, 0.4], [0.8, 0.7], [0.1, 0.9]], [[0.6, 0.2], [0.5, 0.5], [0.9, 0.1]]]]
)
LABELS = torch.tensor([[[1, 0, 1], [1, 1, 0]]])
BOXES = torch.tensor([[[0.1, 0.2, 0.6, 0.7], [0.5, 0.5, 0.9, 0.95]]])
KINDS_OF_PROMPT = ("box", "point", "points", "box and points", "mask")


def prompts_of(kind: str, model: Promptable) -> ModelPrompts:
    side = model.input_px
    if kind == "box":
        return ModelPrompts(boxes=BOXES * side)
    if kind == "point":
        return ModelPrompts(points=POINTS[:, :, :1] * side, labels=LABELS[:, :, :1])
    if kind == "points":
        return ModelPrompts(points=POINTS * side, labels=LABELS)
    if kind == "box and points":
        return ModelPrompts(boxes=BOXES * side, points=POINTS * side, labels=LABELS)
    mask = 4 * torch.randn(1, 1, model.low_res_px, model.low_res_px, generator=seeded(3))
    return ModelPrompts(boxes=BOXES * side, masks=mask)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def embed(model: Promptable, seed: int = 1) -> torch.Tensor:
    return model.encode(example_image(model.input_px, seed))
