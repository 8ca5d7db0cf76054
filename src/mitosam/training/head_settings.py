"""How the prompt-free head is taught."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class HeadSettings(BaseModel):
    """How the prompt-free head is trained, on the embeddings of the mask decoder's training."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )

    enabled: bool = True
    """Train a head at all; without one the model needs prompts, or a point grid."""
    rival: Literal["unet", "none"] = "unet"
    """The network that scores without prompts stand beside: a plain U-Net, trained for as many
    steps on the same sections; "none" saves its time."""
    neighbours: tuple[int, ...] = ()
    """The sections it reads beside the one it segments, as [-1, 1]. On an isotropic volume seven
    sections were no better than one (docs/results)."""
    use_embedding: bool = True
    """Read the embedding beside the pixels. It does not matter on the volume that was trained on,
    and helps on others (docs/results)."""
    embedding_of: Literal["base", "tuned"] = "base"
    """Whose embedding, where the encoder is trained too: the base model's, or the tuned one's,
    which says more of the sections that it was trained on than of any others (docs/results)."""
    width: int = Field(default=32, ge=4)
    """Channels at half resolution; deeper levels have 2, 3 and 5 times as many."""
    steps: int = Field(default=2000, ge=1)
    """Optimiser steps."""
    batch_crops: int = Field(default=8, ge=1)
    """Square crops per optimiser step."""
    crop_px: int = Field(default=256, ge=32, multiple_of=16)
    """Side of the crops, in pixels."""
    boundary_px: int = Field(default=3, ge=1)
    """Width of the rim of an instance that counts as its boundary, in pixels."""
    augment: bool = True
    """Turn, mirror and zoom the crops, change contrast, blur and noise, and turn the order of the
    neighbouring sections round."""
    max_zoom: float = Field(default=1.35, ge=1, le=4)
    """Crops show up to so many times more or fewer pixels along each side."""
    blank_embeddings: float = Field(default=0.15, ge=0, lt=1)
    """Share of the crops that are seen without their embedding, so that pixels count too."""
    embedding_dropout: float = Field(default=0.3, ge=0, lt=1)
    """Share of the embedding's channels that a crop is seen without: all of them together name
    each place of the few training sections."""
    learning_rate: float = Field(default=2e-3, gt=0)
    """Learning rate of Adam at its height."""
    weight_decay: float = Field(default=0, ge=0)
    """Weight decay of Adam."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """Learning rate over time: constant, or a short warm-up and then half a cosine down to 0."""
    ema_decay: float = Field(default=0.995, ge=0, lt=1)
    """Decay of the running average of the weights that is validated and saved; 0 for none."""
    clip_norm: float = Field(default=1.0, gt=0)
    """Largest norm of the gradient."""
    validations: int = Field(default=6, ge=1)
    """How often the head is validated and its state saved."""
