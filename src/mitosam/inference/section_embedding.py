"""The embedding of a whole section, put together from those of overlapping tiles."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch.nn import functional as F

from mitosam.geometry import ModelFrame, Window
from mitosam.inference.tiles import Encode

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
    cells = tuple(math.ceil(length / STRIDE_PX) for length in section.shape)
    depth = np.full(cells, -1.0, np.float32)
    embedding: np.ndarray | None = None
    for window in embedding_windows((section.shape[0], section.shape[1]), tile_px):
        pixels = section[window.y : window.y + tile_px, window.x : window.x + tile_px]
        frame = ModelFrame((window.y, window.x), tile_px, input_px)
        tile = _on_grid(torch.as_tensor(encode(pixels, frame)).float(), tile_px)
        embedding = np.zeros((len(tile), *cells), np.float32) if embedding is None else embedding
        _paste(embedding, depth, tile, window)
    assert embedding is not None, "at least one tile covers a section"
    return embedding


def _on_grid(tile: torch.Tensor, tile_px: int) -> Float32[np.ndarray, "C t8 t8"]:
    side = math.ceil(tile_px / STRIDE_PX)
    tile = tile.reshape(tile.shape[-3:]).cpu()
    if tile.shape[-1] != side:
        tile = F.interpolate(tile[None], (side, side), mode="bilinear")[0]
    return np.asarray(tile.numpy())


def _paste(
    embedding: Float32[np.ndarray, "C h8 w8"],
    depth: Float32[np.ndarray, "h8 w8"],
    tile: Float32[np.ndarray, "C t8 t8"],
    window: Window,
) -> None:
    """Take over the cells of a tile that lie deeper in it than in the tiles before."""
    y, x, side = window.y // STRIDE_PX, window.x // STRIDE_PX, tile.shape[-1]
    place = (slice(y, min(y + side, depth.shape[0])), slice(x, min(x + side, depth.shape[1])))
    height, width = (part.stop - part.start for part in place)
    rim = np.minimum(np.arange(side), np.arange(side)[::-1]).astype(np.float32)
    here = np.minimum.outer(rim, rim)[:height, :width]
    deeper = here > depth[place]
    depth[place][deeper] = here[deeper]
    embedding[:, place[0], place[1]][:, deeper] = tile[:, :height, :width][:, deeper]
