"""Colour images turned to grey."""

from __future__ import annotations

import logging

import numpy as np
from jaxtyping import Float, Shaped

from mitosam.errors import InputError

logger = logging.getLogger(__name__)

LUMINANCE = (0.2126, 0.7152, 0.0722)  # ITU-R BT.709


def to_grey(pixels: Shaped[np.ndarray, "h w *c"], what: str) -> Shaped[np.ndarray, "h w"]:
    """One grey value a pixel, in the pixels' own dtype; transparency is dropped.

    Equal red, green and blue keep their value exactly, so that masks saved as RGB stay masks.
    """
    if pixels.ndim == 2:
        return pixels
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 2, 3, 4):
        raise InputError(
            f"{what} has {pixels.shape[-1]} values a pixel; give grey, RGB or RGBA images"
        )
    if pixels.shape[2] < 3:
        return np.ascontiguousarray(pixels[..., 0])
    red, green, blue = (pixels[..., channel] for channel in range(3))
    if np.array_equal(red, green) and np.array_equal(red, blue):
        return np.ascontiguousarray(red)
    grey: Float[np.ndarray, "h w"] = pixels[..., :3] @ np.array(LUMINANCE)
    return (np.rint(grey) if pixels.dtype.kind in "ui" else grey).astype(pixels.dtype)


def log_colour(what: str, num_channels: int) -> None:
    """Tell once a volume that its colour images are turned to grey."""
    logger.warning("%s is in colour (%d values a pixel); turned to grey", what, num_channels)
