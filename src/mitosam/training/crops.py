"""What one step of the head's training sees: crops of a few sections, their embedding and truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float16, Int, UInt8
from torch import Tensor

from mitosam.models.head import HeadShape
from mitosam.training.head_settings import HeadSettings

# An embedding's grid divides the tile into 64, so crops begin at its sixteenths to meet the grid.
CORNERS_PER_TILE = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class StackExample:
    """One annotated tile with what lies above and below it.

    `read_stack` gives K sections at the tile's place for K offsets and as many shifts in pixels
    (y, x); `read_labels` the middle section's instance ids; `read_embedding` its embedding, which
    covers the tile.
    """

    tile_px: int
    read_stack: Callable[
        [tuple[int, ...], Int[np.ndarray, "K 2"]], UInt8[np.ndarray, "K tile_px tile_px"]
    ]
    read_labels: Callable[[], Int[np.ndarray, "tile_px tile_px"]]
    read_embedding: Callable[[], Float16[np.ndarray, "C h w"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """B crops; the targets are foreground and boundary."""

    stack: Float[Tensor, "B K c c"]
    embedding: Float[Tensor, "B C h w"] | None
    targets: Float[Tensor, "B 2 c c"]


class CropSampler:
    """Cuts crops from examples, and changes them as the settings say."""

    def __init__(self, settings: HeadSettings, shape: HeadShape) -> None:
        self._settings = settings
        self._shape = shape

    def draw(self, examples: list[tuple[StackExample, np.random.Generator]]) -> Batch:
        """A random crop of each example; each generator decides on its own crop alone."""
        return _batch([self._draw_one(example, rng) for example, rng in examples])

    def whole(self, example: StackExample) -> Batch:
        """An example as it is, cut to what the network takes."""
        offsets = self._shape.section_offsets
        still = np.zeros((len(offsets), 2), int)
        side = example.tile_px // 16 * 16
        stack = example.read_stack(offsets, still)[:, :side, :side].astype(np.float32)
        labels = example.read_labels()[:side, :side]
        return _batch([_Crop(stack, self._embedding(example, None), self._targets(labels))])

    def _draw_one(self, example: StackExample, rng: np.random.Generator) -> _Crop:
        side, tile = min(self._settings.crop_px, example.tile_px // 16 * 16), example.tile_px
        step = max(tile // CORNERS_PER_TILE, 1)
        y, x = (int(corner) * step for corner in rng.integers(0, (tile - side) // step + 1, 2))
        offsets, shifts = self._neighbours(rng)
        stack = example.read_stack(offsets, shifts)[:, y : y + side, x : x + side]
        labels = example.read_labels()[y : y + side, x : x + side]
        grey = stack.astype(np.float32)
        if self._settings.augment:
            grey = change_grey(grey, self._shape.grey_mean, self._shape.grey_std, rng)
        share = (y / tile, x / tile, side / tile)
        embedding = self._embedding(example, share)
        if embedding is not None and rng.random() < self._settings.blank_embeddings:
            embedding = np.zeros_like(embedding)
        return _Crop(grey, embedding, self._targets(labels))

    def _neighbours(self, rng: np.random.Generator) -> tuple[tuple[int, ...], np.ndarray]:
        """The offsets, at times the other way round, and how far each section is misaligned."""
        offsets = self._shape.section_offsets
        shifts = np.zeros((len(offsets), 2), int)
        if self._settings.augment:
            if rng.random() < 0.5:
                offsets = tuple(-offset for offset in offsets)
            shaken = rng.random(len(offsets)) < 0.3
            shaken &= np.array(offsets) != 0
            shifts[shaken] = rng.integers(-2, 3, (int(shaken.sum()), 2))
        return offsets, shifts

    def _embedding(
        self, example: StackExample, share: tuple[float, float, float] | None
    ) -> Float[np.ndarray, "C h w"] | None:
        if not self._shape.embedding_channels:
            return None
        embedding = example.read_embedding()
        if share is not None:
            cells = embedding.shape[-1]
            y, x, side = (round(part * cells) for part in share)
            embedding = embedding[:, y : y + side, x : x + side]
        return embedding.astype(np.float32)

    def _targets(self, labels: Int[np.ndarray, "c c"]) -> Float[np.ndarray, "2 c c"]:
        rim = boundary_of(labels, self._settings.boundary_px)
        return np.stack([labels > 0, rim]).astype(np.float32)


@dataclass(frozen=True, slots=True)
class _Crop:
    stack: Float[np.ndarray, "K c c"]
    embedding: Float[np.ndarray, "C h w"] | None
    targets: Float[np.ndarray, "2 c c"]


def _batch(crops: list[_Crop]) -> Batch:
    embeddings = [crop.embedding for crop in crops if crop.embedding is not None]
    return Batch(
        stack=torch.from_numpy(np.stack([crop.stack for crop in crops])),
        embedding=torch.from_numpy(np.stack(embeddings)) if embeddings else None,
        targets=torch.from_numpy(np.stack([crop.targets for crop in crops])),
    )


def boundary_of(labels: Int[np.ndarray, "h w"], width_px: int) -> Bool[np.ndarray, "h w"]:
    """The rim of each instance, `width_px` wide and inside it.

    A pixel lies on it if another label is less than `width_px` rows and columns away. What lies
    past the edge is no other label.

    >>> boundary_of(np.array([[0, 1, 1, 1, 2]]), 1)
    array([[False,  True, False,  True,  True]])
    """
    from scipy.ndimage import maximum_filter, minimum_filter

    size = 2 * width_px + 1
    highest = maximum_filter(labels, size, mode="nearest")
    lowest = minimum_filter(labels, size, mode="nearest")
    return np.asarray((labels > 0) & ((highest != labels) | (lowest != labels)))


def change_grey(
    stack: Float[np.ndarray, "K c c"], mean: float, std: float, rng: np.random.Generator
) -> Float[np.ndarray, "K c c"]:
    """The stack with another contrast and brightness, at times blurred, at times noisy."""
    from scipy.ndimage import gaussian_filter

    if rng.random() < 0.5:
        gain, shift = rng.uniform(0.75, 1.3), rng.normal(0, 0.3) * std
        stack = (stack - mean) * np.float32(gain) + np.float32(mean + shift)
    if rng.random() < 0.2:
        stack = gaussian_filter(stack, (0, *[rng.uniform(0.5, 1.5)] * 2))
    if rng.random() < 0.3:
        noise = rng.standard_normal(stack.shape, np.float32)
        stack = stack + noise * np.float32(rng.uniform(0.05, 0.3) * std)
    return stack
