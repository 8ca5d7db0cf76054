"""Embeddings of a volume's tiles while a user works: few in memory, the others in the cache."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float16, UInt8

from mitosam.embeddings import EmbeddingCache
from mitosam.geometry import ModelFrame, Window
from mitosam.inference.decode import lay_out
from mitosam.inference.section_embedding import pixels_of
from mitosam.inference.tiles import EncodedTile, overlapping_tiles
from mitosam.models.promptable import Promptable

TILES_HELD = 12
"""Embeddings in memory; 2 MB each with SAM's own sizes."""
SECTIONS_HELD = 2
ReadSection = Callable[[int], UInt8[np.ndarray, "height width"]]


class EncoderTurns:
    """One thread encodes at a time, and one that a user waits for goes before the others."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._busy = False
        self._urgent = 0

    @contextmanager
    def turn(self, *, urgent: bool) -> Iterator[None]:
        """The right to encode, until the block ends."""
        with self._changed:
            self._urgent += urgent
            self._changed.wait_for(lambda: not self._busy and (urgent or not self._urgent))
            self._urgent -= urgent
            self._busy = True
        try:
            yield
        finally:
            with self._changed:
                self._busy = False
                self._changed.notify_all()


class SectionTiles:
    """The embedding of any tile of any section, encoded once.

    All methods may be called from any thread. `read` gives sections in 0 to 255, as the model was
    trained on them.
    """

    def __init__(
        self,
        sam: Promptable,
        cache: EmbeddingCache,
        read: ReadSection,
        shape_zyx: tuple[int, int, int],
        *,
        tile_px: int,
        turns: EncoderTurns | None = None,
    ) -> None:
        self.shape_zyx = shape_zyx
        self.tile_px = tile_px
        self.windows = tuple(
            overlapping_tiles(self.shape_yx, tile_px, step_px=max(1, tile_px // 2))
        )
        self._sam = sam
        self._cache = cache
        self._read = lru_cache(SECTIONS_HELD)(read)
        self._turns = turns or EncoderTurns()
        self._lock = threading.Lock()
        self._keys: dict[tuple[int, Window], str] = {}
        self._held: OrderedDict[str, Float16[torch.Tensor, "1 C h w"]] = OrderedDict()

    @property
    def shape_yx(self) -> tuple[int, int]:
        """Height and width of a section."""
        return self.shape_zyx[1], self.shape_zyx[2]

    def tile(self, z: int, window: Window) -> EncodedTile:
        """A tile that a user waits for."""
        with self._lock:
            key = self._keys.get((z, window))
            embedding = self._held.get(key) if key else None
        if embedding is None:
            embedding = self._from_cache(z, window, key)
        return EncodedTile(
            embedding=embedding,
            frame=self._frame(window),
            shape_yx=(
                min(window.height, self.shape_zyx[1] - window.y),
                min(window.width, self.shape_zyx[2] - window.x),
            ),
        )

    def embed(self, z: int, window: Window) -> bool:
        """Bring a tile into the cache ahead of need; whether it had to be encoded."""
        pixels = pixels_of(self._read(z), window)
        key = self._cache.key(pixels, self._frame(window))
        encoded = False
        if self._cache.get(key) is None:
            encoded = self._encode(pixels, window, urgent=False)
        self._remember(z, window, key)
        return encoded

    def is_embedded(self, z: int, window: Window | None = None) -> bool:
        """Whether one tile of a section, or each of its `windows`, is known to be in the cache."""
        wanted = self.windows if window is None else (window,)
        with self._lock:
            return all((z, one) in self._keys for one in wanted)

    def num_embedded(self, z: int) -> int:
        """How many of a section's `windows` are in the cache."""
        with self._lock:
            return sum((z, window) in self._keys for window in self.windows)

    def embedded_sections(self) -> frozenset[int]:
        """The sections that are embedded as a whole."""
        with self._lock:
            sections = {z for z, _ in self._keys}
        return frozenset(z for z in sections if self.is_embedded(z))

    def trim(self) -> None:
        """Bring the cache back within its limit; what was encoded here stays."""
        self._cache.trim()

    def _from_cache(
        self, z: int, window: Window, key: str | None
    ) -> Float16[torch.Tensor, "1 C h w"]:
        found = self._cache.get(key) if key else None
        if found is None:  # never asked for, or removed by another run that shares the cache
            pixels = pixels_of(self._read(z), window)
            key = self._cache.key(pixels, self._frame(window))
            found = self._cache.get(key)
            if found is None:
                self._encode(pixels, window, urgent=True)
                found = self._cache.load(key)
            self._remember(z, window, key)
        assert key is not None
        return self._hold(key, lay_out(torch.from_numpy(found)[None].to(self._sam.device)))

    def _encode(self, pixels: UInt8[np.ndarray, "h w"], window: Window, *, urgent: bool) -> bool:
        frame = self._frame(window)
        with self._turns.turn(urgent=urgent):
            # Another thread may have encoded it while this one waited.
            if self._cache.get(self._cache.key(pixels, frame)) is not None:
                return False
            self._cache.fill_one(pixels, frame)
            return True

    def _remember(self, z: int, window: Window, key: str) -> None:
        with self._lock:
            self._keys[z, window] = key

    def _hold(
        self, key: str, embedding: Float16[torch.Tensor, "1 C h w"]
    ) -> Float16[torch.Tensor, "1 C h w"]:
        with self._lock:
            self._held[key] = embedding
            self._held.move_to_end(key)
            while len(self._held) > TILES_HELD:
                self._held.popitem(last=False)
        return embedding

    def _frame(self, window: Window) -> ModelFrame:
        return ModelFrame((window.y, window.x), window.height, self._sam.input_px)
