"""What is scored, and how."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from mitosam.evaluation.scores import PROTOCOLS, Protocol


class EvaluationSettings(BaseModel):
    """How base and tuned model are scored, always on the same prompts."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    protocols: tuple[Protocol, ...] = Field(default=PROTOCOLS, min_length=1)
    """"patch-box": one box round all mitochondria of a patch; "object-box" and "object-point": one
    prompt for each mitochondrion. All prompts are taken from the truth."""
    objects: Literal["section", "patch"] = "section"
    """"section" scores whole mitochondria, as far as one tile holds them; "patch" scores their
    pieces within each patch, so that models with different tiles can be compared."""
    keep_empty_patches: bool = False
    """Score patches without mitochondria too, prompted by a box round the whole patch."""
    jitter_px: int = Field(default=20, ge=0)
    """Each side of a patch box moves outward by 0 to this many pixels, exclusive, the same for
    every model."""
    max_sections: int = Field(default=0, ge=0)
    """Score at most this many sections, evenly spaced; 0 for all."""
    point_mask: Literal["single", "chosen"] = "single"
    """The mask that answers a point alone, which can mean more than one thing: the model's single
    mask, or that of its candidates with the highest predicted IoU, as SAM's authors advise.
    iou_calibration.csv tells what either is worth."""
