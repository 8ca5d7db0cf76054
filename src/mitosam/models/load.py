"""One way in for every checkpoint: `load_model(name_or_path)`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from torch import Tensor

from mitosam.errors import ModelError
from mitosam.models.build import build_sam, build_tiny
from mitosam.models.checkpoints import (
    fold_batch_norm,
    is_original,
    is_tiny_vit,
    original_names,
    require_all_weights,
    transformers_names,
    without_classifier,
    without_wrappers,
)
from mitosam.models.families import build_family
from mitosam.models.hub import find_in_hub, is_hub_name, not_found
from mitosam.models.promptable import POSITION_TWICE, Promptable, hash_weights
from mitosam.models.sam import Sam
from mitosam.models.shapes import sam_config_of, tiny_configs_of
from mitosam.models.tuned import TUNED_KEY
from mitosam.models.weight_files import (
    folder_weight_bytes,
    read_folder_weights,
    read_json,
    read_metadata,
    read_weights,
)

Model = TypeVar("Model", bound=Promptable)
EMBEDDED = "vit_t"
EMBEDDED_WEIGHTS = Path(__file__).parent / "weights" / "vit_t.safetensors"


def load_model(name_or_path: str | Path = EMBEDDED, *, allow_download: bool = False) -> Promptable:
    """A model ready to encode and decode, in evaluation mode, with nothing trainable.

    `name_or_path` is "vit_t" (embedded), a Hugging Face folder of any family (docs/models.md), a
    hub name such as facebook/sam-vit-base, or a checkpoint file: segment-anything's `.pth` of
    ViT-B, L or H, MobileSAM's `.pt`, a checkpoint of micro-sam's training or what it exported, or
    such weights as `.safetensors`. Nothing is unpickled, and nothing is fetched unless
    `allow_download`.

    Raises
    ------
    ModelNotFoundError
        The weights are not on this machine; the message says what to fetch.
    ModelError
        They are damaged, of another architecture, or need unpickling.
    """
    name, path = str(name_or_path), Path(name_or_path).expanduser()
    if name == EMBEDDED:
        return _with_weights(build_tiny(), read_weights(EMBEDDED_WEIGHTS), EMBEDDED)
    if path.is_dir():
        return _load_folder(path, path.resolve().name)
    if path.is_file():
        return _load_file(path)
    if is_hub_name(name):
        return _load_folder(find_in_hub(name, allow_download=allow_download), name)
    raise not_found(name)


def _load_folder(folder: Path, name: str) -> Promptable:
    config, held_bytes = read_json(folder / "config.json"), folder_weight_bytes(folder)
    model = build_family(config, str(folder), held_bytes)
    weights = model.own_names(read_folder_weights(folder))
    # Tied weights are saved once.
    given = next((weights[twin] for twin in POSITION_TWICE if twin in weights), None)
    if given is not None:
        weights = dict.fromkeys(POSITION_TWICE, given) | weights
    return _with_weights(model, weights, name)


def _load_file(path: Path) -> Sam:
    if path.suffix == ".safetensors":
        _refuse_tuned(path)
    found = read_weights(path)
    _refuse_kin(found, path)
    try:
        found = without_wrappers(found)
        weights = without_classifier(found if is_original(found) else original_names(found))
        if is_tiny_vit(weights):
            weights = fold_batch_norm(weights)
        model = _build_by_shapes(weights)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    return _with_weights(model, transformers_names(weights), path.stem)


def _build_by_shapes(weights: Mapping[str, Tensor]) -> Sam:
    if is_tiny_vit(weights):
        return build_tiny(*tiny_configs_of(weights))
    return build_sam(sam_config_of(weights))


def _refuse_kin(names: Mapping[str, Tensor], path: Path) -> None:
    """Raise ModelError if the weights are of a family that a file alone does not describe."""
    if any(mark in name for name in names for mark in _KIN):
        raise ModelError(
            f"{path} holds a SAM-HQ, SAM 2, EdgeTAM or SAM 3, and does not say of which shape; "
            "give the folder of its Hugging Face form, with config.json beside the weights"
        )


# Of SAM-HQ, and of SAM 2's heirs; each under Hugging Face's and under its own names.
_KIN = (".hq_token", ".hf_token", "vision_encoder.backbone.", "image_encoder.trunk.")


def _refuse_tuned(path: Path) -> None:
    if TUNED_KEY in read_metadata(path):
        raise ModelError(
            f"{path} is a tuned model and holds the trained part alone; give its base as the "
            "model and this file as the tuned model"
        )


def _with_weights(model: Model, weights: dict[str, Tensor], name: str) -> Model:
    require_all_weights(model.state_dict(), weights, name)
    model.load_state_dict(weights, assign=True)
    model.name, model.weights_hash = name, hash_weights(model.state_dict().items())
    model.encoder_hash = model.weights_hash
    return model.eval().requires_grad_(False)
