"""How far sections lie apart, measured in pixels of a section."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, UInt8

MAX_SHIFT_PX = 24
NUM_SAMPLED = 8


def section_spacing_px(
    read: Callable[[int], UInt8[np.ndarray, "height width"]],
    num_sections: int,
    voxel_size_nm: tuple[float, float, float] | None,
) -> float:
    """The distance of neighbouring sections in pixels: from the voxel size, or from the images.

    Without a voxel size it is the shift within a section that changes the image as much as going
    to the next section does (their correlations are the same). One section is infinitely far from
    any other.
    """
    if num_sections < 2:
        return float("inf")
    if voxel_size_nm is not None:
        z, y, x = voxel_size_nm
        return float(z / np.sqrt(y * x))
    chosen = np.unique(np.linspace(0, num_sections - 2, NUM_SAMPLED).round().astype(int))
    return float(np.median([_spacing(read(int(z)), read(int(z) + 1)) for z in chosen]))


def _spacing(section: UInt8[np.ndarray, "h w"], following: UInt8[np.ndarray, "h w"]) -> float:
    grey = section.astype(np.float32)
    across = _correlation(grey, following.astype(np.float32))
    longest = min(MAX_SHIFT_PX, grey.shape[1] // 4, grey.shape[0] // 4)
    within = [
        min(_correlation(grey[:, s:], grey[:, :-s]), _correlation(grey[s:], grey[:-s]))
        for s in range(1, longest + 1)
    ]
    closer = [shift for shift, value in enumerate(within, start=1) if value > across]
    return float(max(closer, default=1))


def _correlation(first: Float[np.ndarray, "h w"], second: Float[np.ndarray, "h w"]) -> float:
    first, second = first - first.mean(), second - second.mean()
    norm = np.sqrt((first**2).sum() * (second**2).sum())
    return float((first * second).sum() / norm) if norm else 0.0
