"""The embedding of a whole section, put together from those of overlapping tiles."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch.nn import functional as F

from mitosam.geometry import ModelFrame, Window
from mitosam.inference.tiles import Encode

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
    height, width = (math.ceil(length / STRIDE_PX) for length in section.shape)
    rows, columns = (_owned_cells(length, tile_px) for length in section.shape)
    embedding: np.ndarray | None = None
    for window in embedding_windows((section.shape[0], section.shape[1]), tile_px):
        pixels = section[window.y : window.y + tile_px, window.x : window.x + tile_px]
        frame = ModelFrame((window.y, window.x), tile_px, input_px)
        tile = _on_grid(torch.as_tensor(encode(pixels, frame)).float(), tile_px)
        if embedding is None:
            embedding = np.empty((len(tile), height, width), np.float32)
        into = rows[window.y], columns[window.x]
        embedding[:, *into] = tile[:, *_within(into, window)]
    assert embedding is not None, "at least one tile covers a section"
    return embedding


def _owned_cells(length: int, tile_px: int) -> dict[int, slice]:
    """Which cells along one axis are taken from the tile that starts at a pixel.

    Neighbouring tiles part in the middle of their overlap.
    """
    starts = _starts(length, tile_px)
    side = math.ceil(tile_px / STRIDE_PX)
    cuts = [(a // STRIDE_PX + side + b // STRIDE_PX) // 2 for a, b in pairwise(starts)]
    edges = pairwise([0, *cuts, math.ceil(length / STRIDE_PX)])
    return {start: slice(*edge) for start, edge in zip(starts, edges, strict=True)}


def _within(cells: tuple[slice, slice], window: Window) -> tuple[slice, slice]:
    """The section's cells as cells of a tile."""
    rows, columns = cells
    y, x = window.y // STRIDE_PX, window.x // STRIDE_PX
    return slice(rows.start - y, rows.stop - y), slice(columns.start - x, columns.stop - x)


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
