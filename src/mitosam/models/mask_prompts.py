"""Prompts that each come with a mask of their own."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from mitosam.models.promptable import DecodedMasks, ModelPrompts, Outputs, Promptable


def decode_each(
    model: Promptable,
    embedding: Float[Tensor, "1 C h w"],
    prompts: ModelPrompts,
    outputs: Outputs = "single",
) -> DecodedMasks:
    """The answers to P prompts on one image, each of which may have a mask prompt of its own.

    The model takes one mask prompt an image, so an image with P of them is given P times.
    """
    if prompts.masks is None or len(prompts.masks[0]) == 1:
        return model.decode_outputs(embedding, prompts, outputs)
    count = prompts.masks.shape[1]

    def apart(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor.transpose(0, 1)

    alone = ModelPrompts(
        boxes=apart(prompts.boxes),
        points=apart(prompts.points),
        labels=apart(prompts.labels),
        masks=apart(prompts.masks),
    )
    decoded = model.decode_outputs(embedding.expand(count, -1, -1, -1), alone, outputs)
    return DecodedMasks(
        low_res_logits=decoded.low_res_logits.transpose(0, 1),
        iou_predictions=decoded.iou_predictions.transpose(0, 1),
    )
