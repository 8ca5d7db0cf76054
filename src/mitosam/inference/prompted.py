"""Instances that a prompt-free head proposes, asked of the mask decoder one by one.

Each candidate becomes a box, a point, or both; the decoder's answer replaces the head's, or is
joined with it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int, UInt8
from scipy import ndimage, special

from mitosam.errors import InputError, SettingsError
from mitosam.geometry import Window
from mitosam.inference.decode import decode_low_res
from mitosam.inference.low_res import pixel_window, seen_part, stability_scores, upsample_window
from mitosam.inference.maps import FoundInstances, SectionMaps, boundary_of_labels
from mitosam.inference.mask_nms import FoundMask, found_mask, mask_nms, merge_masks
from mitosam.inference.settings import PromptedSettings
from mitosam.inference.tiles import (
    Encode,
    EncodedTile,
    by_window,
    check_image,
    choose_windows,
    encode_tile,
)
from mitosam.models.promptable import Promptable
from mitosam.progress import SILENT, Progress
from mitosam.prompts import Prompts


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """What a prompt-free head says of one section: instance ids, and probabilities in [0, 1].

    Ids need not be consecutive; 0 and below is background.
    """

    labels: Int[np.ndarray, "height width"]
    foreground: Float[np.ndarray, "height width"]

    def __post_init__(self) -> None:
        if self.labels.shape != self.foreground.shape:
            raise InputError(
                "candidates and their foreground must have one shape, got "
                f"{self.labels.shape} and {self.foreground.shape}"
            )
        if not np.issubdtype(self.labels.dtype, np.integer):
            raise InputError(f"candidates must be integer ids, got {self.labels.dtype}")
        lowest, highest = self.foreground.min(initial=0), self.foreground.max(initial=0)
        if not (0 <= lowest and highest <= 1):
            raise InputError(
                f"a foreground must lie in [0, 1], got {lowest:g} to {highest:g}; "
                "pass probabilities, not logits"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    """One candidate: its padded box, and the (x, y) of the pixel farthest from its outline."""

    label: int
    box: Window
    point_xy: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """The decoder's logits in a window that holds the padded box and all of the decoder's mask."""

    candidate: _Candidate
    window: Window
    logits: Float32[np.ndarray, "h w"]
    predicted_iou: float
    stability_score: float

    @property
    def counts(self) -> Bool[np.ndarray, "h w"]:
        """Where the answer says something: in the padded box, and on the mask."""
        box, window = self.candidate.box, self.window
        spoken = self.logits > 0
        y, x = box.y - window.y, box.x - window.x
        spoken[y : y + box.height, x : x + box.width] = True
        return spoken


def segment_candidates(
    model: Promptable,
    section: UInt8[np.ndarray, "height width *rgb"],
    candidates: Candidates,
    settings: PromptedSettings,
    *,
    tile_px: int,
    encode: Encode | None = None,
    tiles: Sequence[Window] | None = None,
    progress: Progress = SILENT,
) -> FoundInstances:
    """Instances and maps, from each candidate's prompt and the decoder's answer to it.

    A candidate is decoded on the tile of `tile_px` in which its padded box lies most centrally;
    one larger than a tile on the whole section. `encode` may take embeddings from a cache; each
    tile is asked for once. `tiles` are those that are encoded anyway, and preferred. An answer
    counts inside its padded box, and beyond it where its mask goes. What `settings.fuse` makes of
    the instances, and of the foreground:

    - "replace": the decoder's masks; its probability where an answer counts, 0 elsewhere.
    - "average": those pixels of candidate or mask where the mean of the head's and the decoder's
      probability is above one half; that mean where an answer counts, the head's elsewhere.
    - "union": the pixels of candidate or mask; the larger of the two probabilities.

    Where several answers count, the highest probability does. Of duplicates NMS leaves one.

    Raises
    ------
    InputError
        The section is no 8-bit image, or the candidates are of another shape.
    """
    grey = check_image(section)
    shape_yx = (grey.shape[0], grey.shape[1])
    if candidates.labels.shape != shape_yx:
        raise InputError(
            f"candidates must have the section's shape {shape_yx}, got {candidates.labels.shape}"
        )
    if tile_px < 1:
        raise SettingsError(f"tile_px must be at least 1, got {tile_px}")
    listed = list(_list_candidates(candidates.labels, settings))
    answers: list[_Answer] = []
    windows = choose_windows(_box_prompts(listed), shape_yx, tile_px, tiles)
    asked = by_window(windows).items()
    for window, indices in progress.track(asked, "asking the decoder", unit="tile"):
        tile = encode_tile(model, grey, window, encode)
        answers += _ask(model, tile, [listed[index] for index in indices], settings)
    return _fuse(candidates, answers, settings)


def _list_candidates(
    labels: Int[np.ndarray, "height width"], settings: PromptedSettings
) -> Iterator[_Candidate]:
    """The candidates of `min_area_px` and more, by id."""
    values, dense = np.unique(np.maximum(labels, 0), return_inverse=True)
    # Its ids are the ranks of the values, and that of background is 0 if there is any.
    ranks = dense.reshape(labels.shape) + (0 if values[0] == 0 else 1)
    values = values[values > 0]
    for rank, found in enumerate(ndimage.find_objects(ranks), start=1):
        mask = ranks[found] == rank
        if np.count_nonzero(mask) >= settings.min_area_px:
            y, x = found[0].start, found[1].start
            inner_y, inner_x = _most_interior(mask)
            yield _Candidate(
                label=int(values[rank - 1]),
                box=_padded(Window(y, x, *mask.shape), labels.shape, settings.box_padding),
                # +0.5: prompts point at pixel centres
                point_xy=(x + inner_x + 0.5, y + inner_y + 0.5),
            )


def _most_interior(mask: Bool[np.ndarray, "h w"]) -> tuple[int, int]:
    """Row and column of the pixel farthest from the outline, the first of several."""
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return int(row), int(column)


def _padded(window: Window, shape_yx: tuple[int, ...], share: float) -> Window:
    """The window with each side moved outward by `share` of its length, inside the section."""
    (top, bottom), (left, right) = (
        (max(0, start - math.ceil(share * size)), min(end, start + size + math.ceil(share * size)))
        for start, size, end in (
            (window.y, window.height, shape_yx[0]),
            (window.x, window.width, shape_yx[1]),
        )
    )
    return Window(top, left, bottom - top, right - left)


def _box_prompts(listed: Sequence[_Candidate]) -> Prompts:
    boxes = [(b.x, b.y, b.x + b.width, b.y + b.height) for b in (c.box for c in listed)]
    return Prompts(boxes_xyxy=np.array(boxes, np.float64).reshape(-1, 4))


def _prompts_of(listed: Sequence[_Candidate], settings: PromptedSettings) -> Prompts:
    boxes = None if settings.prompt == "point" else _box_prompts(listed).boxes_xyxy
    if settings.prompt == "box":
        return Prompts(boxes_xyxy=boxes)
    points = np.array([candidate.point_xy for candidate in listed], np.float64)[:, None]
    return Prompts(
        boxes_xyxy=boxes, points_xy=points, point_labels=np.ones((len(listed), 1), np.int64)
    )


@torch.inference_mode()
def _ask(
    model: Promptable, tile: EncodedTile, listed: Sequence[_Candidate], settings: PromptedSettings
) -> list[_Answer]:
    """The decoder's answers to the candidates of one tile."""
    rows, columns = seen_part(tile.shape_yx, tile.frame.tile_px, model.low_res_px)
    batches = decode_low_res(
        model,
        tile.embedding,
        _prompts_of(listed, settings),
        tile.frame,
        multimask_output=False,
        prompts_at_once=settings.prompts_at_once,
    )
    answers = []
    for indices, decoded in batches:
        logits, scores = decoded.low_res_logits[0, :, 0], decoded.iou_predictions[0, :, 0]
        stability = stability_scores(logits[:, :rows, :columns], settings.stability_score_offset)
        for place, low_res in enumerate(logits.cpu().numpy()):
            candidate = listed[indices[place]]
            window, upsampled = _upsampled(low_res, tile, candidate.box)
            answers.append(
                _Answer(
                    candidate=candidate,
                    window=window,
                    logits=upsampled,
                    predicted_iou=float(scores[place]),
                    stability_score=float(stability[place]),
                )
            )
    return answers


def _upsampled(
    low_res_logits: Float[np.ndarray, "m m"], tile: EncodedTile, box: Window
) -> tuple[Window, Float32[np.ndarray, "h w"]]:
    """The logits in the smallest window of the section that holds the box and the mask."""
    y, x = tile.frame.origin_yx
    asked = Window(box.y - y, box.x - x, box.height, box.width)
    mask = pixel_window(low_res_logits, tile.shape_yx, tile.frame.tile_px)
    window = asked if mask is None else _hull(asked, mask)
    upsampled = upsample_window(low_res_logits, tile.frame.tile_px, window)
    return Window(y + window.y, x + window.x, window.height, window.width), upsampled


def _hull(a: Window, b: Window) -> Window:
    top, left = min(a.y, b.y), min(a.x, b.x)
    bottom = max(a.y + a.height, b.y + b.height)
    right = max(a.x + a.width, b.x + b.width)
    return Window(top, left, bottom - top, right - left)


def _fuse(
    candidates: Candidates, answers: Sequence[_Answer], settings: PromptedSettings
) -> FoundInstances:
    """The instances that NMS leaves, and the maps without the duplicates it drops."""
    masks = [_fused_mask(answer, candidates, settings) for answer in answers]
    # An answer without a mask stays: it tells that there is nothing.
    silent = [answer for answer, mask in zip(answers, masks, strict=True) if mask is None]
    speaking = [answer for answer, mask in zip(answers, masks, strict=True) if mask is not None]
    found = [mask for mask in masks if mask is not None]
    kept = mask_nms(
        found,
        mask_nms_thresh=settings.mask_nms_thresh,
        containment_thresh=settings.containment_thresh,
    )
    instances = merge_masks([found[index] for index in kept], candidates.labels.shape)
    counted = silent + [speaking[index] for index in kept]
    return FoundInstances(
        instances=instances,
        maps=SectionMaps(
            foreground=_fused_foreground(candidates.foreground, counted, settings),
            boundary=boundary_of_labels(instances.labels),
        ),
    )


def _fused_mask(
    answer: _Answer, candidates: Candidates, settings: PromptedSettings
) -> FoundMask | None:
    """One instance, in the way of `settings.fuse`; None if little or nothing is left of it."""
    window = answer.window
    mask = answer.logits > 0
    if settings.fuse != "replace":
        mask |= window.cut(candidates.labels) == answer.candidate.label
    if settings.fuse == "average":
        mask &= window.cut(candidates.foreground) + special.expit(answer.logits) > 1
    found = found_mask(
        mask,
        (window.y, window.x),
        predicted_iou=answer.predicted_iou,
        stability_score=answer.stability_score,
    )
    return found if found is not None and found.area >= settings.min_area_px else None


def _fused_foreground(
    head: Float[np.ndarray, "height width"],
    answers: Sequence[_Answer],
    settings: PromptedSettings,
) -> Float32[np.ndarray, "height width"]:
    decoder = np.zeros(head.shape, np.float32)
    answered = np.zeros(head.shape, bool)
    for answer in answers:
        counts = answer.counts
        part = answer.window.cut(decoder)
        np.maximum(part, special.expit(answer.logits), out=part, where=counts)
        answer.window.cut(answered)[counts] = True
    if settings.fuse == "replace":
        return decoder
    if settings.fuse == "union":
        return np.maximum(head, decoder, dtype=np.float32)
    return np.where(answered, (head + decoder) / 2, head).astype(np.float32)
