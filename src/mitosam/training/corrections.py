"""Clicks that correct a first answer while training, as SAM was trained.

Half of them go where a careful user would click, into the middle of the largest mistake, and half
anywhere in the mistakes, as in section "Training algorithm" of A. Kirillov and others, *Segment
Anything*, ICCV 2023.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mitosam.evaluation.clicks import Click, next_click
from mitosam.models.promptable import ModelPrompts


def corrected(
    prompts: ModelPrompts,
    logits: Float[Tensor, "P m m"],
    targets: Float[Tensor, "P m m"],
    rng: np.random.Generator,
    *,
    input_px: int,
) -> ModelPrompts:
    """The prompts of one image with one more click each, where the low-res logits are wrong.

    Where nothing is wrong the click goes anywhere into the object.
    """
    scale = input_px / logits.shape[-1]
    predicted, truth = (logits > 0).cpu().numpy(), (targets >= 0.5).numpy()
    clicks = [_click(p, t, rng) for p, t in zip(predicted, truth, strict=True)]
    points = torch.tensor([[[one.x * scale, one.y * scale]] for one in clicks])[None].float()
    labels = torch.tensor([[int(one.positive)] for one in clicks])[None]
    if prompts.points is None or prompts.labels is None:
        return replace(prompts, points=points, labels=labels)
    return replace(
        prompts,
        points=torch.cat([prompts.points, points], dim=2),
        labels=torch.cat([prompts.labels, labels], dim=2),
    )


def one_point(prompts: ModelPrompts) -> bool:
    """Whether each prompt is a single point, which may mean several objects."""
    return prompts.boxes is None and prompts.points is not None and prompts.points.shape[2] == 1


def _click(
    predicted: Bool[np.ndarray, "m m"], truth: Bool[np.ndarray, "m m"], rng: np.random.Generator
) -> Click:
    mistakes = predicted != truth
    if not mistakes.any():
        return _anywhere(truth if truth.any() else ~truth, truth, rng)
    middle = next_click(predicted, truth) if rng.random() < 0.5 else None
    return middle or _anywhere(mistakes, truth, rng)


def _anywhere(
    allowed: Bool[np.ndarray, "m m"], truth: Bool[np.ndarray, "m m"], rng: np.random.Generator
) -> Click:
    ys, xs = np.nonzero(allowed)
    pick = rng.integers(len(ys))
    y, x = int(ys[pick]), int(xs[pick])
    return Click(x=x + 0.5, y=y + 0.5, positive=bool(truth[y, x]))
