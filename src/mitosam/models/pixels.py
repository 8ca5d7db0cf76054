"""Grey values into a model's input, and its low-res logits back to a tile's pixels."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from mitosam.geometry import ModelFrame

Channels = tuple[float, float, float]
# ImageNet's, in grey values of 0 to 255; most families were trained with them.
PIXEL_MEAN: Channels = (123.675, 116.28, 103.53)
PIXEL_STD: Channels = (58.395, 57.12, 57.375)


def prepare_tile(
    tile: UInt8[np.ndarray, "h w"],
    frame: ModelFrame,
    *,
    mean: Channels = PIXEL_MEAN,
    std: Channels = PIXEL_STD,
) -> Float[Tensor, "1 3 S S"]:
    """A model's input for one grey tile: scaled bilinearly, normalised, padded with zeros.

    A tile smaller than `frame.tile_px` (at the edge of a section) fills the upper left corner.
    """
    height, width = (round(side * frame.scale) for side in tile.shape)
    grey = torch.from_numpy(np.array(tile)).float()[None, None]
    scaled = F.interpolate(
        grey, (height, width), mode="bilinear", antialias=frame.scale < 1, align_corners=False
    )
    means, stds = (torch.tensor(values).view(1, 3, 1, 1) for values in (mean, std))
    below, right = frame.input_px - height, frame.input_px - width
    return F.pad((scaled - means) / stds, (0, right, 0, below))


def upsample_logits(
    low_res_logits: Float[Tensor, "... m m"], size_px: int
) -> Float[Tensor, "... size size"]:
    """Logits of a whole tile at its own pixels, by bilinear interpolation as in SAM."""
    flat = low_res_logits.flatten(0, -3)[:, None]
    scaled = F.interpolate(flat, (size_px, size_px), mode="bilinear", align_corners=False)
    return scaled.view(*low_res_logits.shape[:-2], size_px, size_px)
