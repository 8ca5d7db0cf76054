"""Which parts of a model are trained, by name: a preset, or a list of parts.

Read by everything that has settings, so nothing here needs torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Part = Literal["auto", "mask_decoder", "prompt_encoder", "neck", "late_blocks", "encoder", "lora"]
PRESETS: dict[str, tuple[Part, ...]] = {
    "decoder": ("mask_decoder",),
    "late": ("mask_decoder", "prompt_encoder", "neck", "late_blocks"),
    "lora": ("mask_decoder", "prompt_encoder", "lora"),
    "full": ("mask_decoder", "prompt_encoder", "encoder"),
}
"""From the cheapest to the dearest."""
AUTO: tuple[Part, ...] = ("auto",)
"""The preset that did best on validation sections, of those that the model can be trained by."""
Target = Literal["encoder", "mask_decoder"]


class LoraSettings(BaseModel):
    """Which linear layers get adapters, and how wide these are."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )

    rank: int = Field(default=8, ge=1)
    """Width of the adapters."""
    alpha: float = Field(default=16, gt=0)
    """An adapter's output is scaled by `alpha / rank`."""
    on: tuple[Target, ...] = Field(default=("encoder",), min_length=1)
    """Parts that are adapted: "encoder", "mask_decoder" or both."""
    last_blocks: int = Field(default=0, ge=0)
    """Adapt only so many of the encoder's last blocks; what comes before is cached. 0 for all."""


def expand_parts(parts: object) -> object:
    """The parts that a preset's name stands for; anything else as it is."""
    if not isinstance(parts, str):
        return parts
    return PRESETS.get(parts, (parts,))


def check_parts(parts: Sequence[Part], lora: LoraSettings) -> None:
    """Refuse what contradicts itself.

    Raises
    ------
    ValueError
        Nothing is trained, or a part twice.
    """
    if not parts:
        raise ValueError(f"at least one part must be trained: {', '.join(PRESETS)}, or a list")
    if "auto" in parts and len(parts) > 1:
        raise ValueError("auto stands alone; name the parts or leave them to it")
    if len(set(parts)) < len(parts):
        raise ValueError("a part is named twice")
    inner = [part for part in ("neck", "late_blocks") if part in parts]
    if "encoder" in parts and inner:
        raise ValueError(f"encoder is the whole image encoder and holds {' and '.join(inner)}")
    if "lora" not in parts:
        return
    whole = {"encoder": ("encoder", "late_blocks"), "mask_decoder": ("mask_decoder",)}
    for target in lora.on:
        both = [part for part in whole[target] if part in parts]
        if both:
            raise ValueError(
                f"lora adapts the {target} (training.lora.on) and {both[0]} trains it whole; "
                "choose one of them"
            )
