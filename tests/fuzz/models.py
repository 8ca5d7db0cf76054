"""Honest weights of each form, and reading them as the product does."""

from __future__ import annotations

from collections import OrderedDict
from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from mitosam.config import RunSettings
from mitosam.data.intensity import Normalisation
from mitosam.embeddings import CacheSettings, EmbeddingCache
from mitosam.models.detectors import load_detector
from mitosam.models.export import export_huggingface
from mitosam.models.head import Head, HeadShape
from mitosam.models.load import load_model
from mitosam.models.tuned import (
    TunedInfo,
    add_head,
    load_head,
    load_tuned,
    read_tuned_info,
    save_tuned,
)
from mitosam.models.weight_files import read_metadata, read_weights
from mitosam.training.checkpoint import TrainingState
from mitosam.training.curve import CurvePoint
from mitosam.workflows.automatic import AutomaticInfo
from mitosam.workflows.tuned_model import settings_of
from tests.models.tiny_detectors import write_grounding_dino, write_owl
from tests.models.tiny_families import write_family
from tests.models.tiny_models import make_tiny_vit_sam, make_transformers_sam

KEY = "ab" * 32
HEAD = HeadShape(
    section_offsets=(-1, 0, 1), embedding_channels=8, width=4, grey_mean=120.0, grey_std=30.0
)


def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    named = {f"layer.{i}.weight": torch.rand((4, 5), generator=generator) for i in range(3)}
    return named | {"half": torch.ones(6).half(), "count": torch.arange(3)}


def plain_safetensors(folder: Path) -> Path:
    save_file(tensors(), folder / "a.safetensors", {"format": "pt"})
    return folder / "a.safetensors"


def torch_zip(folder: Path) -> Path:
    torch.save({"state_dict": tensors()}, folder / "a.pth")
    return folder / "a.pth"


def torch_legacy(folder: Path) -> Path:
    torch.save(tensors(), folder / "a.pth", _use_new_zipfile_serialization=False)
    return folder / "a.pth"


class DataSet:
    """As training code puts it beside the weights."""

    def __init__(self) -> None:
        self.paths, self.images = ["images.tif"], torch.zeros(2, 2)


def micro_sam(folder: Path) -> Path:
    weights = OrderedDict({f"sam.{name}": t for name, t in tensors().items()})
    beside = {"epoch": 3, "metric": np.float64(0.25), "init": {"data": DataSet()}}
    torch.save({"model_state": weights, **beside}, folder / "best.pt")
    return folder / "best.pt"


def read_weight_file(path: Path) -> None:
    """Each number is looked at, as comparing and hashing do."""
    if path.suffix == ".safetensors":
        read_metadata(path)
    for tensor in read_weights(path).values():
        tensor.isfinite().all()


@cache
def _base():
    return make_tiny_vit_sam(0, 128)


def tuned(folder: Path) -> Path:
    base = _base()
    info = TunedInfo(
        base_name="tiny",
        base_hash=base.weights_hash,
        normalisation={"kind": "percentile", "low": "12.0", "high": "230.5"},
        tile_px=96,
        trained_parts=("mask_decoder",),
        settings_toml=RunSettings().to_toml(),
        scores={"dice": 0.91},
        created="2026-01-02T03:04:05+00:00",
        mitosam_version="0",
    )
    names = [name for name, _ in base.named_parameters() if "iou_prediction_head" in name]
    save_tuned(folder / "model.safetensors", base, info, names)
    add_head(folder / "model.safetensors", Head(HEAD))
    return folder / "model.safetensors"


def read_tuned(path: Path) -> None:
    info = read_tuned_info(path)
    AutomaticInfo.parse(info.automatic_json)
    Normalisation.from_dict(info.normalisation)
    settings_of(info)
    load_tuned(path, _base())
    load_head(path)


def _state() -> TrainingState:
    torch.manual_seed(0)
    trained, averaged = torch.nn.Linear(3, 4), torch.nn.Linear(3, 4)
    optimizer = torch.optim.Adam(trained.parameters())
    trained(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    scaler = torch.amp.GradScaler(enabled=False)
    return TrainingState(trained=trained, averaged=averaged, optimizer=optimizer, scaler=scaler)


def checkpoint(folder: Path) -> Path:
    state = _state()
    state.step, state.curve = 3, [CurvePoint(
        step=3, epoch=0.5, seconds=1.0, loss=0.5, learning_rate=1e-4,
        validation_dice=0.5, validation_iou=0.4,
    )]  # fmt: skip
    state.keep_best()
    state.save(folder / "checkpoint.safetensors", "fingerprint")
    return folder / "checkpoint.safetensors"


def read_checkpoint(path: Path) -> None:
    _state().restore(path, "fingerprint")


def _cache(folder: Path) -> EmbeddingCache:
    return EmbeddingCache(
        CacheSettings(folder=folder),
        model_name="tiny",
        weights_hash="0" * 64,
        precision="fp32",
        encode=lambda *_: np.zeros((2, 4, 4), np.float32),
    )


def embedding(folder: Path) -> Path:
    kept = _cache(folder)
    kept._put(KEY, np.random.default_rng(0).random((2, 4, 4), np.float32))
    return kept._path(KEY)


def read_embedding(path: Path) -> None:
    """Damage makes it be encoded anew, so that there is no error at all."""
    found = _cache(path.parents[2]).get(KEY)
    assert found is None or np.asarray(found).nbytes < 2**24


def folder(folder: Path) -> Path:
    from mitosam.models.sam import Sam  # noqa: F401  # registers nothing, but is what is loaded

    make_transformers_sam().save_pretrained(folder / "model")
    return folder / "model"


def read_folder(path: Path) -> None:
    load_model(path)


def tiny_folder(folder: Path) -> Path:
    export_huggingface(_base(), folder / "model")
    return folder / "model"


def sam2(folder: Path) -> Path:
    write_family(folder / "model", "sam2")
    return folder / "model"


def sam_hq(folder: Path) -> Path:
    write_family(folder / "model", "sam_hq")
    return folder / "model"


def edgetam(folder: Path) -> Path:
    write_family(folder / "model", "edgetam")
    return folder / "model"


def grounding_dino(folder: Path) -> Path:
    return write_grounding_dino(folder / "model")


def owl(folder: Path) -> Path:
    return write_owl(folder / "model")


def read_detector(path: Path) -> None:
    load_detector(path)
