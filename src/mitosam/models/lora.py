"""Low-rank adapters: two thin matrices beside a frozen one, trained in its place.

Source: E. Hu and others, *LoRA: Low-Rank Adaptation of Large Language Models*, ICLR 2022; the
adapters are Hugging Face peft's. They are merged into the weights after training, so that a tuned
model computes what its base does, as fast.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mitosam.errors import ModelError, SettingsError
from mitosam.models.frontier import blocks_of
from mitosam.models.part_settings import LoraSettings, Target
from mitosam.models.promptable import Promptable

_MODULES: dict[Target, str] = {"encoder": "vision_encoder", "mask_decoder": "mask_decoder"}
ADAPTER_SUFFIXES = (".lora_A", ".lora_B")
"""What the names of adapters end with in a tuned model's file."""
# peft's names: layer.lora_A.default.weight; ours leave out the name of its only adapter.
_DOWN, _UP = ".lora_A.default.weight", ".lora_B.default.weight"


def lora_layers(sam: Promptable, settings: LoraSettings) -> list[str]:
    """Names of the linear layers that get adapters.

    Raises
    ------
    SettingsError
        The model has no such layers.
    """
    found: list[str] = []
    for target in settings.on:
        prefixes: tuple[str, ...] = (f"{_MODULES[target]}.",)
        if target == "encoder" and settings.last_blocks:
            blocks = blocks_of(sam)
            if settings.last_blocks > len(blocks):
                raise SettingsError(
                    f"training.lora.last_blocks is {settings.last_blocks}, and of {sam.name} "
                    f"{len(blocks)} blocks are known; use 0 for all"
                )
            prefixes = tuple(f"{name}." for name in blocks[-settings.last_blocks :])
        layers = [
            name
            for name, module in sam.named_modules()
            if isinstance(module, nn.Linear) and name.startswith(prefixes)
        ]
        if not layers:
            raise SettingsError(f"{sam.name} has no linear layers in its {target} for LoRA")
        found += layers
    return found


def add_lora(sam: Promptable, settings: LoraSettings, *, seed: int = 0) -> dict[str, nn.Parameter]:
    """Put adapters into `sam`, which computes as before until they are trained; their weights.

    They are named by the layer they adapt, `LAYER.lora_A` and `LAYER.lora_B`.
    """
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]  # a float is as good
        target_modules=lora_layers(sam, settings),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, sam)
    return {
        name.replace(".default.weight", ""): parameter
        for name, parameter in sam.named_parameters()
        if name.endswith((_DOWN, _UP))
    }


def merge_lora(sam: Promptable) -> None:
    """Add the adapters to the weights beside them and take them out again."""
    from peft.tuners.lora.layer import LoraLayer

    adapted = [(n, m) for n, m in sam.named_modules() if isinstance(m, LoraLayer)]
    for name, layer in adapted:
        layer.merge()
        parent, _, last = name.rpartition(".")
        setattr(sam.get_submodule(parent), last, layer.get_base_layer())


def apply_lora(sam: Promptable, settings: LoraSettings, weights: Mapping[str, Tensor]) -> None:
    """Put trained adapters into `sam` and merge them.

    Raises
    ------
    ModelError
        They are not the adapters of this model; it is left as it was.
    """
    layers = lora_layers(sam, settings)
    known = {name: parameter.shape for name, parameter in sam.named_parameters()}
    for layer in layers:
        down, up = weights.get(f"{layer}.lora_A"), weights.get(f"{layer}.lora_B")
        height, width = known[f"{layer}.weight"]
        fits = (
            down is not None
            and up is not None
            and down.shape == (settings.rank, width)
            and up.shape == (height, settings.rank)
        )
        if not fits:
            raise ModelError(f"the adapters do not fit {sam.name} at {layer}")
    for name, parameter in add_lora(sam, settings).items():
        parameter.data.copy_(weights[name])
    merge_lora(sam)
