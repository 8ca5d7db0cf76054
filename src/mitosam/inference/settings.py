"""How masks are found without a user's prompts."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class PointGridSettings(BaseModel):
    """SAM's automatic mask generator, under segment-anything's names and with its defaults.

    No validation sections choose them: SAM's thresholds were not made for electron microscopy.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )

    points_per_side: int = Field(default=32, ge=1)
    """Points along each side of a tile; each is asked for three masks."""
    points_per_batch: int = Field(default=16, ge=1)
    """Points decoded at once; more take more memory and change no result."""
    tile_overlap: float = Field(default=0.25, ge=0, le=0.9)
    """Overlap of neighbouring tiles, as a share of a tile's side. Objects larger than the overlap
    may come in two pieces where tiles meet."""
    pred_iou_thresh: float = Field(default=0.88, ge=0, le=1)
    """Masks are kept if the model's own guess of their IoU is above this; 0 keeps all."""
    stability_score_thresh: float = Field(default=0.95, ge=0, le=1)
    """Least stability: how little a mask changes when its threshold moves."""
    stability_score_offset: float = Field(default=1.0, ge=0)
    """How far the threshold moves up and down, in logits."""
    box_nms_thresh: float = Field(default=0.7, ge=0, le=1)
    """Of two masks on one tile whose boxes have a higher IoU than this, the better stays."""
    mask_nms_thresh: float = Field(default=0.7, ge=0, le=1)
    """Of two masks on the section with a higher IoU than this, the better stays."""
    containment_thresh: float = Field(default=1.0, ge=0, le=1)
    """Of two masks that share more than this of the smaller one, the better stays; 1 keeps masks
    within masks."""
    min_mask_region_area: int = Field(default=0, ge=0)
    """Holes and islands of masks with fewer pixels than this are removed."""
    min_area_px: int = Field(default=20, ge=1)
    """Masks smaller than this are dropped."""
    max_area_share: float = Field(default=1.0, gt=0, le=1)
    """Masks that fill more than this share of their tile are dropped, as background."""


class PromptedSettings(BaseModel):
    """How candidate instances become prompts, and how the answers are joined with them."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )

    prompt: Literal["box", "point", "box+point"] = "box"
    """What the decoder is given of each candidate: its box, its most interior point, or both."""
    box_padding: float = Field(default=0.05, ge=0, le=1)
    """Each side of a box moves outward by this share of the box's side."""
    prompts_at_once: int = Field(default=16, ge=1)
    """Prompts decoded at once; more take more memory and change no result."""
    min_area_px: int = Field(default=20, ge=1)
    """Candidates and masks smaller than this are dropped."""
    stability_score_offset: float = Field(default=1.0, ge=0)
    """How far a mask's threshold moves to measure its stability, in logits."""
    mask_nms_thresh: float = Field(default=0.7, ge=0, le=1)
    """Of two masks with a higher IoU than this, the better stays."""
    containment_thresh: float = Field(default=1.0, ge=0, le=1)
    """Of two masks that share more than this of the smaller one, the better stays; 1 keeps masks
    within masks."""
    fuse: Literal["replace", "average", "union"] = "average"
    """"replace" takes the decoder's masks alone; "average" the mean of the head's and the decoder's
    probabilities inside each padded box; "union" what either of them finds."""
