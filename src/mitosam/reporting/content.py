"""What a report holds, before any of it is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, UInt8

from mitosam.errors import InputError
from mitosam.evaluation.cases import Why
from mitosam.evaluation.scores import Score
from mitosam.evaluation.summary import PairedDifference, SummaryRow
from mitosam.evaluation.trust import Trust
from mitosam.evaluation.volumes import VolumeRow
from mitosam.reporting.automatic_content import AutomaticContent
from mitosam.training.curve import CurvePoint

if TYPE_CHECKING:  # brings SciPy, which the command line answers without
    from mitosam.evaluation.clicks import ClickSummary


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One patch to look at: the image, the truth, and what both models made of it."""

    image: UInt8[np.ndarray, "height width"]
    truth: Bool[np.ndarray, "height width"]
    base: Bool[np.ndarray, "height width"]
    tuned: Bool[np.ndarray, "height width"]
    base_score: Score
    tuned_score: Score
    why: Why
    """Why it is shown."""
    box_xyxy: Float[np.ndarray, " 4"] | None = None
    """The prompt, in the patch's own pixels."""
    pixel_nm: float | None = None
    """Side of a pixel, for a scale bar."""

    def __post_init__(self) -> None:
        for name in ("truth", "base", "tuned"):
            if getattr(self, name).shape != self.image.shape:
                raise InputError(
                    "a case's masks must have the shape of its image, got "
                    f"{getattr(self, name).shape} for {name} with image {self.image.shape}"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that the page shows; whatever is empty is left out or said to be missing."""

    title: str
    scores: Sequence[Score]
    summaries: Sequence[SummaryRow]
    differences: Sequence[PairedDifference]
    """Tuned minus base."""
    cases: Sequence[Case] = ()
    curve: Sequence[CurvePoint] = ()
    counts: Sequence[tuple[str, int]] = ()
    """How many patches there were, were dropped and were scored, as label and number."""
    split: str = ""
    """How training, validation and test were kept apart, in a sentence or two."""
    notes: Sequence[str] = ()
    """Warnings that a reader must see before any number, such as a leaky split."""
    clicks: Sequence[ClickSummary] = ()
    """What correcting clicks bought, where it was measured."""
    trust: Sequence[Trust] = ()
    """How far the models' predicted IoU can be believed."""
    volumes: Sequence[VolumeRow] = ()
    """The scores volume by volume, where there are several."""
    automatic: AutomaticContent | None = None
    """The scores of a segmentation without prompts, which stand in a section of their own."""
    provenance: Sequence[tuple[str, str]] = ()
    """Data, model, settings, seed and versions, as label and value."""
