"""What a model does for a session, as the session sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Int, UInt8

from mitosam.config import RunSettings
from mitosam.data.intensity import Normalisation
from mitosam.geometry import Window
from mitosam.progress import SILENT, Progress
from mitosam.prompts import Prompts


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundMask:
    """A mask on a section, cut to a window of it, and the model's own guess of its IoU."""

    window: Window
    mask: Bool[np.ndarray, "h w"]
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundObjects:
    """What a method found on some sections.

    One id is one object on all of them; `confidence` in 0 to 1 is given for each id. `sentence`
    says to a user how words were understood.
    """

    labels: Mapping[int, Int[np.ndarray, "height width"]]
    confidence: Mapping[int, float]
    sentence: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a model that is taught begins: a base model, or the tuned one in the file `weights`.

    `trained` are the settings of the tuned one's training; `normalisation` says how grey values are
    brought to 8 bits.
    """

    base_name: str
    weights: Path | None
    trained: RunSettings | None
    normalisation: Normalisation


class Assistant(Protocol):
    """A model at work on one volume. Its methods may be called from any thread."""

    @property
    def model_name(self) -> str:
        """What the user calls the model."""
        ...

    @property
    def remark(self) -> str:
        """What to beware of with this model on this volume; "" where nothing is."""
        ...

    @property
    def origin(self) -> Origin:
        """Where a model that is taught begins."""
        ...

    def image(self, z: int) -> UInt8[np.ndarray, "height width"]:
        """A section as the model sees it, in grey values of 0 to 255."""
        ...

    def look_at(self, z: int) -> None:
        """A section is shown: see to its embeddings first, then to its neighbours'."""
        ...

    def embedded(self) -> frozenset[int]:
        """The sections on which prompts are answered at once."""
        ...

    def candidates(self, z: int, prompts: Prompts) -> Sequence[FoundMask]:
        """The masks for one prompt, the best guess first."""
        ...

    def segment(self, sections: range, method: str, progress: Progress = SILENT) -> FoundObjects:
        """All objects of some consecutive sections, found in the calling thread.

        Raises
        ------
        MitosamError
            The model cannot do that.
        """
        ...

    def ask(self, text: str, z: int) -> FoundObjects:
        """All objects of a section that a word names.

        Raises
        ------
        MitosamError
            The word is not understood, or the model cannot do that.
        """
        ...

    def close(self) -> None:
        """Stop what goes on in the background."""
        ...
