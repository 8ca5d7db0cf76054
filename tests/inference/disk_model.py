"""A model that segments perfectly: the bright object under a point, and nothing elsewhere."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn

from mitosam.geometry import ModelFrame
from mitosam.models.pixels import prepare_tile
from mitosam.models.promptable import DecodedMasks, ModelPrompts

DISK_GREY = 200


class DiskModel(nn.Module):
    """Every model's protocol, with the picture as embedding and one logit for each input pixel.

    A point or the middle of a box asks for the object it lies on. It answers with the whole at
    predicted IoU 0.9, twice with something worse that the default filters drop, and to prompts on
    background with nothing.
    """

    name = "disks"

    def __init__(self, input_px: int = 64) -> None:
        super().__init__()
        self.input_px = self.low_res_px = input_px
        self.device = torch.device("cpu")
        self.asked = 0

    def prepare(self, pixels: np.ndarray, frame: ModelFrame) -> Tensor:
        return prepare_tile(pixels, frame)

    def encode(self, images: Tensor) -> Tensor:
        return (images[:, :1] > 0.5).float()

    def decode(self, embeddings: Tensor, prompts: ModelPrompts, *, multimask_output: bool = False):
        places = prompts.points[0, :, 0] if prompts.points is not None else _middles(prompts)
        self.asked += len(places)
        objects, _ = ndimage.label(embeddings[0, 0].numpy() > 0)
        masks = np.stack([_object_at(objects, place) for place in places.numpy()])
        logits = torch.from_numpy(np.where(masks, 8.0, -8.0)).float()
        shaky = logits / 16
        answers = torch.stack([shaky, logits, logits] if multimask_output else [logits], dim=1)
        scores = torch.tensor([0.95, 0.9, 0.2] if multimask_output else [0.9])
        return DecodedMasks(
            low_res_logits=answers[None], iou_predictions=scores.expand(1, len(places), -1)
        )


def _middles(prompts: ModelPrompts) -> Tensor:
    return prompts.boxes[0].view(-1, 2, 2).mean(dim=1)


def _object_at(objects: np.ndarray, place_xy: np.ndarray) -> np.ndarray:
    x, y = np.minimum(place_xy.astype(int), objects.shape[0] - 1)
    return (objects == objects[y, x]) & (objects > 0)


def draw_disks(shape_yx: tuple[int, int], centres_yx, radius: float = 7) -> np.ndarray:
    """A black section with bright disks."""
    ys, xs = np.mgrid[: shape_yx[0], : shape_yx[1]]
    section = np.zeros(shape_yx, np.uint8)
    for y, x in centres_yx:
        section[np.hypot(ys - y, xs - x) <= radius] = DISK_GREY
    return section


class CountingEncode:
    """A tile's embedding by the model, and where it was asked for."""

    def __init__(self, model) -> None:
        self.model = model
        self.origins: list[tuple[int, int]] = []

    def __call__(self, pixels: np.ndarray, frame: ModelFrame) -> Tensor:
        self.origins.append(frame.origin_yx)
        return self.model.encode(self.model.prepare(pixels, frame))[0]
