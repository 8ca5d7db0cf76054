"""A few small tiles with discs for mitochondria, and embeddings to train on in milliseconds."""

from __future__ import annotations

import numpy as np
from skimage.measure import label

from mitosam.geometry import PatchGrid, Window
from mitosam.training.examples import TileExample
from tests.models.tiny_models import HIDDEN

INPUT_PX = 64
LOW_RES_PX = 16


def disc_labels(seed: int, tile_px: int, num_discs: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    ys, xs = np.mgrid[:tile_px, :tile_px] + 0.5
    mask = np.zeros((tile_px, tile_px), bool)
    for _ in range(num_discs):
        y, x = rng.uniform(0, tile_px, 2)
        mask |= (ys - y) ** 2 + (xs - x) ** 2 < (tile_px / 8) ** 2
    return np.asarray(label(mask, connectivity=2))


def make_example(
    labels: np.ndarray, *, patch_px: int | None = None, embedding: np.ndarray | None = None
) -> TileExample:
    tile_px = len(labels)
    patch_px = patch_px or tile_px
    if embedding is None:
        embedding = np.random.default_rng(int(labels.sum())).normal(size=embedding_shape())
    half = embedding.astype(np.float16)
    patches = tuple(PatchGrid((tile_px, tile_px), patch_px).windows)
    return TileExample(
        tile_px=tile_px,
        patch_px=patch_px,
        read_features=lambda: half,
        read_labels=lambda: labels,
        patches=tuple(w for w in patches if Window(0, 0, tile_px, tile_px).contains(w)),
    )


def embedding_shape() -> tuple[int, int, int]:
    return HIDDEN, INPUT_PX // 16, INPUT_PX // 16


def make_examples(count: int, start: int = 0, patch_px: int = 32) -> list[TileExample]:
    return [make_example(disc_labels(start + i, 64), patch_px=patch_px) for i in range(count)]
