"""Tensors out of weight files, with nothing in them ever run."""

from __future__ import annotations

import logging
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from mitosam.errors import DamagedFileError, ModelError, ModelNotFoundError
from mitosam.io import limits
from mitosam.models.weight_limits import (
    WEIGHT_ERRORS,
    check_pickle,
    check_safetensors,
    check_tensors,
)
from mitosam.sealed_tensors import check_tensor_file

log = logging.getLogger(__name__)

SAFETENSORS_ERRORS: tuple[type[Exception], ...] = (SafetensorError, *WEIGHT_ERRORS)

# Where training code that saves more than the weights puts them.
TRAINED = "model_state"
MAX_NAME = 255
"""Of letters in a file's name, which file systems have in common."""
_NESTED = ("model", "state_dict", TRAINED)


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
    check_tensors(path, tensors)
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


def folder_weight_bytes(folder: Path) -> int:
    """How large a folder's files of weights are together."""
    files = (path for path in folder.iterdir() if path.suffix in (".safetensors", ".bin"))
    return sum(path.stat().st_size for path in files)


def read_metadata(path: Path) -> dict[str, str]:
    """What stands in the head of a `.safetensors` file beside its tensors."""
    if not path.is_file():
        raise ModelNotFoundError(f"{path} does not exist")
    try:
        check_safetensors(path)
        check_tensor_file(path)
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except ModelError:
        raise
    except SAFETENSORS_ERRORS as error:
        raise _damaged(path, error) from error


def read_json(path: Path) -> dict[str, object]:
    """A JSON object that lies beside weights."""
    try:
        found = limits.read_json(path, error=ModelError, way_out="fetch the model again")
    except FileNotFoundError as error:
        raise ModelError(f"{path} does not exist; fetch the model again") from error
    if not isinstance(found, dict):
        raise ModelError(f"{path} must hold a JSON object; fetch the model again")
    return found


def _read_shards(index: Path) -> dict[str, Tensor]:
    return {
        name: tensor
        for shard in shard_names(index)
        for name, tensor in read_weights(index.parent / shard).items()
    }


def shard_names(index: Path) -> list[str]:
    """The files beside an index that hold the weights.

    Raises
    ------
    ModelError
        It is damaged, or names files that lie elsewhere.
    """
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict):
        raise ModelError(f"{index} has no weight_map; fetch the model again")
    names = sorted({str(name) for name in places.values()})
    if any(Path(name).name != name or len(name) > MAX_NAME for name in names):
        raise ModelError(f"{index} names files outside its folder; fetch the model again")
    return names


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        check_safetensors(path)
        check_tensor_file(path)
        return load_file(path)
    except ModelError:
        raise
    except SAFETENSORS_ERRORS as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> ModelError:
    if isinstance(error, DamagedFileError):
        return ModelError(
            f"{path} is damaged ({error.what}); restore it from a copy, or remove it "
            "and make it again"
        )
    return ModelError(f"{path} is damaged or no safetensors file ({error}); copy or make it again")


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():
            # Remarks on the pickle's protocol; whether it could be read is what counts.
            warnings.simplefilter("ignore")
            check_pickle(path)
            try:
                loaded = torch.load(path, map_location="cpu", weights_only=True)
            except pickle.UnpicklingError:
                return _read_beside_objects(path)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path} is not a plain checkpoint of tensors, and reading it further could run "
            "code; if you trust where it comes from, export it in the program that wrote it "
            "(micro-sam: micro_sam.util.export_custom_sam_model), or re-save its weights with: "
            f"{_resave(path)}"
        ) from error
    except ModelError:
        raise
    except WEIGHT_ERRORS as error:
        raise ModelError(f"{path} is damaged or no checkpoint; fetch it again") from error
    return _tensors_in(loaded, path)


class StandIn:
    """What is read in the place of any object that is no tensor: it keeps and does nothing."""

    def __new__(cls, *_: object) -> StandIn:
        """The same whatever the file would have it made of."""
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        """Nothing."""


def _read_beside_objects(path: Path) -> dict[str, Tensor]:
    """The weights of a training's checkpoint, which holds data sets and optimisers beside them.

    torch_em, and so micro-sam, writes such files. torch's reader for weights alone stays in charge,
    and each class or function that it refuses is given to it as a `StandIn`: none of them is looked
    up, imported or called.

    Raises
    ------
    pickle.UnpicklingError
        The weights themselves are no plain tensors, or torch refuses what is left.
    """
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except ValueError as error:  # a file of torch before 1.6
        raise pickle.UnpicklingError(str(error)) from error
    with torch.serialization.safe_globals([(StandIn, name) for name in names]):
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    held = loaded.get(TRAINED) if isinstance(loaded, Mapping) else None
    if not (isinstance(held, Mapping) and all(type(t) is Tensor for t in held.values())):
        raise pickle.UnpicklingError(f"no plain weights under {TRAINED}")
    log.info("%s: the weights are read, and %d kinds of other objects are not", path, len(names))
    return {str(name): tensor for name, tensor in held.items()}


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
