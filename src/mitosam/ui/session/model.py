"""A model as a session uses it: prompts, the automatic methods, and one queue for the encoder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8

from mitosam.config import RunSettings
from mitosam.data.intensity import Normalisation, adopt_normalisation, measure_normalisation
from mitosam.embeddings import EmbeddingCache
from mitosam.geometry import ModelFrame
from mitosam.inference.tiles import Encode
from mitosam.io.volume import Volume
from mitosam.models.promptable import Promptable
from mitosam.ui.session.tiles import EncoderTurns
from mitosam.workflows.automatic import Segmenter
from mitosam.workflows.automatic_model import segmenter_of
from mitosam.workflows.models import open_cache
from mitosam.workflows.tuned_model import UsableModel, load_tuned_model


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionModel:
    """A loaded model under the name a user gave it."""

    name: str
    usable: UsableModel
    segmenter: Segmenter
    cache: EmbeddingCache
    turns: EncoderTurns

    @classmethod
    def load(
        cls, model: Path | str, settings: RunSettings, turns: EncoderTurns | None = None
    ) -> SessionModel:
        """A model by name, as `load_tuned_model` takes it.

        Its automatic methods encode in turns with whoever else has these `turns`.
        """
        usable = load_tuned_model(model, settings.model)
        turns = turns or EncoderTurns()
        segmenter = segmenter_of(usable, model, settings)
        of_base = segmenter.encode_for_head
        return cls(
            name=str(model),
            usable=usable,
            segmenter=replace(
                segmenter,
                encode=_in_turns(segmenter.encode, turns),
                encode_for_head=of_base and _in_turns(of_base, turns),
            ),
            cache=open_cache(usable.sam, settings.cache),
            turns=turns,
        )

    @property
    def sam(self) -> Promptable:
        """What encodes and decodes."""
        return self.usable.sam

    @property
    def has_head(self) -> bool:
        """Whether it finds mitochondria without prompts."""
        return self.segmenter.head is not None

    def normalisation_for(self, volume: Volume) -> Normalisation:
        """How the volume's sections become what the model was trained on."""
        if self.usable.normalisation is None:
            return measure_normalisation(volume)
        return adopt_normalisation(self.usable.normalisation, volume)

    def shares_embeddings_with(self, other: SessionModel) -> bool:
        """Whether the other's embeddings are its own: both were tuned from the same base."""
        return self._sight == other._sight

    @property
    def _sight(self) -> tuple[str, str, int, int]:
        sam = self.sam
        return sam.weights_hash, sam.precision, sam.input_px, self.usable.tile_px


def _in_turns(encode: Encode, turns: EncoderTurns) -> Encode:
    """The same, giving way to what a user waits for."""

    def encode_in_turn(
        pixels: UInt8[np.ndarray, "h w"], frame: ModelFrame
    ) -> Float[np.ndarray, "C h w"] | Float[torch.Tensor, "C h w"]:
        with turns.turn(urgent=False):
            return encode(pixels, frame)

    return encode_in_turn
