"""Tensors out of weight files, with nothing in them ever run."""

from __future__ import annotations

import json
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from mitosam.errors import ModelError, ModelNotFoundError

# Where training code that saves more than the weights puts them.
_NESTED = ("model", "state_dict", "model_state")


def read_weights(path: Path) -> dict[str, Tensor]:
    """The fp32 weights of one `.safetensors`, `.pth`, `.pt` or `.bin` file, by name.

    Raises
    ------
    ModelNotFoundError
        There is no such file.
    ModelError
        It is damaged, or a pickle that holds more than tensors.
    """
    if not path.is_file():
        raise ModelNotFoundError(f"{path} does not exist")
    tensors = (_read_safetensors if path.suffix == ".safetensors" else _read_pickle)(path)
    return {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
    }


def read_folder_weights(folder: Path) -> dict[str, Tensor]:
    """The weights of a Hugging Face folder, in one file or in shards."""
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").is_file():
        return read_weights(folder / "model.safetensors")
    if index.is_file():
        return _read_shards(index)
    if (folder / "pytorch_model.bin").is_file():
        return read_weights(folder / "pytorch_model.bin")
    raise ModelNotFoundError(
        f"{folder} holds no weights; it needs model.safetensors beside its config.json"
    )


def read_metadata(path: Path) -> dict[str, str]:
    """What stands in the head of a `.safetensors` file beside its tensors."""
    if not path.is_file():
        raise ModelNotFoundError(f"{path} does not exist")
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from error


def read_json(path: Path) -> dict[str, object]:
    """A JSON object that lies beside weights."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ModelError(
            f"{path} cannot be read as JSON: {error}; fetch the model again"
        ) from error
    if not isinstance(found, dict):
        raise ModelError(f"{path} must hold a JSON object; fetch the model again")
    return found


def _read_shards(index: Path) -> dict[str, Tensor]:
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict):
        raise ModelError(f"{index} has no weight_map; fetch the model again")
    names = sorted({str(name) for name in places.values()})
    if any(Path(name).name != name for name in names):
        raise ModelError(f"{index} names files outside its folder; fetch the model again")
    return {
        name: tensor
        for shard in names
        for name, tensor in read_weights(index.parent / shard).items()
    }


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> ModelError:
    return ModelError(f"{path} is damaged or no safetensors file ({error}); copy or make it again")


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():
            # Remarks on the pickle's protocol; whether it could be read is what counts.
            warnings.simplefilter("ignore")
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path} is not a plain checkpoint of tensors, and reading it further could run "
            f"code; if you trust where it comes from, re-save its weights with: {_resave(path)}"
        ) from error
    except (RuntimeError, EOFError, OSError, KeyError, ValueError) as error:
        raise ModelError(f"{path} is damaged or no checkpoint; fetch it again") from error
    return _tensors_in(loaded, path)


def _tensors_in(loaded: object, path: Path) -> dict[str, Tensor]:
    if isinstance(loaded, Mapping):
        if loaded and all(isinstance(value, Tensor) for value in loaded.values()):
            return {str(name): tensor for name, tensor in loaded.items()}
        for name in _NESTED:
            if name in loaded:
                return _tensors_in(loaded[name], path)
    raise ModelError(
        f"{path} must hold weights by name, alone or under one of {', '.join(_NESTED)}; "
        f"re-save them with: {_resave(path)}"
    )


def _resave(path: Path) -> str:
    return (
        'python -c "import torch; from safetensors.torch import save_file; '
        f"save_file(torch.load('{path.name}', weights_only=False), "
        f"'{path.stem}.safetensors')\""
    )
