"""What training may do to the images it sees: settings, and the draw of one view from them."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from mitosam.data.artefacts import KINDS, NO_ARTEFACTS, Artefacts
from mitosam.data.views import View

MOST_SCRATCHES = 20


class AugmentationSettings(BaseModel):
    """The views that the mask decoder is trained on while training.augment is on.

    Strengths are the largest that are drawn; 0 turns a change off. `mitosam views` draws them.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )

    places: Literal["anywhere", "tiles"] = "anywhere"
    """Where views lie: "anywhere" in the sections, or on their "tiles", first as they are and then
    turned and mirrored in an order that never changes. Without contrast and artefacts the
    embeddings of "tiles" are used again by every later run."""
    symmetries: bool = True
    """Turn and mirror: one of the square's eight symmetries."""
    gamma: float = Field(default=0.4, ge=0, le=2)
    """Every other view has another contrast: grey values v from 0 to 1 become v to the power of
    exp(-gamma) to exp(gamma)."""
    gain: float = Field(default=0.25, ge=0, lt=1)
    """In the same views, distances from middle grey are multiplied by 1 - gain to 1 + gain."""
    artefact_share: float = Field(default=0.3, ge=0, le=1)
    """Share of the views that has each of the changes below, one independent of the other."""
    blur_px: float = Field(default=0, ge=0, le=20)
    """Gaussian blur, its sigma in pixels of the section."""
    noise: float = Field(default=0, ge=0, le=128)
    """Gaussian noise, its standard deviation in grey values of 0 to 255."""
    strips: float = Field(default=0, ge=0, le=128)
    """Jump of brightness between horizontal strips of a section, in grey values."""
    fold: float = Field(default=0, ge=0, le=1)
    """A fold of the section: a band across it as much darker; 1 is black."""
    dropout: float = Field(default=0, ge=0, le=0.8)
    """A rectangle that is missing, its sides as a share of the tile's."""
    scratches: int = Field(default=0, ge=0, le=MOST_SCRATCHES)
    """Knife marks: parallel lines across the section, bright or dark."""


def random_view(rng: np.random.Generator, settings: AugmentationSettings | None = None) -> View:
    """A view as the settings allow it.

    Artefacts come from a child of `rng`, so that turning one on leaves all else as it was drawn.
    """
    settings = settings or AugmentationSettings()
    artefacts = random_artefacts(rng.spawn(1)[0], settings)
    symmetry, changes_contrast = int(rng.integers(8)), bool(rng.integers(2))
    view = View(symmetry=symmetry if settings.symmetries else 0, artefacts=artefacts)
    if not changes_contrast:
        return view
    return View(
        symmetry=view.symmetry,
        gamma=float(np.exp(rng.uniform(-settings.gamma, settings.gamma))),
        gain=float(rng.uniform(1 - settings.gain, 1 + settings.gain)),
        artefacts=artefacts,
    )


def random_artefacts(rng: np.random.Generator, settings: AugmentationSettings) -> Artefacts:
    """Each kind in `artefact_share` of the draws, from nothing to the strength of its setting."""
    occurs = rng.random(len(KINDS)) < settings.artefact_share
    shares = 1 - rng.random(len(KINDS))  # above 0
    seed = int(rng.integers(2**32))
    strengths = {
        kind: float(there * getattr(settings, kind) * share)
        for kind, share, there in zip(KINDS, shares, occurs, strict=True)
    }
    return Artefacts(seed=seed, **strengths) if any(strengths.values()) else NO_ARTEFACTS
