"""The embedding of a whole section, put together from those of overlapping tiles."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Float32, Int, UInt8
from torch import Tensor
from torch.nn import functional as F

from mitosam.geometry import ModelFrame, Window
from mitosam.inference.tiles import Encode

Embedding = Float[np.ndarray, "C h w"] | Float[Tensor, "C h w"]
STRIDE_PX = 8
"""Section pixels to one cell of the result, whatever the tile's own grid."""
OVERLAP = 0.25
"""Least share of a tile's side that its neighbour sees too."""


def embedding_windows(shape_yx: tuple[int, int], tile_px: int) -> list[Window]:
    """Tiles that cover a section and overlap by at least a quarter, evenly spaced.

    Their corners lie on the grid of the result.
    """
    ys, xs = (_starts(length, tile_px) for length in shape_yx)
    return [Window(y, x, tile_px, tile_px) for y in ys for x in xs]


def _starts(length: int, tile_px: int) -> list[int]:
    room = max(length - tile_px, 0)
    steps = math.ceil(room / (tile_px * (1 - OVERLAP)))
    return [round(room * i / steps / STRIDE_PX) * STRIDE_PX for i in range(steps)] + (
        [math.ceil(room / STRIDE_PX) * STRIDE_PX]
    )


def section_embedding(
    section: UInt8[np.ndarray, "height width"],
    encode: Encode,
    *,
    tile_px: int,
    input_px: int,
) -> Float32[np.ndarray, "C h8 w8"]:
    """The section's embedding at one cell for 8 x 8 pixels.

    Each cell is taken from the tile in which it lies most centrally: a mean of two embeddings is
    like neither, and a head that never saw one does worse on it.
    """

    def read_tile(window: Window) -> Embedding:
        frame = ModelFrame((window.y, window.x), tile_px, input_px)
        return encode(pixels_of(section, window), frame)

    shape_yx = (section.shape[0], section.shape[1])
    height, width = cells_of(shape_yx)
    return embedding_part(shape_yx, Window(0, 0, height, width), read_tile, tile_px=tile_px)


def pixels_of(
    section: UInt8[np.ndarray, "height width"], window: Window
) -> UInt8[np.ndarray, "h w"]:
    """What a tile sees of a section; smaller where it reaches past the edge."""
    return section[window.y : window.y + window.height, window.x : window.x + window.width]


def cells_of(shape_yx: tuple[int, int]) -> tuple[int, int]:
    """How many cells of the embedding stand below and beside each other."""
    return -(-shape_yx[0] // STRIDE_PX), -(-shape_yx[1] // STRIDE_PX)


def embedding_part(
    shape_yx: tuple[int, int],
    wanted: Window,
    read_tile: Callable[[Window], Embedding],
    *,
    tile_px: int,
) -> Float32[np.ndarray, "C h w"]:
    """A window, in cells, of a section's embedding; only the tiles it lies in are read."""
    windows = embedding_windows(shape_yx, tile_px)
    owner = _owners(shape_yx, windows, tile_px)[_slices(wanted)]
    part: Tensor | None = None
    for number in np.unique(owner):
        window = windows[number]
        tile = _on_grid(torch.as_tensor(read_tile(window)).float(), tile_px)
        if part is None:
            part = torch.empty(len(tile), wanted.height, wanted.width)
        here = _seen(wanted, window, tile.shape[-1])
        y, x = wanted.y - window.y // STRIDE_PX, wanted.x - window.x // STRIDE_PX
        inside = tile[:, *_slices(Window(here.y + y, here.x + x, here.height, here.width))]
        place = part[:, *_slices(here)]
        # Indexing its cells one by one takes ten times as long.
        torch.where(torch.from_numpy(owner[_slices(here)] == number), inside, place, out=place)
    assert part is not None, "a window holds at least one cell"
    return part.numpy()


def _seen(wanted: Window, tile: Window, side: int) -> Window:
    """The cells of a window that a tile of `side` cells sees, counted from the window's corner."""
    (top, bottom), (left, right) = (
        (max(0, start - first), min(length, start + side - first))
        for first, length, start in (
            (wanted.y, wanted.height, tile.y // STRIDE_PX),
            (wanted.x, wanted.width, tile.x // STRIDE_PX),
        )
    )
    return Window(top, left, bottom - top, right - left)


@lru_cache(8)
def _owned(
    shape_yx: tuple[int, int], windows: tuple[Window, ...], tile_px: int
) -> Int[np.ndarray, "h8 w8"]:
    """The tile in which each cell lies most centrally, the first of several."""
    cells = cells_of(shape_yx)
    depth, owner = np.full(cells, -1.0, np.float32), np.zeros(cells, int)
    side = math.ceil(tile_px / STRIDE_PX)
    rim = np.minimum(np.arange(side), np.arange(side)[::-1]).astype(np.float32)
    for number, window in enumerate(windows):
        y, x = window.y // STRIDE_PX, window.x // STRIDE_PX
        place = (slice(y, min(y + side, cells[0])), slice(x, min(x + side, cells[1])))
        here = np.minimum.outer(rim, rim)[: place[0].stop - y, : place[1].stop - x]
        deeper = here > depth[place]
        depth[place][deeper] = here[deeper]
        owner[place][deeper] = number
    return owner


def _owners(
    shape_yx: tuple[int, int], windows: list[Window], tile_px: int
) -> Int[np.ndarray, "h8 w8"]:
    return _owned(shape_yx, tuple(windows), tile_px)


def _slices(window: Window) -> tuple[slice, slice]:
    return (
        slice(window.y, window.y + window.height),
        slice(window.x, window.x + window.width),
    )


def _on_grid(tile: Tensor, tile_px: int) -> Float32[Tensor, "C t8 t8"]:
    side = math.ceil(tile_px / STRIDE_PX)
    tile = tile.reshape(tile.shape[-3:]).cpu()
    if tile.shape[-1] != side:
        tile = F.interpolate(tile[None], (side, side), mode="bilinear")[0]
    return tile
