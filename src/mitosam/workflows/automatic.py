"""Automatic methods on a stack of sections: one interface, whatever finds the mitochondria."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from hashlib import sha256
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, UInt8
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from mitosam.errors import ModelError, SettingsError
from mitosam.geometry import ModelFrame, Window
from mitosam.inference.head_maps import PixelModel
from mitosam.inference.instance_settings import InstanceSettings
from mitosam.inference.instances import label_maps
from mitosam.inference.maps import SectionMaps
from mitosam.inference.panes import HEAD_PANE_PX, PANE_PX, Pane
from mitosam.inference.point_grid import segment_by_grid
from mitosam.inference.prompted import Candidates, segment_candidates
from mitosam.inference.section_embedding import embedding_windows, pane_embedding
from mitosam.inference.settings import PointGridSettings, PromptedSettings
from mitosam.inference.tiles import Encode
from mitosam.models.head import CONTEXT_PX, STRIDE_PX
from mitosam.models.promptable import Promptable

Method = Literal["head", "prompted", "grid"]
METHODS: tuple[Method, ...] = ("head", "prompted", "grid")
"""The prompt-free head; its instances asked of the mask decoder; SAM's grid of points."""
SECTIONS_HELD = 12
TILES_HELD = 64  # 4 MB each
REFINED_PX = 256
"""How far beyond a pane the decoder is asked for instances, as those at its edge reach into it."""
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
    encode_for_head: Encode | None = None
    """Of the base model, for a head that was trained on its embeddings; None: `encode` as well."""
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

    def margin_px(self, method: Method) -> int:
        """How far round a pane its maps depend on the section."""
        reach = {"head": 0, "prompted": REFINED_PX, "grid": REFINED_PX}[method]
        return reach + (0 if method == "grid" else CONTEXT_PX + self.tile_px + STRIDE_PX)

    def pane_px(self, method: Method) -> int:
        """About how long the sides of panes are."""
        return HEAD_PANE_PX if method == "head" else PANE_PX

    def reach_sections(self, method: Method) -> tuple[int, int]:
        """How many sections before and after one its maps depend on."""
        offsets = self.head.shape.section_offsets if method != "grid" and self.head else (0,)
        return -min(*offsets, 0), max(*offsets, 0)

    def mapper(
        self, method: Method, read: ReadSection, num_sections: int, pane: Pane | None = None
    ) -> Callable[[int], Maps]:
        """A function from a section's number to its maps of foreground and boundary, 0 to 255.

        `read` gives sections in 0 to 255; the last few are held. With a pane, it gives that pane's
        outer window of each, and the maps are those of the inner one.
        """
        held = lru_cache(SECTIONS_HELD)(read)
        encode: Encode = _BlankOnce(self.encode)
        of_base = self.encode_for_head and _BlankOnce(self.encode_for_head)

        def pane_of(section: UInt8[np.ndarray, "h w"]) -> Pane:
            return pane or Pane.whole((section.shape[0], section.shape[1]))

        if method == "grid":
            return _unless_blank(
                lambda z: self._grid(held(z), pane_of(held(z)), encode), held, pane
            )
        if method == "prompted" and not of_base:  # the decoder asks for the head's tiles again
            encode = _HeldTiles(encode)

        def of_head(z: int, wanted: Window) -> Maps:
            return self._of_head(held, z, num_sections, pane_of(held(z)), wanted, of_base or encode)

        if method == "head":
            return _unless_blank(lambda z: of_head(z, pane_of(held(z)).inner), held, pane)

        def refined(z: int) -> Maps:
            whole = pane_of(held(z))
            asked = whole.inner.grown(REFINED_PX, whole.shape_yx)
            return self._refined(held(z), whole, asked, of_head(z, asked), encode)

        return _unless_blank(refined, held, pane)

    def _of_head(
        self,
        read: ReadSection,
        z: int,
        num_sections: int,
        pane: Pane,
        wanted: Window,
        encode: Encode,
    ) -> Maps:
        """The head's maps of a window of a section."""
        head = self.head
        assert head is not None, "choose() refuses methods that need a head"
        near = wanted.grown(CONTEXT_PX, pane.shape_yx)
        embedding = None
        if head.shape.embedding_channels:
            embedding = pane_embedding(
                read(z), pane, near, encode, tile_px=self.tile_px, input_px=self.sam.input_px
            )
        rows, columns = near.seen_from(pane.outer).slices
        stack = head.stack(read, z, num_sections)[:, rows, columns]
        return head.maps(stack, embedding, inner=wanted.seen_from(near))

    def _refined(
        self,
        pixels: UInt8[np.ndarray, "h w"],
        pane: Pane,
        asked: Window,
        maps: Maps,
        encode: Encode,
    ) -> Maps:
        """The head's maps of the window `asked`, with its instances asked of the mask decoder."""
        settings = self.info.settings_of("head").for_one_section()
        # Whatever might be one is asked of the decoder; what is sure enough is decided afterwards.
        lenient = settings.model_copy(update={"min_confidence": 0.0})
        place = asked.seen_from(pane.outer).slices
        labels = np.zeros(pixels.shape, np.int64)
        labels[place] = label_maps([maps], lenient)[0]
        given = np.zeros((2, *pixels.shape), np.uint8)
        given[:, *place] = maps
        found = segment_candidates(
            self.sam,
            pixels,
            Candidates(labels=labels, foreground=given[0].astype(np.float32) / 255),
            self.prompted,
            tile_px=self.tile_px,
            encode=encode,
            tiles=_tiles_inside(pane, self.tile_px),
        )
        refined = _as_bytes(found.maps)
        # What parts two instances is the head's to say where the decoder says nothing of it.
        refined[1] = np.maximum(refined[1], given[1])
        return refined[:, *pane.inner.seen_from(pane.outer).slices]

    def _grid(self, pixels: UInt8[np.ndarray, "h w"], pane: Pane, encode: Encode) -> Maps:
        found = segment_by_grid(self.sam, pixels, self.grid, tile_px=self.tile_px, encode=encode)
        return _as_bytes(found.maps)[:, *pane.inner.seen_from(pane.outer).slices]


def _tiles_inside(pane: Pane, tile_px: int) -> list[Window]:
    """The section's tiles of which all that lies in the section lies in the pane's outer window."""
    tiles = embedding_windows(pane.shape_yx, tile_px)
    inside = [tile for tile in tiles if pane.outer.contains(tile.grown(0, pane.shape_yx))]
    return [tile.seen_from(pane.outer) for tile in inside]


def _unless_blank(
    compute: Callable[[int], Maps], read: ReadSection, pane: Pane | None
) -> Callable[[int], Maps]:
    """The same, but nothing is found where all pixels are alike, as round a tilted stack."""

    def computed(z: int) -> Maps:
        pixels = read(z)
        part = pixels[pane.inner.seen_from(pane.outer).slices] if pane else pixels
        if part.min() == part.max():
            return np.zeros((2, *part.shape), np.uint8)
        return compute(z)

    return computed


class _BlankOnce:
    """The same embeddings, those of tiles without structure encoded once for a grey value."""

    def __init__(self, encode: Encode) -> None:
        self._encode = encode
        self._held: dict[tuple[int, tuple[int, ...], int, int], Embedding] = {}

    def __call__(self, pixels: UInt8[np.ndarray, "h w"], frame: ModelFrame) -> Embedding:
        """One tile's embedding."""
        grey = int(pixels.min())
        if grey != pixels.max():
            return self._encode(pixels, frame)
        key = (grey, pixels.shape, frame.tile_px, frame.input_px)
        if key not in self._held:
            self._held[key] = self._encode(pixels, frame)
        return self._held[key]


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
