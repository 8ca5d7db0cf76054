"""Which model, and how it computes."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class ModelSettings(BaseModel):
    """The base model."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str = "vit_t"
    """"vit_t" (embedded), a Hugging Face name or folder, or the path of a checkpoint."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Number format of the arithmetic; "auto" takes bf16 where the machine computes in it."""
    device: str = "auto"
    """"cpu", "cuda", "cuda:1" ...; "auto" takes a GPU if there is one."""
