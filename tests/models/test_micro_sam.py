"""Checkpoints as micro-sam 1.8 and torch_em 0.10 write them, with what they hold beside weights."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from mitosam.errors import ModelError
from mitosam.models.checkpoints import original_names
from mitosam.models.load import load_model
from mitosam.models.weight_files import read_weights
from tests.models.test_load import assert_same_masks, mobile_sam_weights, transformers_logits
from tests.models.tiny_models import decode_example, make_transformers_sam

WAS_RUN: list[str] = []


class DataSet:
    """As torch_em puts the training's own data set into each checkpoint."""

    def __init__(self) -> None:
        self.raw_paths, self.patch = ["images.tif"], (1, 512, 512)
        self.images = torch.zeros(2, 2)

    def __setstate__(self, state: dict[str, object]) -> None:
        WAS_RUN.append("data set")
        self.__dict__.update(state)


def make_transform(kind: str) -> str:
    WAS_RUN.append(kind)
    return kind


class Transform:
    def __reduce__(self):
        return (make_transform, ("transform",))


def sam_weights() -> OrderedDict[str, torch.Tensor]:
    return OrderedDict(original_names(make_transformers_sam().state_dict()))


def decoder_weights() -> OrderedDict[str, torch.Tensor]:
    return OrderedDict({"decoder.blocks.0.weight": torch.ones(2), "out_conv.weight": torch.ones(3)})


def checkpoint_of_training(prefix: str = "sam.") -> dict[str, object]:
    """What torch_em's `DefaultTrainer.save_checkpoint` saves for micro-sam's JointSamTrainer."""
    weights = {f"{prefix}{name}": tensor for name, tensor in sam_weights().items()}
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(2))])
    return {
        "iteration": 100,
        "epoch": 3,
        "best_epoch": 2,
        "best_metric": np.float64(0.25),
        "current_metric": np.float32(0.5),
        "model_state": OrderedDict(weights),
        "optimizer_state": optimizer.state_dict(),
        "init": {
            "train_dataset": DataSet(),
            "train_loader_kwargs": {"batch_size": 1, "shuffle": True, "transform": Transform()},
            "optimizer_class": "torch.optim.adamw.AdamW",
            "device": torch.device("cpu"),
        },
        "train_time": 12.5,
        "timestamp": "22-11-2026 (20:00:00)",
        "decoder_state": decoder_weights(),
        "scaler_state": {"scale": 65536.0},
    }


def assert_is_the_source(path: Path) -> None:
    assert_same_masks(
        decode_example(load_model(path)), transformers_logits(make_transformers_sam())
    )


@pytest.mark.parametrize("prefix", ["sam.", "module.sam.", "", "_orig_mod.sam."])
def test_a_checkpoint_of_its_training_gives_the_masks_of_the_sam_in_it(tmp_path, prefix):
    torch.save(checkpoint_of_training(prefix), tmp_path / "best.pt")
    WAS_RUN.clear()
    assert_is_the_source(tmp_path / "best.pt")
    assert not WAS_RUN


def test_what_it_exports_gives_the_masks_with_and_without_its_decoder(tmp_path):
    torch.save(sam_weights(), tmp_path / "vit_b.pth")
    both = {"model_state": sam_weights(), "decoder_state": decoder_weights()}
    torch.save(both, tmp_path / "vit_b_with_decoder.pt")
    assert_is_the_source(tmp_path / "vit_b.pth")
    assert_is_the_source(tmp_path / "vit_b_with_decoder.pt")


def test_a_file_without_a_suffix_as_in_its_registry_loads(tmp_path):
    torch.save(sam_weights(), tmp_path / "vit_b_em_organelles")
    assert_is_the_source(tmp_path / "vit_b_em_organelles")


def test_a_mobile_sam_that_it_trained_loads(tmp_path):
    weights = mobile_sam_weights()
    torch.save(weights, tmp_path / "mobile_sam.pt")
    trained = {f"sam.{name}": tensor for name, tensor in weights.items()}
    torch.save({"model_state": trained, "init": {"data": DataSet()}}, tmp_path / "best.pt")
    found, expected = (load_model(tmp_path / name) for name in ("best.pt", "mobile_sam.pt"))
    assert found.weights_hash == expected.weights_hash


def test_the_allowance_ends_with_the_file(tmp_path):
    torch.save(checkpoint_of_training(), tmp_path / "best.pt")
    before = set(torch.serialization.get_safe_globals())
    read_weights(tmp_path / "best.pt")
    assert set(torch.serialization.get_safe_globals()) == before


class CallsAFunction:
    """A pickle whose weights are what a function of its choice returns."""

    def __reduce__(self):
        return (make_transform, ("weights",))


def test_weights_that_only_code_could_make_are_refused_and_it_does_not_run(tmp_path):
    torch.save({"model_state": {"a": CallsAFunction()}}, tmp_path / "best.pt")
    torch.save({"model_state": CallsAFunction()}, tmp_path / "last.pt")
    WAS_RUN.clear()
    for name in ("best.pt", "last.pt"):
        with pytest.raises(ModelError, match=r"micro_sam\.util\.export_custom_sam_model"):
            load_model(tmp_path / name)
    assert not WAS_RUN


def test_lora_matrices_are_refused(tmp_path):
    weights = sam_weights()
    kernel = weights.pop("image_encoder.blocks.0.attn.qkv.weight")
    weights["image_encoder.blocks.0.attn.qkv.qkv_proj.weight"] = kernel
    torch.save({"model_state": weights}, tmp_path / "best.pt")
    with pytest.raises(ModelError, match=r"best\.pt: it holds LoRA matrices"):
        load_model(tmp_path / "best.pt")


def test_the_network_for_automatic_segmentation_alone_is_refused(tmp_path):
    weights = {"encoder.pos_embed": torch.ones(3), **decoder_weights()}
    torch.save({"model_state": weights}, tmp_path / "best.pt")
    with pytest.raises(ModelError, match="export_instance_segmentation_model"):
        load_model(tmp_path / "best.pt")
