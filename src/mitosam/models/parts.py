"""Which parts of a model are trained, by name: a preset, or a list of parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import nn

from mitosam.errors import SettingsError
from mitosam.models.frontier import blocks_of
from mitosam.models.lora import LoraSettings, lora_layers
from mitosam.models.promptable import Promptable

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
# Random numbers by which SAM marks places. The decoder and the prompt encoder share them, and what
# was computed with them is kept, so they are never trained.
POSITIONS = "positional_embedding"


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


def resolve_parts(
    sam: Promptable, parts: Sequence[Part], late_blocks: int
) -> tuple[tuple[Part, ...], int]:
    """What "auto" stands for, and of how many late blocks: preset late, if this model has them."""
    if tuple(parts) != AUTO:
        return tuple(parts), late_blocks
    num_blocks = len(blocks_of(sam))
    can_be_late = num_blocks > 0 and isinstance(
        getattr(sam.vision_encoder, "neck", None), nn.Module
    )
    return PRESETS["late" if can_be_late else "decoder"], min(late_blocks, max(num_blocks, 1))


def trained_names(
    sam: Promptable, parts: Sequence[Part], *, late_blocks: int, lora: LoraSettings
) -> tuple[str, ...]:
    """Names, in `sam.named_parameters()`, of what the parts hold; of LoRA, of what it adapts.

    Raises
    ------
    SettingsError
        The model has no such part.
    """
    prefixes: list[str] = []
    for part in parts:
        if part == "encoder":
            prefixes.append("vision_encoder.")
        elif part == "neck":
            prefixes.append(_neck_prefix(sam))
        elif part == "late_blocks":
            prefixes += [f"{name}." for name in _late_blocks(sam, late_blocks)]
        elif part == "lora":
            prefixes += [f"{name}." for name in lora_layers(sam, lora)]
        else:
            prefixes.append(f"{part}.")
    names = (name for name, _ in sam.named_parameters() if not name.endswith(POSITIONS))
    return tuple(name for name in names if name.startswith(tuple(prefixes)))


def _neck_prefix(sam: Promptable) -> str:
    if not isinstance(getattr(sam.vision_encoder, "neck", None), nn.Module):
        raise SettingsError(f"{sam.name} has no neck to train; use training.parts=decoder or full")
    return "vision_encoder.neck."


def _late_blocks(sam: Promptable, count: int) -> list[str]:
    blocks = blocks_of(sam)
    if not blocks:
        raise SettingsError(
            f"the blocks of {sam.name} are not known one by one; "
            "use training.parts=decoder, lora or full"
        )
    if count > len(blocks):
        raise SettingsError(
            f"training.late_blocks is {count} and {sam.name} has {len(blocks)} blocks; "
            "use training.parts=full for all"
        )
    return blocks[-count:]
