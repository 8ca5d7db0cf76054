"""All objects of a section from a grid of points: SAM's automatic mask generator.

Source: Kirillov et al., "Segment Anything", ICCV 2023, section 4 and appendix B, and
`SamAutomaticMaskGenerator` of segment-anything, whose names the settings keep. Here the crops are
tiles of one size, so that a section may be of any, and masks are judged before they are upsampled.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from mitosam.errors import SettingsError
from mitosam.geometry import Window
from mitosam.inference.decode import decode_low_res
from mitosam.inference.low_res import (
    pixel_window,
    remove_small_regions,
    seen_part,
    stability_scores,
    upsample_window,
)
from mitosam.inference.maps import FoundInstances, maps_of_labels
from mitosam.inference.mask_nms import FoundMask, box_nms, found_mask, mask_nms, merge_masks
from mitosam.inference.settings import PointGridSettings
from mitosam.inference.tiles import (
    Encode,
    EncodedTile,
    check_image,
    encode_tile,
    overlapping_tiles,
)
from mitosam.models.promptable import DecodedMasks, Promptable
from mitosam.progress import SILENT, Progress
from mitosam.prompts import Prompts

# Masks that end this close to a tile's edge may have been cut by it.
EDGE_LOW_RES_PX = 2


def segment_by_grid(
    model: Promptable,
    section: UInt8[np.ndarray, "height width *rgb"],
    settings: PointGridSettings,
    *,
    tile_px: int,
    encode: Encode | None = None,
    progress: Progress = SILENT,
) -> FoundInstances:
    """The masks that `find_masks` finds, merged; see there."""
    found = find_masks(model, section, settings, tile_px=tile_px, encode=encode, progress=progress)
    instances = merge_masks(found, (section.shape[0], section.shape[1]))
    return FoundInstances(instances=instances, maps=maps_of_labels(instances.labels))


def find_masks(
    model: Promptable,
    section: UInt8[np.ndarray, "height width *rgb"],
    settings: PointGridSettings,
    *,
    tile_px: int,
    encode: Encode | None = None,
    progress: Progress = SILENT,
) -> list[FoundMask]:
    """Masks of whatever the model takes for an object, best first; they may overlap.

    Each point of each tile's grid is asked for three masks. They are filtered by predicted IoU,
    stability and size, those cut by a tile's edge are left to the tile that sees them whole, and
    duplicates go, first within a tile by their boxes and then on the section by their pixels.
    `encode` may take embeddings from a cache; each tile is asked for once.

    Raises
    ------
    InputError
        The section is no 8-bit image.
    """
    grey = check_image(section)
    if tile_px < 1:
        raise SettingsError(f"tile_px must be at least 1, got {tile_px}")
    shape_yx = (grey.shape[0], grey.shape[1])
    step_px = max(1, round(tile_px * (1 - settings.tile_overlap)))
    tiles = overlapping_tiles(shape_yx, tile_px, step_px=step_px)
    margin_px = math.ceil(EDGE_LOW_RES_PX * tile_px / model.low_res_px)
    found: list[FoundMask] = []
    for window in progress.track(tiles, "finding objects", unit="tile"):
        tile = encode_tile(model, grey, window, encode)
        whole = [
            mask
            for mask in _masks_of_tile(model, tile, settings)
            if not _is_left_to_another(mask.window, window, tiles, shape_yx, margin_px)
        ]
        kept = box_nms(whole, box_nms_thresh=settings.box_nms_thresh)
        found += _cleaned([whole[index] for index in kept], settings)
    kept = mask_nms(
        found,
        mask_nms_thresh=settings.mask_nms_thresh,
        containment_thresh=settings.containment_thresh,
    )
    return [found[index] for index in kept]


def grid_points(
    shape_yx: tuple[int, int], tile_px: int, points_per_side: int
) -> Float[np.ndarray, "n 2"]:
    """The (x, y) of an even grid on the part of a tile that lies in the section.

    A whole tile has `points_per_side` squared of them, each in the middle of its share, and a part
    has as many as make the grid no coarser.

    >>> grid_points((1, 4), 4, 2).tolist()
    [[1.0, 0.5], [3.0, 0.5]]
    """
    ys, xs = (
        (np.arange(count) + 0.5) * (length / count)
        for length, count in (
            (length, math.ceil(points_per_side * length / tile_px)) for length in shape_yx
        )
    )
    return np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)


@torch.inference_mode()
def _masks_of_tile(
    model: Promptable, tile: EncodedTile, settings: PointGridSettings
) -> list[FoundMask]:
    """The masks of one tile's grid that are good enough, duplicates and all."""
    y, x = tile.frame.origin_yx
    points = grid_points(tile.shape_yx, tile.frame.tile_px, settings.points_per_side)
    points += (x, y)
    prompts = Prompts(points_xy=points[:, None], point_labels=np.ones((len(points), 1), np.int64))
    batches = decode_low_res(
        model,
        tile.embedding,
        prompts,
        tile.frame,
        multimask_output=True,
        prompts_at_once=settings.points_per_batch,
    )
    return [mask for _, decoded in batches for mask in _good_masks(decoded, tile, settings)]


def _good_masks(
    decoded: DecodedMasks, tile: EncodedTile, settings: PointGridSettings
) -> Iterator[FoundMask]:
    """The masks that pass the filters; only they are upsampled, and only where they are."""
    logits, scores = decoded.low_res_logits[0].flatten(0, 1), decoded.iou_predictions[0].flatten()
    if settings.pred_iou_thresh > 0:
        good = scores > settings.pred_iou_thresh
        logits, scores = logits[good], scores[good]
    rows, columns = seen_part(tile.shape_yx, tile.frame.tile_px, logits.shape[-1])
    seen = logits[:, :rows, :columns]
    stability = stability_scores(seen, settings.stability_score_offset)
    good = (stability >= settings.stability_score_thresh) & _has_size(seen, settings)
    for kept, score, stable in zip(
        logits[good].cpu().numpy(), scores[good].tolist(), stability[good].tolist(), strict=True
    ):
        mask = _upsampled(kept, tile, score, stable)
        if mask is not None:
            yield mask


def _has_size(seen: Float[Tensor, "n h w"], settings: PointGridSettings) -> Bool[Tensor, " n"]:
    share = (seen > 0).float().mean(dim=(-2, -1))
    return (share > 0) & (share <= settings.max_area_share)


def _upsampled(
    low_res_logits: Float[np.ndarray, "m m"],
    tile: EncodedTile,
    predicted_iou: float,
    stability_score: float,
) -> FoundMask | None:
    window = pixel_window(low_res_logits, tile.shape_yx, tile.frame.tile_px)
    if window is None:
        return None
    y, x = tile.frame.origin_yx
    return found_mask(
        upsample_window(low_res_logits, tile.frame.tile_px, window) > 0,
        (y + window.y, x + window.x),
        predicted_iou=predicted_iou,
        stability_score=stability_score,
    )


def _cleaned(found: Sequence[FoundMask], settings: PointGridSettings) -> Iterator[FoundMask]:
    """The masks without small holes and islands, and without those that are small as a whole."""
    for mask in found:
        clean = found_mask(
            remove_small_regions(mask.crop, settings.min_mask_region_area),
            (mask.window.y, mask.window.x),
            predicted_iou=mask.predicted_iou,
            stability_score=mask.stability_score,
        )
        if clean is not None and clean.area >= settings.min_area_px:
            yield clean


def _is_left_to_another(
    mask: Window,
    tile: Window,
    tiles: Sequence[Window],
    shape_yx: tuple[int, int],
    margin_px: int,
) -> bool:
    """Whether a tile's edge may have cut the mask, and another tile sees all of its window."""
    return not _lies_free(mask, tile, shape_yx, margin_px) and any(
        _lies_free(mask, other, shape_yx, margin_px) for other in tiles if other != tile
    )


def _lies_free(mask: Window, tile: Window, shape_yx: tuple[int, int], margin_px: int) -> bool:
    """Whether the mask keeps clear of those edges of the tile that are not the section's."""
    top, left = (start + (margin_px if start > 0 else 0) for start in (tile.y, tile.x))
    bottom, right = (
        end - (margin_px if end < length else 0)
        for end, length in zip((tile.y + tile.height, tile.x + tile.width), shape_yx, strict=True)
    )
    inner = Window(top, left, bottom - top, right - left)
    return inner.contains(mask)
