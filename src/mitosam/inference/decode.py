"""Masks for prompts on one encoded tile."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mitosam.errors import InputError
from mitosam.geometry import ModelFrame
from mitosam.models.pixels import upsample_logits
from mitosam.models.promptable import DecodedMasks, ModelPrompts, Outputs, Promptable
from mitosam.prompts import PADDING_LABEL, Prompts

Answers = MutableMapping[bytes, Float[np.ndarray, "1 m m"]]
"""Low-res logits that prompts' beginnings gave, on one section."""
NUM_MASKS: dict[Outputs, int] = {"single": 1, "multi": 3, "all": 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """M candidate masks, for one prompt or for each of P, and what the model thinks of them.

    `iou_predictions` are the model's own guess of each mask's IoU. `low_res_logits` cover the
    model's whole square input at a quarter of its side; one of them may be given back as
    `mask_input`. M is 1, 3 or 4, as `Outputs` says.
    """

    masks: Bool[np.ndarray, "*P M height width"]
    iou_predictions: Float[np.ndarray, "*P M"]
    low_res_logits: Float[np.ndarray, "*P M m m"]

    def of_prompt(self, index: int) -> Prediction:
        """The candidates for one of P prompts."""
        return Prediction(
            masks=self.masks[index],
            iou_predictions=self.iou_predictions[index],
            low_res_logits=self.low_res_logits[index],
        )


@torch.inference_mode()
def decode_prompts(
    model: Promptable,
    embedding: Float[Tensor, "1 C h w"],
    prompts: Prompts,
    frame: ModelFrame,
    shape_yx: tuple[int, int],
    *,
    outputs: Outputs,
    mask_input: Float[np.ndarray, "1 m m"] | None = None,
    earlier: Answers | None = None,
) -> Prediction:
    """The masks of P prompts on a tile of shape `shape_yx`, each exactly as if it were asked alone.

    Prompts are in section pixels and masks in those of the tile, which `frame` places.
    `mask_input` is one prompt's low-res logits and goes with a single prompt. Without it, a prompt
    of several points is asked in turn: each point corrects the mask that those before it gave, as
    SAM is trained (`turns`). `earlier` keeps the answers on the way for the next correction.
    """
    num_prompts, num_masks = len(prompts), NUM_MASKS[outputs]
    low_res = model.low_res_px
    found = Prediction(
        masks=np.empty((num_prompts, num_masks, *shape_yx), bool),
        iou_predictions=np.empty((num_prompts, num_masks), np.float32),
        low_res_logits=np.empty((num_prompts, num_masks, low_res, low_res), np.float32),
    )
    embedding = lay_out(embedding.to(model.device, torch.float32))
    known: Answers = {} if earlier is None else earlier
    # One by one: in a batch, sums are rounded in another order, and pixels at the rim change sides.
    for indices, prompt in _chunks(prompts, 1):
        mask = mask_input
        if mask is None:
            mask = _answered_in_turn(model, embedding, prompt, frame, known)
        asked = ModelPrompts.from_section(prompt, frame, mask)
        decoded = model.decode_outputs(embedding, asked, outputs)
        logits = upsample_logits(decoded.low_res_logits[0], frame.tile_px)
        found.masks[indices] = (logits[..., : shape_yx[0], : shape_yx[1]] > 0).cpu().numpy()
        found.iou_predictions[indices] = decoded.iou_predictions[0].cpu().numpy()
        found.low_res_logits[indices] = decoded.low_res_logits[0].cpu().numpy()
    return found


def turns(prompt: Prompts) -> list[Prompts]:
    """One prompt's beginnings: its box or its points up to the first positive one, then one more
    point each time, up to the whole.
    """
    if prompt.points_xy is None or prompt.point_labels is None:
        return [prompt]
    boxes, points, labels = prompt.boxes_xyxy, prompt.points_xy, prompt.point_labels
    first_positive = next((i for i, label in enumerate(labels[0]) if label == 1), labels.shape[1])
    first = 0 if boxes is not None else min(first_positive + 1, labels.shape[1])
    return [
        Prompts(boxes_xyxy=boxes, points_xy=points[:, :count], point_labels=labels[:, :count])
        if count
        else Prompts(boxes_xyxy=boxes)
        for count in range(first, labels.shape[1] + 1)
    ]


def _answered_in_turn(
    model: Promptable,
    embedding: Float[Tensor, "1 C h w"],
    prompt: Prompts,
    frame: ModelFrame,
    earlier: Answers,
) -> Float[np.ndarray, "1 m m"] | None:
    """The low-res logits that the last point corrects; None for a prompt of one piece."""
    mask = None
    for beginning in turns(prompt)[:-1]:
        key = _key(beginning, frame)
        if key not in earlier:
            asked = ModelPrompts.from_section(beginning, frame, mask)
            decoded = model.decode_outputs(embedding, asked, "single")
            earlier[key] = decoded.low_res_logits[0, 0].cpu().numpy()
        mask = earlier[key]
    return mask


def _key(prompt: Prompts, frame: ModelFrame) -> bytes:
    parts = (prompt.boxes_xyxy, prompt.points_xy, prompt.point_labels)
    numbers = b"|".join(b"" if part is None else part.tobytes() for part in parts)
    return repr(frame).encode() + numbers


def lay_out(embedding: Float[Tensor, "1 C h w"]) -> Float[Tensor, "1 C h w"]:
    """The same numbers in the order in which the decoder reads them."""
    return embedding.contiguous(memory_format=torch.channels_last)


def decode_low_res(
    model: Promptable,
    embedding: Float[Tensor, "1 C h w"],
    prompts: Prompts,
    frame: ModelFrame,
    *,
    multimask_output: bool,
    prompts_at_once: int,
) -> Iterator[tuple[Int[np.ndarray, " k"], DecodedMasks]]:
    """The indices of up to `prompts_at_once` prompts with their low-res answers, until all are.

    It keeps nothing, so memory does not grow with the number of prompts. Gradients are the
    caller's to switch off.
    """
    for indices, chunk in _chunks(prompts, prompts_at_once):
        asked = ModelPrompts.from_section(chunk, frame)
        yield indices, model.decode(embedding, asked, multimask_output=multimask_output)


def _chunks(
    prompts: Prompts, prompts_at_once: int
) -> Iterator[tuple[Int[np.ndarray, " k"], Prompts]]:
    """A few prompts at a time with their indices, all of as many points, so that none is padded.

    SAM has no padding that counts for nothing: every token takes part in attention.
    """
    for indices in _equally_long(prompts):
        for start in range(0, len(indices), prompts_at_once):
            chunk = indices[start : start + prompts_at_once]
            yield chunk, _without_padding(prompts, chunk)


def _equally_long(prompts: Prompts) -> list[Int[np.ndarray, " k"]]:
    if prompts.point_labels is None:
        return [np.arange(len(prompts))]
    num_points = (prompts.point_labels != PADDING_LABEL).sum(axis=1)
    return [np.flatnonzero(num_points == count) for count in np.unique(num_points)]


def _without_padding(prompts: Prompts, indices: Int[np.ndarray, " k"]) -> Prompts:
    boxes = None if prompts.boxes_xyxy is None else prompts.boxes_xyxy[indices]
    if prompts.points_xy is None or prompts.point_labels is None:
        return Prompts(boxes_xyxy=boxes)
    points, labels = prompts.points_xy[indices], prompts.point_labels[indices]
    given = labels != PADDING_LABEL
    if not given.any():
        if boxes is None:
            raise InputError("a prompt needs a box or a point, got only padding")
        return Prompts(boxes_xyxy=boxes)
    return Prompts(
        boxes_xyxy=boxes,
        points_xy=points[given].reshape(len(indices), -1, 2),
        point_labels=labels[given].reshape(len(indices), -1),
    )
