"""Prompts on sections of any size: each is decoded on the tile that holds it best."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from mitosam.errors import InputError, SettingsError
from mitosam.geometry import ModelFrame, Window, window_holding
from mitosam.inference.decode import Prediction, decode_prompts
from mitosam.inference.predictor import check_image
from mitosam.models.sam import Sam, prepare_tile
from mitosam.prompts import PADDING_LABEL, Prompts

# The embedding of one tile, from its pixels and its place; EmbeddingCache.one is such a function.
Encode = Callable[
    [UInt8[np.ndarray, "h w"], ModelFrame], Float[np.ndarray, "C h w"] | Float[Tensor, "C h w"]
]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedPrediction:
    """One prompt's candidate masks on its tile, and where the tile lies in the section."""

    window: Window
    prediction: Prediction

    def in_section(self, shape_yx: tuple[int, int]) -> Bool[np.ndarray, "M height width"]:
        """The masks in the frame of a section of this shape, false outside the tile."""
        masks = self.prediction.masks
        whole = np.zeros((len(masks), *shape_yx), bool)
        y, x = self.window.y, self.window.x
        whole[:, y : y + masks.shape[1], x : x + masks.shape[2]] = masks
        return whole


def predict_section(
    model: Sam,
    section: UInt8[np.ndarray, "height width *rgb"],
    prompts: Prompts,
    *,
    tile_px: int,
    encode: Encode | None = None,
    multimask_output: bool = True,
) -> list[PlacedPrediction]:
    """Each prompt's masks, in the prompts' order.

    A prompt is decoded on the tile of `tile_px` in which it lies most centrally. One larger than a
    tile is decoded on the whole section, scaled so that its longest side fits. `encode` may take
    embeddings from a cache; each tile is asked for once.

    Raises
    ------
    InputError
        The section is no 8-bit image, or a prompt lies outside it.
    """
    grey = check_image(section)
    height, width = grey.shape
    prompts.check_inside((height, width))
    if tile_px < 1:
        raise SettingsError(f"tile_px must be at least 1, got {tile_px}")
    windows = choose_windows(prompts, (height, width), tile_px)
    found: dict[int, PlacedPrediction] = {}
    for window, indices in by_window(windows).items():
        asked = _chosen(prompts, indices)
        prediction = _decode_tile(model, grey, asked, window, encode, multimask_output)
        for place, index in enumerate(indices):
            found[index] = PlacedPrediction(window=window, prediction=prediction.of_prompt(place))
    return [found[index] for index in range(len(prompts))]


def _decode_tile(
    model: Sam,
    section: UInt8[np.ndarray, "height width"],
    prompts: Prompts,
    window: Window,
    encode: Encode | None,
    multimask_output: bool,
) -> Prediction:
    tile = encode_tile(model, section, window, encode)
    return decode_prompts(
        model,
        tile.embedding,
        prompts,
        tile.frame,
        tile.shape_yx,
        multimask_output=multimask_output,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedTile:
    """The embedding of one tile and its place; `shape_yx` is of the part inside the section."""

    embedding: Float[Tensor, "1 C h w"]
    frame: ModelFrame
    shape_yx: tuple[int, int]


def encode_tile(
    model: Sam,
    section: UInt8[np.ndarray, "height width"],
    window: Window,
    encode: Encode | None,
) -> EncodedTile:
    """A square window of a section, embedded by `encode`, or by the model where there is none."""
    pixels = section[window.y : window.y + window.height, window.x : window.x + window.width]
    frame = ModelFrame((window.y, window.x), window.height, model.input_px)
    if encode is None:
        embedding = model.encode(prepare_tile(pixels, frame))
    else:
        embedding = torch.as_tensor(encode(pixels, frame)).float()[None].to(model.device)
    return EncodedTile(
        embedding=embedding, frame=frame, shape_yx=(pixels.shape[0], pixels.shape[1])
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
    for extent in _extents(prompts):
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


def _extents(prompts: Prompts) -> Iterator[Window]:
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


def _chosen(prompts: Prompts, indices: list[int]) -> Prompts:
    return Prompts(
        boxes_xyxy=None if prompts.boxes_xyxy is None else prompts.boxes_xyxy[indices],
        points_xy=None if prompts.points_xy is None else prompts.points_xy[indices],
        point_labels=None if prompts.point_labels is None else prompts.point_labels[indices],
    )
