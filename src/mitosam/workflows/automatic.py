"""Automatic methods on a stack of sections: one interface, whatever finds the mitochondria."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from hashlib import sha256
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Float32, UInt8
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from mitosam.errors import ModelError, SettingsError
from mitosam.geometry import ModelFrame
from mitosam.inference.head_maps import PixelModel
from mitosam.inference.instances import InstanceSettings, label_maps
from mitosam.inference.maps import SectionMaps
from mitosam.inference.point_grid import segment_by_grid
from mitosam.inference.prompted import Candidates, segment_candidates
from mitosam.inference.section_embedding import embedding_windows, section_embedding
from mitosam.inference.settings import PointGridSettings, PromptedSettings
from mitosam.inference.tiles import Encode
from mitosam.models.promptable import Promptable

Method = Literal["head", "prompted", "grid"]
METHODS: tuple[Method, ...] = ("head", "prompted", "grid")
"""The prompt-free head; its instances asked of the mask decoder; SAM's grid of points."""
SECTIONS_HELD = 12
TILES_HELD = 64  # 4 MB each
Embedding = Float[np.ndarray, "C h w"] | Float[Tensor, "C h w"]
ReadSection = Callable[[int], UInt8[np.ndarray, "height width"]]
Maps = UInt8[np.ndarray, "2 height width"]


class AutomaticInfo(BaseModel):
    """What validation sections chose for each automatic method; it is saved with the model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    instances: dict[Method, InstanceSettings] = {}
    preferred: Method = "head"
    validation_sections: int = 0
    scores: dict[str, float] = {}

    @classmethod
    def parse(cls, text: str) -> AutomaticInfo:
        """What `model_dump_json` wrote; an empty text is the defaults.

        Raises
        ------
        ModelError
            It is damaged.
        """
        try:
            return cls.model_validate(json.loads(text)) if text else cls()
        except (ValidationError, ValueError) as error:
            raise ModelError(
                "the model's file says nothing usable of its automatic methods; train again"
            ) from error

    def settings_of(self, method: Method) -> InstanceSettings:
        """How the method's maps become instances."""
        return self.instances.get(method, InstanceSettings())


@dataclass(frozen=True, slots=True, kw_only=True)
class Segmenter:
    """The models that automatic methods need, and how a tile's embedding is come by."""

    sam: Promptable
    tile_px: int
    encode: Encode
    head: PixelModel | None
    info: AutomaticInfo
    prompted: PromptedSettings = field(default_factory=PromptedSettings)
    grid: PointGridSettings = field(default_factory=PointGridSettings)

    def choose(self, method: Method | Literal["auto"]) -> Method:
        """The method that was asked for, or what validation preferred.

        Raises
        ------
        ModelError
            It needs a head, and the model has none.
        """
        chosen = self.info.preferred if method == "auto" else method
        if chosen not in METHODS:
            raise SettingsError(f"method must be auto, {', '.join(METHODS)}, got {chosen!r}")
        if chosen != "grid" and self.head is None:
            raise ModelError(
                f"{self.sam.name} has no prompt-free head, which method {chosen!r} needs; "
                "train one with `mitosam finetune`, or take --method grid"
            )
        return chosen

    def settings_of(self, method: Method) -> dict[str, Any]:
        """What the method was told, but for its thresholds."""
        told = {"prompted": self.prompted, "grid": self.grid}.get(method)
        return told.model_dump(mode="json") if told else {}

    def with_info(self, info: AutomaticInfo) -> Segmenter:
        """The same with other thresholds."""
        return replace(self, info=info)

    def mapper(self, method: Method, read: ReadSection, num_sections: int) -> Callable[[int], Maps]:
        """A function from a section's number to its maps of foreground and boundary, 0 to 255.

        `read` gives sections in 0 to 255; the last few are held.
        """
        held = lru_cache(SECTIONS_HELD)(read)
        if method == "grid":
            return lambda z: _as_bytes(self._grid(held(z)))
        head = self.head
        assert head is not None, "choose() refuses methods that need a head"
        # Only the decoder asks for a tile again.
        encode = _HeldTiles(self.encode) if method == "prompted" else self.encode

        def of_head(z: int) -> Maps:
            stack = head.stack(held, z, num_sections)
            return head.maps(stack, self._embedding(held(z), encode))

        if method == "head":
            return of_head
        return lambda z: self._refined(held(z), of_head(z), encode)

    def _embedding(
        self, section: UInt8[np.ndarray, "height width"], encode: Encode
    ) -> Float32[np.ndarray, "C h8 w8"] | None:
        if self.head is None or not self.head.shape.embedding_channels:
            return None
        return section_embedding(section, encode, tile_px=self.tile_px, input_px=self.sam.input_px)

    def _refined(
        self, section: UInt8[np.ndarray, "height width"], maps: Maps, encode: Encode
    ) -> Maps:
        """The head's maps, with its instances asked of the mask decoder."""
        settings = self.info.settings_of("head").for_one_section()
        # Whatever might be one is asked of the decoder; what is sure enough is decided afterwards.
        asked = settings.model_copy(update={"min_confidence": 0.0})
        labels = label_maps([maps], asked)[0]
        candidates = Candidates(
            labels=labels.astype(np.int64), foreground=maps[0].astype(np.float32) / 255
        )
        found = segment_candidates(
            self.sam,
            section,
            candidates,
            self.prompted,
            tile_px=self.tile_px,
            encode=encode,
            tiles=embedding_windows((section.shape[0], section.shape[1]), self.tile_px),
        )
        refined = _as_bytes(found.maps)
        # What parts two instances is the head's to say where the decoder says nothing of it.
        refined[1] = np.maximum(refined[1], maps[1])
        return refined

    def _grid(self, section: UInt8[np.ndarray, "height width"]) -> SectionMaps:
        found = segment_by_grid(
            self.sam, section, self.grid, tile_px=self.tile_px, encode=self.encode
        )
        return found.maps


class _HeldTiles:
    """The same embeddings, each encoded once though the head and the decoder both ask for it."""

    def __init__(self, encode: Encode) -> None:
        self._encode = encode
        self._held: dict[tuple[bytes, ModelFrame], Embedding] = {}

    def __call__(self, pixels: UInt8[np.ndarray, "h w"], frame: ModelFrame) -> Embedding:
        """One tile's embedding."""
        key = sha256(pixels.tobytes()).digest(), frame
        if key not in self._held:
            while len(self._held) >= TILES_HELD:
                self._held.pop(next(iter(self._held)))
            self._held[key] = self._encode(pixels, frame)
        return self._held[key]


def _as_bytes(maps: SectionMaps) -> Maps:
    both = np.stack([maps.foreground, maps.boundary])
    return np.asarray(np.rint(255 * both).astype(np.uint8))
