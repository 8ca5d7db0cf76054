"""What one training step sees: a tile's embedding, prompts drawn on it, and their true masks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from mitosam.data.oracle import (
    jitter_boxes,
    object_boxes,
    object_points,
    patch_box,
)
from mitosam.geometry import ModelFrame, Window
from mitosam.models.promptable import ModelPrompts
from mitosam.prompts import Prompts
from mitosam.training.jitter import random_points, shake_boxes
from mitosam.training.settings import TrainingSettings

PromptKind = Literal["patch_box", "object_box", "object_point"]
KINDS: tuple[PromptKind, ...] = ("patch_box", "object_box", "object_point")
# Each prompt's image tokens take 4 MB a layer, and a tile may hold hundreds of objects.
PROMPTS_AT_ONCE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class TileExample:
    """One annotated tile.

    `read_features` gives what the frozen part of the encoder makes of it: the embedding, or what
    comes before the first trained layer. `read_labels` gives instance ids at the tile's own pixels,
    each connected piece its own id. Training draws patches anywhere in the tile; validation takes
    `patches`, windows in tile pixels.
    """

    tile_px: int
    patch_px: int
    read_features: Callable[[], Float[np.ndarray, ...]]
    read_labels: Callable[[], Int[np.ndarray, "tile_px tile_px"]]
    patches: tuple[Window, ...]


def _random_patches(
    example: TileExample, labels: Int[np.ndarray, "t t"], count: int, rng: np.random.Generator
) -> list[Window]:
    """Up to `count` patches with mitochondria, anywhere in the tile; a patch of its size is it."""
    room = example.tile_px - example.patch_px + 1
    corners = rng.integers(0, room, (count, 2)).tolist()
    windows = [Window(y, x, example.patch_px, example.patch_px) for y, x in corners]
    return [window for window in windows if window.cut(labels).any()]


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptGroup:
    """Prompts of one kind on one tile, and what the low-res logits should be.

    Only the part of the logits in `regions` (one a prompt, all of one size) is compared with
    `targets`: a patch box says nothing about what lies outside its patch.
    """

    kind: PromptKind
    prompts: ModelPrompts
    targets: Float[Tensor, "P r r"]
    regions: tuple[Window, ...]

    def pieces(self, count: int) -> Iterator[PromptGroup]:
        """The group in `count` pieces of about as many prompts, none of them empty."""
        for numbers in np.array_split(np.arange(len(self.regions)), count):
            if len(numbers):
                part = slice(int(numbers[0]), int(numbers[-1]) + 1)
                yield replace(
                    self,
                    prompts=self.prompts.part(part),
                    targets=self.targets[part],
                    regions=self.regions[part],
                )

    def crop(self, low_res_logits: Float[Tensor, "P m m"]) -> Float[Tensor, "P r r"]:
        """The logits to compare with the targets."""
        return torch.stack(
            [
                logits[r.y : r.y + r.height, r.x : r.x + r.width]
                for logits, r in zip(low_res_logits, self.regions, strict=True)
            ]
        )


class PromptSampler:
    """Draws prompts on tiles and makes their targets at the resolution of the low-res logits."""

    def __init__(self, settings: TrainingSettings, *, input_px: int, low_res_px: int) -> None:
        self._settings = settings
        self._input_px = input_px
        self._low_res_px = low_res_px

    def draw(self, example: TileExample, rng: np.random.Generator) -> list[PromptGroup]:
        """Up to `prompts_per_tile` prompts of random kinds; an empty tile gives none."""
        labels = example.read_labels()
        num_objects = int(labels.max())
        if num_objects == 0:
            return []
        mix = self._settings.prompt_mix
        weights = np.array([mix.patch_box, mix.object_box, mix.object_point])
        counts = rng.multinomial(self._settings.prompts_per_tile, weights / weights.sum())
        patches = _random_patches(example, labels, int(counts[0]), rng)
        limits = (len(patches), num_objects, num_objects)
        return [
            self._group(kind, example, labels, patches, chosen, rng)
            for kind, count, limit in zip(KINDS, counts, limits, strict=True)
            if len(chosen := rng.permutation(limit)[:count])
        ]

    def every(self, example: TileExample, kind: PromptKind) -> Iterator[PromptGroup]:
        """All prompts of one kind on a tile, as they are, a few at a time, for validation."""
        labels = example.read_labels()
        patches = [window for window in example.patches if window.cut(labels).any()]
        count = len(patches) if kind == "patch_box" else int(labels.max())
        for start in range(0, count, PROMPTS_AT_ONCE):
            chosen = np.arange(start, min(start + PROMPTS_AT_ONCE, count))
            yield self._group(kind, example, labels, patches, chosen, None)

    def _group(
        self,
        kind: PromptKind,
        example: TileExample,
        labels: Int[np.ndarray, "t t"],
        patches: list[Window],
        chosen: Int[np.ndarray, " P"],
        rng: np.random.Generator | None,
    ) -> PromptGroup:
        frame = ModelFrame((0, 0), example.tile_px, self._input_px)
        if kind == "patch_box":
            windows = [patches[i] for i in chosen]
            prompts = self._patch_prompts(labels, windows, rng)
            targets, regions = self._patch_targets(labels, windows)
        else:
            prompts = self._object_prompts(kind, labels, chosen, rng)
            masks = np.stack([labels == i + 1 for i in chosen])
            targets = self._shrink(masks)
            whole = Window(0, 0, self._low_res_px, self._low_res_px)
            regions = (whole,) * len(chosen)
        return PromptGroup(
            kind=kind,
            prompts=ModelPrompts.from_section(prompts, frame),
            targets=targets,
            regions=regions,
        )

    def _patch_prompts(
        self,
        labels: Int[np.ndarray, "t t"],
        windows: list[Window],
        rng: np.random.Generator | None,
    ) -> Prompts:
        boxes = []
        for window in windows:
            box = patch_box(window.cut(labels))[None]
            if rng is not None:
                jitter = self._settings.jitter_px
                box = jitter_boxes(box, jitter, (window.height, window.width), rng)
            boxes.append(box[0] + [window.x, window.y, window.x, window.y])
        return Prompts(boxes_xyxy=np.stack(boxes))

    def _object_prompts(
        self,
        kind: PromptKind,
        labels: Int[np.ndarray, "t t"],
        chosen: Int[np.ndarray, " P"],
        rng: np.random.Generator | None,
    ) -> Prompts:
        if kind == "object_point":
            points = (
                object_points(labels)[chosen]
                if rng is None
                else random_points(labels, chosen + 1, rng)
            )
            return Prompts(
                points_xy=points[:, None], point_labels=np.ones((len(points), 1), np.int64)
            )
        boxes = object_boxes(labels)[chosen]
        if rng is not None:
            boxes = shake_boxes(boxes, self._settings.object_jitter, labels.shape, rng)
        return Prompts(boxes_xyxy=boxes)

    def _patch_targets(
        self, labels: Int[np.ndarray, "t t"], windows: list[Window]
    ) -> tuple[Tensor, tuple[Window, ...]]:
        scale = self._low_res_px / len(labels)
        foreground = self._shrink((labels > 0)[None])[0]
        size = round(windows[0].height * scale)
        regions = tuple(Window(round(w.y * scale), round(w.x * scale), size, size) for w in windows)
        targets = [foreground[r.y : r.y + size, r.x : r.x + size] for r in regions]
        return torch.stack(targets), regions

    def _shrink(self, masks: np.ndarray) -> Float[Tensor, "P m m"]:
        """Masks at the low-res logits' resolution; a pixel half covered is 0.5."""
        size = (self._low_res_px, self._low_res_px)
        return F.adaptive_avg_pool2d(torch.from_numpy(masks).float(), size)
