"""How the model is taught."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from mitosam.models.part_settings import LoraSettings, Part, check_parts, expand_parts

Parts = Annotated[tuple[Part, ...], BeforeValidator(expand_parts)]
Loss = Literal["dice_bce", "dice", "bce", "focal", "dice_focal"]


class PromptMix(BaseModel):
    """How often each kind of prompt is drawn while training; the weights need not sum to 1."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )

    patch_box: float = Field(default=2, ge=0)
    """One box round all mitochondria of a patch."""
    object_box: float = Field(default=3, ge=0)
    """One box round one mitochondrion."""
    object_point: float = Field(default=1, ge=0)
    """One point inside one mitochondrion."""

    @model_validator(mode="after")
    def _check(self) -> PromptMix:
        if self.patch_box + self.object_box + self.object_point <= 0:
            raise ValueError("patch_box, object_box or object_point must be above 0")
        return self


class TrainingSettings(BaseModel):
    """What of the model is trained on prompts, and how."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )

    parts: Parts = ("auto",)
    """What is trained: "auto", "decoder", "late" (also the prompt encoder, the image encoder's neck
    and its last blocks), "lora" (adapters all through the encoder) or "full"; or a list of
    "mask_decoder", "prompt_encoder", "neck", "late_blocks", "encoder" and "lora". Of models whose
    blocks are known one by one, "auto" is full if the image encoder is small, as vit_t's is, and
    late if not; of others decoder. What comes before the first trained layer is computed once and
    cached."""
    late_blocks: int = Field(default=8, ge=1)
    """How many of the encoder's last blocks "late_blocks" are; vit_t has 12, ViT-B as many."""
    lora: LoraSettings = LoraSettings()
    """The adapters of part "lora"."""
    epochs: int = Field(default=2, ge=1)
    """Passes over all training tiles."""
    min_steps: int = Field(default=400, ge=1)
    """Fewest optimiser steps; few annotated sections get more epochs."""
    batch_tiles: int = Field(default=1, ge=1)
    """Image tiles per optimiser step. Several processes share them, so take a multiple of their
    number. Tiles are computed one after the other: more of them need no more memory."""
    accumulate: int = Field(default=1, ge=1)
    """In how many parts a tile's prompts of one kind are computed one after the other, for less
    memory. Their gradients are added up, so that the result is the same."""
    augment: bool = True
    """Train on views of the sections, anywhere in them, turned, mirrored and with another contrast,
    instead of on their tiles as they are."""
    views_per_tile: float = Field(default=1, gt=0)
    """Views that are encoded, as a multiple of the tiles that would cover the sections."""
    min_views: int = Field(default=256, ge=1)
    """Fewest views; few annotated sections are seen in more ways."""
    prompts_per_tile: int = Field(default=8, ge=1)
    """Prompts drawn on each tile at each step."""
    prompt_mix: PromptMix = PromptMix()
    """How often each kind of prompt is drawn."""
    jitter_px: int = Field(default=20, ge=1)
    """Each side of a patch box moves outward by 0 to this many pixels, exclusive."""
    object_jitter: float = Field(default=0.05, ge=0, le=0.5)
    """Each side of an object box moves by up to this share of the box's side, in or out."""
    max_corrections: int = Field(default=3, ge=0, le=9)
    """Most clicks by which the answer to a prompt for one mitochondrion is corrected in training,
    as users do; 0 for none."""
    corrected_share: float = Field(default=0.5, ge=0, le=1)
    """Share of those prompts that are asked again, after 1 to `max_corrections` clicks."""
    mask_share: float = Field(default=0.5, ge=0, le=1)
    """Share of the corrected prompts that come with the mask they correct, as a mask prompt."""
    candidates_weight: float = Field(default=0.5, ge=0)
    """Weight of the best of the three candidates for a single point; 0 to train one mask alone."""
    loss: Loss = "dice_bce"
    """What is minimised: Dice loss, binary cross entropy, focal loss, or a sum of two."""
    boundary_weight: float = Field(default=0, ge=0)
    """How much more a pixel on an outline counts in the cross entropy (or focal loss) than one far
    from any; 0 for alike."""
    iou_weight: float = Field(default=0.1, ge=0)
    """Weight of the error of the IoU that the model predicts of its masks; 0 to leave it alone."""
    learning_rate: float = Field(default=2e-4, gt=0)
    """Learning rate of Adam at its height."""
    encoder_rate: float = Field(default=0.5, gt=0)
    """Learning rate of what is trained of the image encoder, as a multiple of `learning_rate`."""
    weight_decay: float = Field(default=0, ge=0)
    """Weight decay of Adam."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """Learning rate over time: constant, or a short warm-up and then half a cosine down to 0."""
    ema_decay: float = Field(default=0.99, ge=0, lt=1)
    """Decay of the running average of the weights that is validated and saved; 0 for none."""
    base_share: float = Field(default=0.2, ge=0, lt=1)
    """Share of the weights that training began with in those that are validated and saved. It costs
    little where the model was trained and keeps much of what it could do elsewhere (WiSE-FT,
    Wortsman et al. 2022); 0 for none."""
    clip_norm: float = Field(default=1.0, gt=0)
    """Largest norm of the gradient."""
    validations: int = Field(default=6, ge=1)
    """How often the model is validated and its state saved."""
    max_validation_prompts: int = Field(default=192, ge=1)
    """Most prompts of each kind used for one validation."""

    @model_validator(mode="after")
    def _check(self) -> TrainingSettings:
        check_parts(self.parts, self.lora)
        return self
