"""The patches with mitochondria of the prepared volume, as the paper preset sees them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float16

from mitosam.config import RunSettings, resolve_settings
from mitosam.data.prepared import PreparedVolume
from mitosam.training.examples import TileExample
from mitosam.workflows.tiles import SectionTile, tiles_of, tiles_with_mitochondria


def paper_settings() -> RunSettings:
    """The student report's: 256 px patches, one jittered box each, two patches a step."""
    return resolve_settings(preset="paper")


def first_patches(folder: str, count: int, settings: RunSettings) -> list[SectionTile]:
    """The first `count` patches with mitochondria; all, if there are fewer."""
    volume = PreparedVolume.open(Path(folder) / "volume")
    found: list[SectionTile] = []
    for section in range(volume.shape_zyx[0]):
        found += tiles_with_mitochondria(tiles_of(volume, [section], settings.data), settings.data)
        if len(found) >= count:
            break
    return found[:count]


def example_without_embedding(tile: SectionTile, settings: RunSettings) -> TileExample:
    """What prompts are drawn on where nothing is cached."""
    return TileExample(
        tile_px=tile.window.height,
        patch_px=settings.data.patch_px,
        read_features=_no_embedding,
        read_labels=partial(tile.labels, settings.data.min_object_px),
        patches=tile.patches(settings.data),
    )


def _no_embedding() -> Float16[np.ndarray, "C h w"]:
    raise AssertionError("the naive recipe keeps no embeddings")
