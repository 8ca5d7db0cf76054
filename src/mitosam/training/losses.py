"""What training minimises."""

from __future__ import annotations

from functools import cache

from jaxtyping import Float
from torch import Tensor


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
