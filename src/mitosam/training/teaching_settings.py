"""How a model is taught with a few sections that were just finished."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from mitosam.training.settings import Parts


class TeachingSettings(BaseModel):
    """How quickly a model is taught while its user waits; it may know mitochondria already.

    What is not said here is as in the sections of training and of the head.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    parts: Parts = ("mask_decoder",)
    """What is trained; with the mask decoder alone, embeddings of sections seen so far stay."""
    steps: int = Field(default=150, ge=1)
    """Optimiser steps of the mask decoder of a model that was tuned before."""
    head_steps: int = Field(default=300, ge=1)
    """Optimiser steps of its head."""
    learning_rate: float = Field(default=1e-4, gt=0)
    """Learning rate of its mask decoder."""
    head_learning_rate: float = Field(default=5e-4, gt=0)
    """Learning rate of its head."""
    steps_from_base: int = Field(default=300, ge=1)
    """Optimiser steps of the mask decoder of a base model."""
    head_steps_from_base: int = Field(default=800, ge=1)
    """Optimiser steps of a head that begins with random weights."""
    views: int = Field(default=64, ge=1)
    """Fewest views of the sections that are encoded."""
