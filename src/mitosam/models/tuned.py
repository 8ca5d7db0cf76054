"""Tuned models: the trained weights alone, with what they were trained on and from."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors.torch import save
from torch import Tensor

from mitosam.errors import ModelError, SettingsError
from mitosam.models.head import Head, HeadShape
from mitosam.models.lora import ADAPTER_SUFFIXES, apply_lora
from mitosam.models.part_settings import LoraSettings
from mitosam.models.promptable import Promptable, hash_weights
from mitosam.models.weight_files import read_metadata, read_weights
from mitosam.sealed_tensors import seal_tensors
from mitosam.storage import atomic_path

# The key of the safetensors metadata under which a TunedInfo stands as JSON.
TUNED_KEY = "mitosam_tuned"
# What the names of a prompt-free head's tensors begin with.
HEAD_PREFIX = "head."
ENCODER_PREFIX = "vision_encoder."


class TunedInfo(BaseModel):
    """Everything about a tuned model but its weights."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    base_name: str
    """What the user called the base model, e.g. vit_t."""
    base_hash: str
    """`weights_hash` of the base model; it applies to no other."""
    normalisation: dict[str, str]
    """How grey values were brought to 8 bits; inference does the same."""
    tile_px: int
    """The side of what the encoder saw at once, in section pixels."""
    input_px: int | None = None
    """The side of the model's input that those tiles were scaled to; unset in older files."""
    pixel_nm: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """The side of the pixels it was trained on, in nm; unset where that was not known, where
    volumes differed in it, and in older files."""
    trained_parts: tuple[str, ...]
    """The parts whose weights are in the file, e.g. mask_decoder."""
    lora: LoraSettings | None = None
    """The low-rank adapters whose weights are in the file, if there are any."""
    settings_toml: str
    """The resolved settings of the training run."""
    head: HeadShape | None = None
    """The prompt-free head whose weights are in the file as well, if there is one."""
    automatic_json: str = ""
    """How each automatic method makes instances, as validation sections chose it."""
    scores: dict[str, float]
    """Validation scores of these weights, by name."""
    created: str
    """When training ended, in ISO 8601."""
    mitosam_version: str
    """The version that trained it."""


def save_tuned(
    path: Path,
    model: Promptable,
    info: TunedInfo,
    parameter_names: Collection[str],
    adapters: Mapping[str, Tensor] | None = None,
) -> None:
    """Write the named parameters of `model`, and adapters, with `info`, whole or not at all."""
    assert info.base_hash == model.weights_hash, "a tuned model names the base it was trained on"
    weights = model.state_dict()
    _write(path, {name: weights[name] for name in parameter_names} | dict(adapters or {}), info)


def add_head(path: Path, head: Head) -> None:
    """Put a head into a tuned model's file, in the place of one that is there."""
    info = read_tuned_info(path).model_copy(update={"head": head.shape, "automatic_json": ""})
    weights = {n: t for n, t in read_weights(path).items() if not n.startswith(HEAD_PREFIX)}
    weights |= {f"{HEAD_PREFIX}{name}": tensor for name, tensor in head.state_dict().items()}
    _write(path, weights, info)


def update_info(path: Path, info: TunedInfo) -> None:
    """Replace what a tuned model's file says of it and keep its weights."""
    _write(path, read_weights(path), info)


def load_head(path: Path) -> Head | None:
    """The head of a tuned model, ready for inference; None if it has none.

    Raises
    ------
    ModelError
        Its weights do not fit what the file says of it.
    """
    shape = read_tuned_info(path).head
    if shape is None:
        return None
    weights = {
        name.removeprefix(HEAD_PREFIX): tensor
        for name, tensor in read_weights(path).items()
        if name.startswith(HEAD_PREFIX)
    }
    try:
        with torch.device("meta"):  # a shape can ask for any memory; only what fits gets it
            head = Head(shape)
        head.load_state_dict(weights, assign=True)
    except (RuntimeError, TypeError, OverflowError) as error:
        raise ModelError(f"{path} holds a head that does not fit its shape; train again") from error
    head = head.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return head.requires_grad_(False).eval()


def _write(path: Path, weights: dict[str, Tensor], info: TunedInfo) -> None:
    plain = {
        name: tensor.detach().cpu().contiguous(memory_format=torch.contiguous_format)
        for name, tensor in weights.items()
    }
    trained = {n: t.float() if t.is_floating_point() else t for n, t in plain.items()}
    with atomic_path(path) as temporary:
        # Not save_file: on a full disk its error is no OSError.
        temporary.write_bytes(seal_tensors(save(trained, {TUNED_KEY: info.model_dump_json()})))


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


def load_tuned(path: Path, base: Promptable) -> TunedInfo:
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
    if info.input_px not in (None, base.input_px):
        raise ModelError(
            f"{path} was trained at model.input_px = {info.input_px}, got {base.input_px}; set it "
            f"to {info.input_px}, or leave it out"
        )
    trained = {n: t for n, t in read_weights(path).items() if not n.startswith(HEAD_PREFIX)}
    adapters = {n: trained.pop(n) for n in list(trained) if n.endswith(ADAPTER_SUFFIXES)}
    _check(trained, base, path)
    if info.lora is not None:
        _apply_adapters(adapters, info.lora, base, path)
    with torch.no_grad():
        weights = base.state_dict()
        for name, tensor in trained.items():
            weights[name].copy_(tensor)
    if any(name.startswith(ENCODER_PREFIX) for name in (*trained, *adapters)):
        base.encoder_hash = hash_encoder(base)
    return info


def tuned_names(path: Path) -> set[str]:
    """Names of the trained weights in a tuned model's file, without its head's."""
    return {name for name in read_weights(path) if not name.startswith(HEAD_PREFIX)}


def hash_encoder(model: Promptable) -> str:
    """The identity of an encoder that was trained."""
    return hash_weights(model.vision_encoder.state_dict().items())


def _check(trained: dict[str, Tensor], base: Promptable, path: Path) -> None:
    weights = base.state_dict()
    for name, tensor in trained.items():
        if name not in weights or weights[name].shape != tensor.shape:
            raise ModelError(f"{path} does not fit its base model at {name}; train it again")


def _apply_adapters(
    adapters: dict[str, Tensor], settings: LoraSettings, base: Promptable, path: Path
) -> None:
    """Merge adapters, unless they are in `base` already."""
    identity = hash_weights(adapters.items())
    if base.adapters_hash == identity:
        return
    if base.adapters_hash:
        raise ModelError(f"{base.name} holds the adapters of another tuned model; load it again")
    try:
        apply_lora(base, settings, adapters)
    except (ModelError, SettingsError) as error:
        raise ModelError(f"{path} does not fit its base model: {error}; train it again") from error
    base.adapters_hash = identity
