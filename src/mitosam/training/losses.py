"""What training minimises."""

from __future__ import annotations

from functools import cache

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def dice_bce_loss(
    low_res_logits: Float[Tensor, "P m m"], targets: Float[Tensor, "P m m"]
) -> Float[Tensor, ""]:
    """Dice loss with squared terms in the denominator plus binary cross entropy, mean over masks.

    This is MONAI's `DiceCELoss(sigmoid=True, squared_pred=True)`. Targets lie in [0, 1]; a pixel
    half covered by an object may be 0.5.
    """
    loss: Tensor = _monai_loss()(low_res_logits[:, None], targets[:, None])
    return loss


@cache
def _monai_loss():  # type: ignore[no-untyped-def]  # noqa: ANN202
    from monai.losses.dice import DiceCELoss

    return DiceCELoss(sigmoid=True, squared_pred=True)


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
