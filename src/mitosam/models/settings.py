"""Which model, and how it computes."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class ModelSettings(BaseModel):
    """The base model."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str = "vit_t"
    """"vit_t" (embedded), a Hugging Face name or folder, or the path of a checkpoint."""
    input_px: int | None = Field(default=None, ge=16)
    """Side of the square input that tiles are scaled to, in pixels; by default the one the model
    was trained at (1024). Half of it encodes in a quarter of the time and memory, with outlines
    half as fine. A multiple of the model's stride (16); a tuned model keeps the one of its
    training."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Number format of the arithmetic, also in training; "auto" takes bf16 where the machine
    computes in it. "fp16" is for GPUs that know no bf16; training then scales its loss."""
    device: str = "auto"
    """"cpu", "cuda", "cuda:1" ...; "auto" takes a GPU if there is one, and with several processes
    each takes its own."""
