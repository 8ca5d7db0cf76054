"""The tiles of a run's volumes: what is encoded, trained on and scored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int, UInt8

from mitosam.data.augmentation import AugmentationSettings, random_view
from mitosam.data.masks import pieces
from mitosam.data.prepared import PreparedVolume
from mitosam.data.settings import DataSettings
from mitosam.data.views import AS_IT_IS, NUM_SYMMETRIES, View
from mitosam.embeddings import EmbeddingCache, Tile
from mitosam.geometry import ModelFrame, PatchGrid, Window, tile_windows
from mitosam.progress import SILENT, Progress
from mitosam.workflows.encoding import encode_together

if TYPE_CHECKING:
    from mitosam.models.promptable import Promptable
    from mitosam.training.examples import TileExample


@dataclass(frozen=True, slots=True, kw_only=True)
class SectionTile:
    """One tile of one section of a prepared volume."""

    volume: PreparedVolume
    section: int
    window: Window
    view: View = AS_IT_IS

    def pixels(self) -> UInt8[np.ndarray, "h w"]:
        """The tile's image; where it reaches past the section it is smaller."""
        if self.view == AS_IT_IS:
            w = self.window
            image = self.volume.images[self.section]
            return np.asarray(image[w.y : w.y + w.height, w.x : w.x + w.width])
        return self.view.of_pixels(np.asarray(self.window.cut(self.volume.images[self.section])))

    def labels(self, min_object_px: int) -> Int[np.ndarray, "t t"]:
        """Each connected piece in the tile with its own id from 1, small ones left out."""
        cut = self.view.of_labels(self.window.cut(self.volume.labels[self.section]))
        return drop_small(pieces(cut), min_object_px)

    def frame(self, input_px: int) -> ModelFrame:
        """The tile's place in the model's input."""
        return ModelFrame((self.window.y, self.window.x), self.window.height, input_px)

    def patches(self, settings: DataSettings) -> tuple[Window, ...]:
        """The windows, in tile pixels, of the section's patches that lie in this tile."""
        grid = section_grid(self.volume, settings)
        return tuple(
            Window(p.y - self.window.y, p.x - self.window.x, p.height, p.width)
            for p in grid.windows
            if self.window.contains(p)
        )


def drop_small(labels: Int[np.ndarray, "h w"], min_px: int) -> Int[np.ndarray, "h w"]:
    """Labels 1 to k without the objects of fewer pixels, numbered again from 1 in their order.

    >>> drop_small(np.array([[1, 2, 2], [0, 2, 3]]), 2)
    array([[0, 1, 1],
           [0, 1, 0]])
    """
    kept = np.bincount(labels.ravel()) >= min_px
    kept[0] = False
    numbers = np.where(kept, np.cumsum(kept), 0)
    return np.asarray(numbers[labels])


def section_grid(volume: PreparedVolume, settings: DataSettings) -> PatchGrid:
    """The patches of each section of a volume."""
    _, height, width = volume.shape_zyx
    return PatchGrid((height, width), settings.patch_px, settings.edge)


def tiles_of(
    volume: PreparedVolume, sections: Iterable[int], settings: DataSettings
) -> list[SectionTile]:
    """All tiles of some sections, section by section."""
    windows = tile_windows(section_grid(volume, settings), settings.tile_side_px)
    return [
        SectionTile(volume=volume, section=z, window=window) for z in sections for window in windows
    ]


def tiles_with_mitochondria(
    tiles: Sequence[SectionTile], settings: DataSettings
) -> list[SectionTile]:
    """The tiles that hold at least one mitochondrion large enough to be prompted."""
    return [tile for tile in tiles if tile.labels(settings.min_object_px).any()]


def draw_views(
    volume: PreparedVolume,
    sections: Sequence[int],
    settings: DataSettings,
    count: int,
    rng: np.random.Generator,
    augmentation: AugmentationSettings | None = None,
) -> list[SectionTile]:
    """`count` tiles of the sections, as many from each, each under a view of its own."""
    augmentation = augmentation or AugmentationSettings()
    if augmentation.places == "tiles":
        return _views_of_tiles(tiles_of(volume, sections, settings), count, rng, augmentation)
    chosen = [sections[number * len(sections) // count] for number in range(count)]
    return [draw_view(volume, z, settings, augmentation, rng) for z in chosen]


def draw_view(
    volume: PreparedVolume,
    section: int,
    settings: DataSettings,
    augmentation: AugmentationSettings,
    rng: np.random.Generator,
) -> SectionTile:
    """A tile anywhere in a section under a random view, with its pixels and its labels.

    Where the encoder is trained, and nothing cached, each step may draw its own.
    """
    _, height, width = volume.shape_zyx
    size = settings.tile_side_px
    y = int(rng.integers(0, max(0, height - size) + 1))
    x = int(rng.integers(0, max(0, width - size) + 1))
    return SectionTile(
        volume=volume,
        section=section,
        window=Window(y, x, size, size),
        view=random_view(rng, augmentation),
    )


def _views_of_tiles(
    tiles: Sequence[SectionTile],
    count: int,
    rng: np.random.Generator,
    augmentation: AugmentationSettings,
) -> list[SectionTile]:
    """The tiles as they are, then all of them under the next symmetry, and so on to `count`.

    The last round takes tiles that are spread evenly.
    """
    views: list[SectionTile] = []
    while len(views) < count:
        turned = len(views) // len(tiles) % NUM_SYMMETRIES if augmentation.symmetries else 0
        num_left = min(count - len(views), len(tiles))
        for number in range(num_left):
            drawn = random_view(rng, augmentation)
            tile = tiles[number * len(tiles) // num_left]
            views.append(replace(tile, view=replace(drawn, symmetry=turned)))
    return views


def encode_tiles(
    tiles: Sequence[SectionTile],
    cache: EmbeddingCache,
    input_px: int,
    progress: Progress = SILENT,
) -> list[str]:
    """The cache's keys of the tiles, encoded where they are not there yet."""
    wanted = [Tile(frame=tile.frame(input_px), read=tile.pixels) for tile in tiles]
    encode_together(wanted, cache, progress)
    return cache.fill(wanted, progress=progress)


def cached_examples(
    tiles: Sequence[SectionTile],
    cache: EmbeddingCache,
    input_px: int,
    settings: DataSettings,
    progress: Progress = SILENT,
) -> list[TileExample]:
    """Training examples that read their features from the cache, which is filled first."""
    keys = encode_tiles(tiles, cache, input_px, progress)
    return [
        _example(tile, partial(cache.load, key), settings)
        for tile, key in zip(tiles, keys, strict=True)
    ]


def pixel_examples(
    tiles: Sequence[SectionTile], sam: Promptable, settings: DataSettings
) -> list[TileExample]:
    """Training examples whose features are the model's input itself."""

    def read(tile: SectionTile) -> Float[np.ndarray, "3 S S"]:
        return sam.prepare(tile.pixels(), tile.frame(sam.input_px))[0].numpy()

    return [_example(tile, partial(read, tile), settings) for tile in tiles]


def _example(
    tile: SectionTile, read_features: Callable[[], np.ndarray], settings: DataSettings
) -> TileExample:
    from mitosam.training.examples import TileExample

    return TileExample(
        tile_px=tile.window.height,
        patch_px=settings.patch_px,
        read_features=read_features,
        read_labels=partial(tile.labels, settings.min_object_px),
        patches=tile.patches(settings),
    )
