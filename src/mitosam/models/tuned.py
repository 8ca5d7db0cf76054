"""Tuned models: the trained weights alone, with what they were trained on and from."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors.torch import save
from torch import Tensor

from mitosam.errors import ModelError
from mitosam.models.sam import Sam
from mitosam.models.weight_files import read_metadata, read_weights
from mitosam.storage import atomic_path

# The key of the safetensors metadata under which a TunedInfo stands as JSON.
TUNED_KEY = "mitosam_tuned"


class TunedInfo(BaseModel):
    """Everything about a tuned model but its weights."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    base_name: str
    """What the user called the base model, e.g. vit_t."""
    base_hash: str
    """`Sam.weights_hash` of the base model; it applies to no other."""
    normalisation: dict[str, str]
    """How grey values were brought to 8 bits; inference does the same."""
    tile_px: int
    """The side of what the encoder saw at once, in section pixels."""
    trained_parts: tuple[str, ...]
    """The parts whose weights are in the file, e.g. mask_decoder."""
    settings_toml: str
    """The resolved settings of the training run."""
    scores: dict[str, float]
    """Validation scores of these weights, by name."""
    created: str
    """When training ended, in ISO 8601."""
    mitosam_version: str
    """The version that trained it."""


def save_tuned(path: Path, model: Sam, info: TunedInfo, parameter_names: Collection[str]) -> None:
    """Write the named parameters of `model` with `info`, whole or not at all."""
    assert info.base_hash == model.weights_hash, "a tuned model names the base it was trained on"
    weights = model.state_dict()
    trained = {name: weights[name].detach().cpu().float().contiguous() for name in parameter_names}
    with atomic_path(path) as temporary:
        # Not save_file: on a full disk its error is no OSError.
        temporary.write_bytes(save(trained, {TUNED_KEY: info.model_dump_json()}))


def read_tuned_info(path: Path) -> TunedInfo:
    """What a tuned model's file says of it, without its weights.

    Raises
    ------
    ModelNotFoundError
        There is no such file.
    ModelError
        It is damaged or no tuned model.
    """
    metadata = read_metadata(path)
    if TUNED_KEY not in metadata:
        raise ModelError(f"{path} is not a tuned model; give the file that training wrote")
    try:
        return TunedInfo.model_validate_json(metadata[TUNED_KEY])
    except ValidationError as error:
        raise ModelError(
            f"{path} was written by another version of mitosam or is damaged "
            f"({error.error_count()} fields do not fit); train it again or use that version"
        ) from error


def load_tuned(path: Path, base: Sam) -> TunedInfo:
    """Put a tuned model's weights into `base`, which stays untouched if anything does not fit.

    Raises
    ------
    ModelNotFoundError
        There is no such file.
    ModelError
        It is damaged, no tuned model, or was trained from another base.
    """
    info = read_tuned_info(path)
    if info.base_hash != base.weights_hash:
        raise ModelError(
            f"{path} was tuned from {info.base_name} with hash {info.base_hash}, and this base "
            f"model is {base.name} with hash {base.weights_hash}; load it onto {info.base_name}"
        )
    _apply(read_weights(path), base, path)
    return info


@torch.no_grad()
def _apply(trained: dict[str, Tensor], base: Sam, path: Path) -> None:
    weights = base.state_dict()
    for name, tensor in trained.items():
        if name not in weights or weights[name].shape != tensor.shape:
            raise ModelError(f"{path} does not fit its base model at {name}; train it again")
    for name, tensor in trained.items():
        weights[name].copy_(tensor)
