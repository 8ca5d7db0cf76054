"""Whole models for other programs: a Hugging Face folder, or an original-format checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from mitosam.errors import ModelError, OutputExistsError, StorageError
from mitosam.models.checkpoints import (
    original_names,
    unfold_batch_norm,
    with_classifier,
)
from mitosam.models.promptable import Promptable
from mitosam.models.sam import Sam
from mitosam.storage import atomic_folder, atomic_path


def export_huggingface(model: Promptable, folder: Path) -> None:
    """Write `model` as a folder of config.json, model.safetensors and README.md.

    It loads with `mitosam.load_model(folder)` and, but for a TinyViT encoder, which transformers
    does not have, with `from_pretrained(folder)` of the class that its README.md names.

    Raises
    ------
    OutputExistsError
        The folder holds something already.
    """
    with atomic_folder(folder) as temporary:
        config = model.huggingface_config()
        weights = model.huggingface_weights()
        try:
            save_file(weights, temporary / "model.safetensors", metadata={"format": "pt"})
        except SafetensorError as error:
            raise StorageError(f"{folder} cannot be written: {error}; free some space") from error
        text = json.dumps(config, indent=2) + "\n"
        (temporary / "config.json").write_text(text, encoding="utf-8")
        (temporary / "README.md").write_text(_readme(model), encoding="utf-8")


def export_original(model: Promptable, path: Path) -> None:
    """Write `model` as a state dict that segment-anything's, or MobileSAM's, code loads.

    The file holds tensors alone, so `torch.load(path, weights_only=True)` reads it. For a TinyViT
    encoder, the BatchNorm and the unused classifier that MobileSAM's code asks for are added;
    they change no mask.

    Raises
    ------
    OutputExistsError
        The file exists already.
    ModelError
        The model is of a family whose original format is not written here.
    """
    if not isinstance(model, Sam):
        raise ModelError(
            f"{model.name} is a {model.architecture}, for which there is no original format here; "
            "export a Hugging Face folder instead"
        )
    if path.exists():
        raise OutputExistsError(f"{path} exists already; remove it or choose another name")
    weights = original_names(model.huggingface_weights())
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


def _readme(model: Promptable) -> str:
    loads_it = model.huggingface_config().get("architectures")
    how = _HOW_THERE.format(class_name=loads_it[0]) if loads_it else _HOW_TINY
    return _README.format(name=model.name, how=how)


_README = """# A Segment Anything Model exported by mitosam

Base model: {name}

{how}

Images go in as for every SAM: 8-bit grey values as RGB, the longest side scaled to the model's
input.
"""
_HOW_THERE = """Load it with transformers:

    from transformers import {class_name}
    model = {class_name}.from_pretrained("THIS FOLDER")"""
_HOW_TINY = """**transformers cannot load this folder**: its encoder is TinyViT (MobileSAM's), which
transformers does not have. Load it with mitosam:

    from mitosam.models.load import load_model
    model = load_model("THIS FOLDER")

For MobileSAM's or segment-anything's own code, export an original-format checkpoint instead."""
