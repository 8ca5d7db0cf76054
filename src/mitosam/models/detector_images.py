"""A grey image as each family of detectors takes it.

transformers' own processors of these families need torchvision, in some of its versions or in all.
What they do is little: scale, pad, subtract a mean. The values come from the model's folder.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from mitosam.errors import ModelError
from mitosam.models.weight_files import read_json

logger = logging.getLogger(__name__)

# In the order in which transformers looks for them.
SETTINGS_FILES = ("processor_config.json", "preprocessor_config.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelSettings:
    """The mean and standard deviation of grey values from 0 to 1, and the sides to scale to."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    shortest_px: int = 800
    longest_px: int = 1333


def read_pixel_settings(folder: Path, published: PixelSettings) -> PixelSettings:
    """What the folder says of its images; what it does not say is as the family published it.

    Raises
    ------
    ModelError
        It says something that is no such value.
    """
    found = _settings_in(folder)
    if not found:
        logger.info("%s says nothing of its images; taking the published values", folder)
    size = found.get("size")
    edges = size if isinstance(size, dict) else {}
    try:
        return PixelSettings(
            mean=_triple(found.get("image_mean", published.mean)),
            std=_triple(found.get("image_std", published.std)),
            shortest_px=int(edges.get("shortest_edge", published.shortest_px)),
            longest_px=int(edges.get("longest_edge", published.longest_px)),
        )
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"{folder} has no usable {SETTINGS_FILES[1]} ({error}); fetch the model again"
        ) from error


def _settings_in(folder: Path) -> dict[str, Any]:
    for name in SETTINGS_FILES:
        if (folder / name).is_file():
            found = read_json(folder / name)
            inner = found.get("image_processor", found)
            if isinstance(inner, dict):
                return inner
    return {}


def _triple(values: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def scaled(
    image: UInt8[np.ndarray, "height width"], shape_yx: tuple[int, int], settings: PixelSettings
) -> Float[Tensor, "1 3 h w"]:
    """The image at this size, bilinearly and without aliasing, as Pillow and torchvision do it."""
    grey = torch.from_numpy(np.array(image)).float()[None, None] / 255
    small = F.interpolate(grey, shape_yx, mode="bilinear", antialias=True, align_corners=False)
    return normalised(small, settings)


def squared(
    image: UInt8[np.ndarray, "height width"], side_px: int, settings: PixelSettings
) -> Float[Tensor, "1 3 side side"]:
    """The image padded with black to a square below or to the right, then scaled, as OWLv2 does.

    Source: `Owlv2ImageProcessor` of transformers, which scales as scikit-image does.
    """
    from skimage.transform import resize

    longest = max(image.shape)
    square = np.zeros((longest, longest), np.float32)
    square[: image.shape[0], : image.shape[1]] = image / np.float32(255)
    shrinks = longest > side_px
    small = resize(square, (side_px, side_px), order=1, mode="reflect", anti_aliasing=shrinks)
    return normalised(torch.from_numpy(small)[None, None], settings)


def normalised(grey: Float[Tensor, "1 1 h w"], settings: PixelSettings) -> Float[Tensor, "1 3 h w"]:
    """Three equal channels, each with its mean and standard deviation taken out."""
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (settings.mean, settings.std))
    return (grey - mean) / std
