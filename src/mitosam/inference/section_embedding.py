"""The embedding of a whole section, put together from those of overlapping tiles."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor
from torch.nn import functional as F

from mitosam.geometry import ModelFrame, Window
from mitosam.inference.panes import Pane
from mitosam.inference.tiles import Encode

Embedding = Float[np.ndarray, "C h w"] | Float[Tensor, "C h w"]
STRIDE_PX = 8
"""Section pixels to one cell of the result, whatever the tile's own grid."""
OVERLAP = 0.25
"""Least share of a tile's side that its neighbour sees too, before corners are rounded."""


def embedding_windows(shape_yx: tuple[int, int], tile_px: int) -> list[Window]:
    """Tiles that cover a section and overlap by a quarter or, as corners are rounded, little less.

    They are evenly spaced, and their corners lie on the grid of the result.
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
    pane = Pane.whole((section.shape[0], section.shape[1]))
    return pane_embedding(section, pane, pane.outer, encode, tile_px=tile_px, input_px=input_px)


def pane_embedding(
    pixels: UInt8[np.ndarray, "h w"],
    pane: Pane,
    wanted: Window,
    encode: Encode,
    *,
    tile_px: int,
    input_px: int,
) -> Float32[np.ndarray, "C h8 w8"]:
    """The part of a section's embedding that covers `wanted`, whose corner lies on its grid.

    `pixels` are those of the pane's outer window, which holds all tiles that `wanted` lies in.
    """

    def read_tile(window: Window) -> Embedding:
        place = window.seen_from(pane.outer)
        frame = ModelFrame((place.y, place.x), tile_px, input_px)
        return encode(pixels_of(pixels, place), frame)

    height, width = cells_of((wanted.height, wanted.width))
    cells = Window(wanted.y // STRIDE_PX, wanted.x // STRIDE_PX, height, width)
    return embedding_part(pane.shape_yx, cells, read_tile, tile_px=tile_px)


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
    rows, columns = (_owned_cells(length, tile_px) for length in shape_yx)
    part: np.ndarray | None = None
    for window in embedding_windows(shape_yx, tile_px):
        taken = _common(rows[window.y], columns[window.x], wanted)
        if taken is None:
            continue
        tile = _on_grid(torch.as_tensor(read_tile(window)).float(), tile_px)
        if part is None:
            part = np.empty((len(tile), wanted.height, wanted.width), np.float32)
        corner = (window.y // STRIDE_PX, window.x // STRIDE_PX)
        part[:, *_moved(taken, (wanted.y, wanted.x))] = tile[:, *_moved(taken, corner)]
    assert part is not None, "a window holds at least one cell"
    return part


Cells = tuple[slice, slice]


def _common(rows: slice, columns: slice, wanted: Window) -> Cells | None:
    """The cells of a section that lie in a tile's part of it and in the window."""
    y = slice(max(rows.start, wanted.y), min(rows.stop, wanted.y + wanted.height))
    x = slice(max(columns.start, wanted.x), min(columns.stop, wanted.x + wanted.width))
    return (y, x) if y.start < y.stop and x.start < x.stop else None


def _moved(cells: Cells, origin: tuple[int, int]) -> Cells:
    """The same cells counted from another corner."""
    y, x = (
        slice(part.start - first, part.stop - first)
        for part, first in zip(cells, origin, strict=True)
    )
    return y, x


def _owned_cells(length: int, tile_px: int) -> dict[int, slice]:
    """Which cells along one axis are taken from the tile that starts at a pixel.

    Neighbouring tiles part in the middle of their overlap.
    """
    starts = _starts(length, tile_px)
    side = math.ceil(tile_px / STRIDE_PX)
    cuts = [(a // STRIDE_PX + side + b // STRIDE_PX) // 2 for a, b in pairwise(starts)]
    edges = pairwise([0, *cuts, math.ceil(length / STRIDE_PX)])
    return {start: slice(*edge) for start, edge in zip(starts, edges, strict=True)}


def _on_grid(tile: torch.Tensor, tile_px: int) -> Float32[np.ndarray, "C t8 t8"]:
    """The tile's embedding at the middles of the result's cells, of which the last may reach out.

    Cells beyond the tile's own last ones hold what those hold.
    """
    side = math.ceil(tile_px / STRIDE_PX)
    tile = tile.reshape(tile.shape[-3:]).cpu()
    if tile.shape[-1] * STRIDE_PX != tile_px:
        middles = (torch.arange(side) + 0.5) * (2 * STRIDE_PX / tile_px) - 1
        ys, xs = torch.meshgrid(middles, middles, indexing="ij")
        places = torch.stack([xs, ys], dim=-1)[None]
        tile = F.grid_sample(tile[None], places, padding_mode="border", align_corners=False)[0]
    return np.asarray(tile.numpy())
