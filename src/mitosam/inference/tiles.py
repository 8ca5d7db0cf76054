"""The tiles of a section: which of them holds a prompt best, and their embeddings."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float16, Shaped, UInt8
from torch import Tensor

from mitosam.errors import InputError
from mitosam.geometry import ModelFrame, Window, window_holding
from mitosam.inference.decode import lay_out
from mitosam.io.grey import to_grey
from mitosam.models.promptable import Promptable
from mitosam.prompts import PADDING_LABEL, Prompts

# The embedding of one tile, from its pixels and its place; EmbeddingCache.one is such a function.
Encode = Callable[
    [UInt8[np.ndarray, "h w"], ModelFrame], Float[np.ndarray, "C h w"] | Float[Tensor, "C h w"]
]


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedTile:
    """The embedding of one tile and its place; `shape_yx` is of the part inside the section.

    It is in half precision, as the cache keeps it, so that masks do not depend on whether it comes
    from there.
    """

    embedding: Float16[Tensor, "1 C h w"]
    frame: ModelFrame
    shape_yx: tuple[int, int]


def encode_tile(
    model: Promptable,
    section: UInt8[np.ndarray, "height width"],
    window: Window,
    encode: Encode | None,
) -> EncodedTile:
    """A square window of a section, embedded by `encode`, or by the model where there is none."""
    pixels = section[window.y : window.y + window.height, window.x : window.x + window.width]
    frame = ModelFrame((window.y, window.x), window.height, model.input_px)
    if encode is None:
        embedding = model.encode(model.prepare(pixels, frame))[0]
    else:
        embedding = torch.as_tensor(encode(pixels, frame))
    return EncodedTile(
        embedding=lay_out(embedding[None].to(model.device, torch.float16)),
        frame=frame,
        shape_yx=(pixels.shape[0], pixels.shape[1]),
    )


def choose_windows(
    prompts: Prompts,
    shape_yx: tuple[int, int],
    tile_px: int,
    tiles: Sequence[Window] | None = None,
) -> list[Window]:
    """The square window on which each prompt is decoded.

    It is one of `tiles`, by default half a tile apart, that holds the prompt; where none does, a
    tile round it.
    """
    tiles = tiles or overlapping_tiles(shape_yx, tile_px, step_px=max(1, tile_px // 2))
    longest = max(shape_yx)
    whole = Window(0, 0, longest, longest)
    windows = []
    for extent in prompt_extents(prompts):
        holding = [tile for tile in tiles if tile.contains(extent)]
        if holding:
            windows.append(holding[window_holding(extent, holding)])
        elif max(extent.height, extent.width) <= tile_px:
            windows.append(_centred(extent, shape_yx, tile_px))
        else:
            windows.append(whole)
    return windows


def overlapping_tiles(shape_yx: tuple[int, int], tile_px: int, *, step_px: int) -> list[Window]:
    """Tiles `step_px` apart at most, inside the section where it is large enough."""
    ys, xs = (
        sorted({min(start, max(0, length - tile_px)) for start in range(0, length, step_px)})
        for length in shape_yx
    )
    return [Window(y, x, tile_px, tile_px) for y in ys for x in xs]


def _centred(extent: Window, shape_yx: tuple[int, int], tile_px: int) -> Window:
    """A tile round one prompt, moved back inside the section where it can be."""
    y, x = (
        max(0, min(start + size // 2 - tile_px // 2, length - tile_px))
        for start, size, length in (
            (extent.y, extent.height, shape_yx[0]),
            (extent.x, extent.width, shape_yx[1]),
        )
    )
    return Window(y, x, tile_px, tile_px)


def prompt_extents(prompts: Prompts) -> Iterator[Window]:
    """The pixels that each prompt's box and points span."""
    for index in range(len(prompts)):
        corners = []
        if prompts.boxes_xyxy is not None:
            corners += [prompts.boxes_xyxy[index, :2], prompts.boxes_xyxy[index, 2:]]
        if prompts.points_xy is not None and prompts.point_labels is not None:
            corners += list(prompts.points_xy[index][prompts.point_labels[index] != PADDING_LABEL])
        if not corners:
            raise InputError("a prompt needs a box or a point, got only padding")
        yield _spanned(np.array(corners))


def _spanned(points_xy: Float[np.ndarray, "n 2"]) -> Window:
    x0, y0 = (math.floor(value) for value in points_xy.min(axis=0))
    x1, y1 = (math.ceil(value) for value in points_xy.max(axis=0))
    return Window(y0, x0, y1 - y0, x1 - x0)


def by_window(windows: list[Window]) -> dict[Window, list[int]]:
    """The indices of the prompts of each window."""
    indices: dict[Window, list[int]] = defaultdict(list)
    for index, window in enumerate(windows):
        indices[window].append(index)
    return dict(sorted(indices.items()))


def check_image(
    image: Shaped[np.ndarray, "height width *rgb"],
) -> UInt8[np.ndarray, "height width"]:
    """The image in grey, provided it is one that models take."""
    if image.dtype != np.uint8:
        raise InputError(
            f"an image must be uint8, got {image.dtype}; apply the model's normalisation first"
        )
    if image.ndim not in (2, 3) or 0 in image.shape:
        raise InputError(
            f"an image has shape (height, width) or (height, width, 3), got {image.shape}"
        )
    return to_grey(image, "the image")
