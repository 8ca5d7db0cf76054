"""What training minimises."""

from __future__ import annotations

from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from mitosam.training.settings import Loss

BOUNDARY_PX = 3
"""Side of the square within which a pixel is near an outline, in pixels of the low-res logits."""
FOCAL_GAMMA = 2.0
"""T. Lin and others, *Focal Loss for Dense Object Detection*, ICCV 2017."""
FOCAL_WEIGHT = 20.0
"""Against the Dice loss, as SAM was trained."""


def mask_loss(
    low_res_logits: Float[Tensor, "P m m"],
    targets: Float[Tensor, "P m m"],
    *,
    loss: Loss = "dice_bce",
    boundary_weight: float = 0,
) -> Float[Tensor, " P"]:
    """The loss of each mask. Targets lie in [0, 1]; a pixel half covered by an object may be 0.5.

    "dice_bce" is MONAI's `DiceCELoss(sigmoid=True, squared_pred=True)`.
    """
    parts = []
    if loss.startswith("dice"):
        parts.append(_monai_dice()(low_res_logits[:, None], targets[:, None]).flatten())
    if loss.endswith("bce"):
        parts.append(_pixel_mean(_entropy(low_res_logits, targets), targets, boundary_weight))
    if loss.endswith("focal"):
        entropy = _entropy(low_res_logits, targets)
        focal = (1 - torch.exp(-entropy)) ** FOCAL_GAMMA * entropy
        scale = FOCAL_WEIGHT if loss == "dice_focal" else 1.0
        parts.append(scale * _pixel_mean(focal, targets, boundary_weight))
    return torch.stack(parts).sum(dim=0)


def mask_iou(
    low_res_logits: Float[Tensor, "P m m"], targets: Float[Tensor, "P m m"]
) -> Float[Tensor, " P"]:
    """IoU of the masks (logits above 0) with targets of at least 0.5; 1 where both are empty."""
    predicted, truth = low_res_logits > 0, targets >= 0.5
    union = (predicted | truth).flatten(1).sum(1)
    common = (predicted & truth).flatten(1).sum(1)
    return torch.where(union > 0, common / union.clamp(min=1), 1.0)


def _entropy(logits: Float[Tensor, "P m m"], targets: Float[Tensor, "P m m"]) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none")


def _pixel_mean(
    losses: Float[Tensor, "P m m"], targets: Float[Tensor, "P m m"], boundary_weight: float
) -> Float[Tensor, " P"]:
    """The mean over pixels, of which those near an outline may count more."""
    if not boundary_weight:
        return losses.mean(dim=(1, 2))
    weights = 1 + boundary_weight * near_outline(targets)
    return (weights * losses).sum(dim=(1, 2)) / weights.sum(dim=(1, 2))


def near_outline(targets: Float[Tensor, "P m m"]) -> Float[Tensor, "P m m"]:
    """1 where a square of `BOUNDARY_PX` round the pixel holds object and background, else 0."""
    reach = BOUNDARY_PX // 2
    masks = (targets >= 0.5).float()[:, None]
    largest = F.max_pool2d(masks, BOUNDARY_PX, stride=1, padding=reach)
    smallest = -F.max_pool2d(-masks, BOUNDARY_PX, stride=1, padding=reach)
    return (largest - smallest)[:, 0]


@cache
def _monai_dice():  # type: ignore[no-untyped-def]  # noqa: ANN202
    from monai.losses.dice import DiceLoss

    return DiceLoss(sigmoid=True, squared_pred=True, reduction="none")


def foreground_boundary_loss(
    logits: Float[Tensor, "B 2 h w"], targets: Float[Tensor, "B 2 h w"]
) -> Float[Tensor, ""]:
    """Binary cross entropy of foreground and boundary, and the Dice loss of the foreground.

    Dice is of the whole batch as one image, as many crops hold no mitochondrion.
    """
    entropy = F.binary_cross_entropy_with_logits(logits, targets)
    predicted, truth = logits[:, 0].sigmoid(), targets[:, 0]
    overlap = 2 * (predicted * truth).sum() + 1
    return entropy + 1 - overlap / (predicted.square().sum() + truth.sum() + 1)
