"""Whole models for other programs: a Hugging Face folder, or an original-format checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor
from transformers import SamConfig

from mitosam.errors import OutputExistsError, StorageError
from mitosam.models.checkpoints import (
    POSITION_TWICE,
    original_names,
    unfold_batch_norm,
    with_classifier,
)
from mitosam.models.sam import Sam
from mitosam.models.tiny_folder import TINY_MODEL_TYPE
from mitosam.storage import atomic_folder, atomic_path


def export_huggingface(model: Sam, folder: Path) -> None:
    """Write `model` as a folder of config.json, model.safetensors and README.md.

    A SAM with a ViT encoder loads with `transformers.SamModel.from_pretrained(folder)`. One with a
    TinyViT encoder, which transformers does not have, loads with `mitosam.load_model(folder)`.

    Raises
    ------
    OutputExistsError
        The folder holds something already.
    """
    with atomic_folder(folder) as temporary:
        if model.architecture == "sam":
            config = _transformers_config(model)
        else:
            config = {"model_type": TINY_MODEL_TYPE, **model.config}
        weights = _weights(model)
        # Tied to the other, and saved once as transformers does.
        del weights[POSITION_TWICE[1]]
        try:
            save_file(weights, temporary / "model.safetensors", metadata={"format": "pt"})
        except SafetensorError as error:
            raise StorageError(f"{folder} cannot be written: {error}; free some space") from error
        text = json.dumps(config, indent=2) + "\n"
        (temporary / "config.json").write_text(text, encoding="utf-8")
        (temporary / "README.md").write_text(_readme(model), encoding="utf-8")


def _transformers_config(model: Sam) -> dict[str, Any]:
    config = SamConfig.from_dict(model.config)
    config.architectures = ["SamModel"]
    return config.to_dict()


def export_original(model: Sam, path: Path) -> None:
    """Write `model` as a state dict that segment-anything's, or MobileSAM's, code loads.

    The file holds tensors alone, so `torch.load(path, weights_only=True)` reads it. For a TinyViT
    encoder, the BatchNorm and the unused classifier that MobileSAM's code asks for are added;
    they change no mask.

    Raises
    ------
    OutputExistsError
        The file exists already.
    """
    if path.exists():
        raise OutputExistsError(f"{path} exists already; remove it or choose another name")
    weights = original_names(_weights(model))
    if model.architecture == "vit_t":
        weights = with_classifier(unfold_batch_norm(weights))
    with atomic_path(path) as temporary:
        try:
            torch.save(weights, temporary)
        except RuntimeError as error:
            first_line = str(error).splitlines()[0]
            raise StorageError(
                f"{path} cannot be written: {first_line}; free some space"
            ) from error


def _weights(model: Sam) -> dict[str, Tensor]:
    """All weights on the CPU, each with memory of its own."""
    return {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in model.state_dict().items()
    }


def _readme(model: Sam) -> str:
    if model.architecture == "sam":
        return _README.format(name=model.name, how=_HOW_SAM)
    return _README.format(name=model.name, how=_HOW_TINY)


_README = """# A Segment Anything Model exported by mitosam

Base model: {name}

{how}

Images go in as for every SAM: 8-bit grey values as RGB, the longest side scaled to the model's
input.
"""
_HOW_SAM = """Load it with transformers:

    from transformers import SamModel
    model = SamModel.from_pretrained("THIS FOLDER")"""
_HOW_TINY = """**transformers cannot load this folder**: its encoder is TinyViT (MobileSAM's), which
transformers does not have. Load it with mitosam:

    from mitosam.models.load import load_model
    model = load_model("THIS FOLDER")

For MobileSAM's or segment-anything's own code, export an original-format checkpoint instead."""
