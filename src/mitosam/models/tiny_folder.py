"""The config.json of a folder that holds a SAM with a TinyViT encoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import SamConfig

from mitosam.models.tinyvit import TinyViTConfig

TINY_MODEL_TYPE = "mitosam_vit_t"


def read_tiny_config(config: Mapping[str, Any]) -> tuple[TinyViTConfig, SamConfig]:
    """The encoder's shape and the rest's."""
    encoder: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in config["tiny_vit"].items()
    }
    return TinyViTConfig(**encoder), SamConfig.from_dict(dict(config["sam"]))
