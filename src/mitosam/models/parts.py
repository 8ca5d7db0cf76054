"""The parameters of a model's parts."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from mitosam.errors import SettingsError
from mitosam.models.frontier import blocks_of
from mitosam.models.lora import lora_layers
from mitosam.models.part_settings import AUTO, PRESETS, LoraSettings, Part
from mitosam.models.promptable import Promptable

# Random numbers by which SAM marks places. The decoder and the prompt encoder share them, and what
# was computed with them is kept, so they are never trained.
POSITIONS = "positional_embedding"
SMALL_ENCODER = 20_000_000
"""Parameters of an image encoder that is trained whole unless parts are named. vit_t's has 6
million, and a step with all of them takes as long as one with its late blocks; ViT-B's has 90."""


def resolve_parts(
    sam: Promptable, parts: Sequence[Part], late_blocks: int
) -> tuple[tuple[Part, ...], int]:
    """What "auto" stands for, and of how many late blocks.

    Preset full where the encoder is small, else late if this model's blocks are known, else
    decoder.
    """
    if tuple(parts) != AUTO:
        return tuple(parts), late_blocks
    num_blocks = len(blocks_of(sam))
    preset = "decoder"
    if num_blocks > 0 and isinstance(getattr(sam.vision_encoder, "neck", None), nn.Module):
        size = sum(parameter.numel() for parameter in sam.vision_encoder.parameters())
        preset = "full" if size <= SMALL_ENCODER else "late"
    return PRESETS[preset], min(late_blocks, max(num_blocks, 1))


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
