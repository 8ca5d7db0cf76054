"""A colour for each instance, the same on every picture of a volume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

_GOLDEN_ANGLE = np.pi * (3 - np.sqrt(5))
_LIGHTNESS = (0.74, 0.62, 0.82, 0.68)
_CHROMA = 0.125  # what the sRGB screen shows at nearly every hue of these lightnesses

# OKLab to linear sRGB: Björn Ottosson, "A perceptual color space for image processing" (2020).
_LAB_TO_LMS = np.array(
    [
        [1, 0.3963377774, 0.2158037573],
        [1, -0.1055613458, -0.0638541728],
        [1, -0.0894841775, -1.2914855480],
    ]
)
_LMS_TO_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def instance_colours(ids: Sequence[int]) -> Mapping[int, str]:
    """A CSS colour for each id; ids that follow each other get colours that lie far apart.

    The colour depends on an id's place in `ids` alone. Ids in the order in which they first appear
    in the volume (`order_of_appearance`) therefore keep their colours however they are numbered.

    >>> instance_colours([7, 3])
    {7: '#ea88a7', 3: '#5f9749'}
    """
    shades = np.clip(np.rint(255 * palette(len(ids))), 0, 255).astype(int)
    return {
        int(identifier): "#{:02x}{:02x}{:02x}".format(*shade)
        for identifier, shade in zip(ids, shades, strict=True)
    }


def palette(num: int) -> Float[np.ndarray, "num 3"]:
    """SRGB colours in [0, 1] of like strength, the hue turning by the golden angle."""
    places = np.arange(num)
    hue = places * _GOLDEN_ANGLE
    lightness = np.take(_LIGHTNESS, places % len(_LIGHTNESS))
    lab = np.stack([lightness, _CHROMA * np.cos(hue), _CHROMA * np.sin(hue)], axis=1)
    linear = np.clip((lab @ _LAB_TO_LMS.T) ** 3 @ _LMS_TO_RGB.T, 0, 1)
    srgb: Float[np.ndarray, "num 3"] = np.where(
        linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear
    )
    return srgb
