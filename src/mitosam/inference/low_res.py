"""Low-res logits judged and brought to pixels, only where there is something."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int
from scipy import ndimage
from torch import Tensor

from mitosam.geometry import Window


def stability_scores(
    logits: Float[Tensor, "n h w"], stability_score_offset: float
) -> Float[Tensor, " n"]:
    """How little each mask changes with its threshold, in [0, 1]; 0 for one that is empty.

    The IoU of the mask thresholded at +offset and the one at -offset. Source: Kirillov et al.,
    ICCV 2023, `calculate_stability_score` of segment-anything.
    """
    core = (logits > stability_score_offset).sum(dim=(-2, -1), dtype=torch.int64)
    rim = (logits > -stability_score_offset).sum(dim=(-2, -1), dtype=torch.int64)
    return core / rim.clamp(min=1)


def seen_part(shape_yx: tuple[int, int], tile_px: int, low_res_px: int) -> tuple[int, int]:
    """The rows and columns of low-res logits that the first `shape_yx` pixels of a tile rest on.

    The others show what lies past the section's edges.
    """
    scale = low_res_px / tile_px
    height, width = (
        min(low_res_px, max(1, math.floor((length - 0.5) * scale - 0.5) + 2)) for length in shape_yx
    )
    return height, width


def pixel_window(
    low_res_logits: Float[np.ndarray, "m m"], shape_yx: tuple[int, int], tile_px: int
) -> Window | None:
    """A window that holds all pixels above 0 of a tile's first `shape_yx`; None if there is none.

    It may be a pixel larger than need be on each side.
    """
    low_res_px = low_res_logits.shape[-1]
    rows, columns = seen_part(shape_yx, tile_px, low_res_px)
    above = low_res_logits[:rows, :columns] > 0
    if not above.any():
        return None
    # A pixel is above 0 only if one of the low-res values beside it is.
    spans = [
        _pixel_span(np.flatnonzero(above.any(axis=1 - axis)), shape_yx[axis], tile_px / low_res_px)
        for axis in (0, 1)
    ]
    (top, bottom), (left, right) = spans
    return Window(top, left, bottom - top, right - left)


def _pixel_span(above: Int[np.ndarray, " n"], length: int, px: float) -> tuple[int, int]:
    first, last = (float(index) for index in (above[0], above[-1]))
    return (
        max(0, math.floor((first - 0.5) * px - 0.5)),
        min(length, math.ceil((last + 1.5) * px + 0.5)),
    )


def upsample_window(
    low_res_logits: Float[np.ndarray, "m m"], tile_px: int, window: Window
) -> Float32[np.ndarray, "h w"]:
    """What `upsample_logits` gives inside a window of the tile, without computing the rest."""
    low_res_px = low_res_logits.shape[-1]
    upper, lower, down = _between(window.y, window.height, low_res_px, tile_px)
    left, right, across = _between(window.x, window.width, low_res_px, tile_px)
    rows = slice(upper[0], lower[-1] + 1)
    part = low_res_logits[rows].astype(np.float32, copy=False)
    wide = part[:, left] * (1 - across) + part[:, right] * across
    first = int(upper[0])
    down = down[:, None]
    return wide[upper - first] * (1 - down) + wide[lower - first] * down


def _between(
    start: int, length: int, low_res_px: int, tile_px: int
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"], Float32[np.ndarray, " n"]]:
    """The two low-res indices beside each pixel's centre, and the weight of the second."""
    centres = (np.arange(start, start + length) + 0.5) * (low_res_px / tile_px) - 0.5
    centres = np.maximum(centres, 0)
    before = np.floor(centres).astype(np.int64)
    after = np.minimum(before + 1, low_res_px - 1)
    return before, after, (centres - before).astype(np.float32)


def remove_small_regions(
    mask: Bool[np.ndarray, "h w"], area_thresh: int
) -> Bool[np.ndarray, "h w"]:
    """The mask without holes, and without islands, of fewer than `area_thresh` pixels.

    If all islands are that small, the largest stays. Regions hang together across corners, and
    what reaches the array's edge is no hole. Source: segment-anything's function of this name.
    """
    if area_thresh <= 1 or not mask.any():
        return mask
    holes, areas = _regions(np.pad(~mask, 1, constant_values=True))
    areas[holes[0, 0]] = area_thresh
    filled = mask | (areas < area_thresh)[holes[1:-1, 1:-1]]
    islands, areas = _regions(filled)
    areas[0] = 0
    kept = areas >= area_thresh
    kept[areas.argmax()] = True
    return np.asarray(kept[islands])


def _regions(mask: Bool[np.ndarray, "h w"]) -> tuple[Int[np.ndarray, "h w"], Int[np.ndarray, " n"]]:
    """Ids of the 8-connected regions and their areas; area 0 stands for all that is no region."""
    labels, _ = ndimage.label(mask, structure=np.ones((3, 3)))
    areas = np.bincount(labels.ravel())
    return labels, areas
