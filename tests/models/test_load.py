from __future__ import annotations

import itertools
import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import SamModel

from mitosam.errors import ModelError, ModelNotFoundError
from mitosam.models.checkpoints import original_names, unfold_batch_norm, with_classifier
from mitosam.models.load import load_model
from mitosam.models.sam import Sam
from mitosam.models.tinyvit import offset_indices
from tests.models.tiny_models import (
    decode_example,
    example_image,
    example_prompts,
    make_tiny_vit_sam,
    make_transformers_sam,
)


def transformers_logits(model: SamModel) -> torch.Tensor:
    """The example's logits by transformers' own forward."""
    prompts = example_prompts(128)
    with torch.inference_mode():
        out = model(
            pixel_values=example_image(128), input_boxes=prompts.boxes, multimask_output=True
        )
    return out.pred_masks


def assert_same_masks(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    assert ((found > 0) == (expected > 0)).float().mean() > 0.9999


def test_a_transformers_folder_gives_the_masks_of_transformers_own_model(tmp_path: Path):
    source = make_transformers_sam()
    source.save_pretrained(tmp_path / "model")
    model = load_model(tmp_path / "model")
    assert model.name == "model"
    assert_same_masks(decode_example(model), transformers_logits(source))


def test_a_folder_in_shards_is_the_same_model(tmp_path: Path):
    source = make_transformers_sam()
    source.save_pretrained(tmp_path / "whole")
    source.save_pretrained(tmp_path / "shards", max_shard_size="40KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    assert (
        load_model(tmp_path / "shards").weights_hash == load_model(tmp_path / "whole").weights_hash
    )


def test_segment_anythings_checkpoint_is_recognised_by_its_shapes(tmp_path: Path):
    source = make_transformers_sam()
    torch.save(original_names(source.state_dict()), tmp_path / "sam.pth")
    model = load_model(tmp_path / "sam.pth")
    assert_same_masks(decode_example(model), transformers_logits(source))


def test_the_same_weights_have_the_same_hash_in_every_format(tmp_path: Path):
    source = make_transformers_sam()
    source.save_pretrained(tmp_path / "folder")
    torch.save(original_names(source.state_dict()), tmp_path / "sam.pth")
    torch.save({"model": original_names(source.state_dict()), "epoch": 3}, tmp_path / "nested.pth")
    weights = {name: tensor.clone() for name, tensor in source.state_dict().items()}
    save_file(weights, tmp_path / "sam.safetensors")
    names = ["folder", "sam.pth", "nested.pth", "sam.safetensors"]
    assert len({load_model(tmp_path / name).weights_hash for name in names}) == 1


def test_everything_is_frozen_and_in_evaluation_mode():
    model = load_model()
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not model.training
    assert len(model.weights_hash) == 64
    assert model.name == "vit_t"


def mobile_sam_weights() -> dict[str, torch.Tensor]:
    """A checkpoint as MobileSAM's code writes it, with BatchNorm statistics that matter."""
    weights = unfold_batch_norm(original_names(make_tiny_vit_sam().state_dict()))
    generator = torch.Generator().manual_seed(5)
    for name, tensor in weights.items():
        if name.endswith(("bn.weight", "bn.running_var")):
            weights[name] = 0.5 + torch.rand(tensor.shape, generator=generator)
        elif name.endswith(("bn.bias", "bn.running_mean")):
            weights[name] = 0.3 * torch.randn(tensor.shape, generator=generator)
    return with_classifier(weights)


def with_real_batch_norm(weights: dict[str, torch.Tensor]) -> Sam:
    """The model of MobileSAM's own form: each convolution followed by torch's BatchNorm."""
    model = make_tiny_vit_sam()
    for place, module in list(model.vision_encoder.named_modules()):
        name = f"image_encoder.{place}"
        if not isinstance(module, torch.nn.Conv2d) or f"{name}.c.weight" not in weights:
            continue
        norm = torch.nn.BatchNorm2d(module.out_channels).eval()
        prefix = f"{name}.bn."
        norm.load_state_dict(
            {
                key.removeprefix(prefix): value
                for key, value in weights.items()
                if key.startswith(prefix)
            }
        )
        module.weight.data, module.bias = weights[f"{name}.c.weight"], None
        parent, _, last = place.rpartition(".")
        setattr(model.vision_encoder.get_submodule(parent), last, torch.nn.Sequential(module, norm))
    return model


def test_mobile_sams_checkpoint_gives_the_masks_of_the_model_with_its_batch_norm(tmp_path: Path):
    weights = mobile_sam_weights()
    torch.save(weights, tmp_path / "mobile_sam.pt")
    model = load_model(tmp_path / "mobile_sam.pt")
    assert_same_masks(decode_example(model), decode_example(with_real_batch_norm(weights)))


def test_the_attention_offsets_are_numbered_as_in_mobile_sam():
    numbers = {}
    for a in itertools.product(range(3), range(3)):
        for b in itertools.product(range(3), range(3)):
            numbers.setdefault((abs(a[0] - b[0]), abs(a[1] - b[1])), len(numbers))
    # From token 4, the middle one, to each of the nine.
    offsets = [(1, 1), (1, 0), (1, 1), (0, 1), (0, 0), (0, 1), (1, 1), (1, 0), (1, 1)]
    assert offset_indices(3)[4].tolist() == [numbers[offset] for offset in offsets]


class Malicious:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return (Path.touch, (self.target,))


@pytest.mark.parametrize("name", ["model.pth", "model.pt", "model.bin"])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path: Path, name: str):
    target = tmp_path / "was_run"
    torch.save({"model": Malicious(target)}, tmp_path / name)
    with pytest.raises(ModelError, match="re-save its weights with: python -c"):
        load_model(tmp_path / name)
    assert not target.exists()


def test_a_bare_pickle_in_a_folder_is_refused_and_does_not_run(tmp_path: Path):
    target = tmp_path / "was_run"
    make_transformers_sam().config.save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "pytorch_model.bin").write_bytes(pickle.dumps(Malicious(target)))
    with pytest.raises(ModelError, match="could run code"):
        load_model(tmp_path / "model")
    assert not target.exists()


def test_a_folder_with_a_plain_bin_file_loads(tmp_path: Path):
    source = make_transformers_sam()
    source.config.save_pretrained(tmp_path / "model")
    torch.save(source.state_dict(), tmp_path / "model" / "pytorch_model.bin")
    assert_same_masks(decode_example(load_model(tmp_path / "model")), transformers_logits(source))


def test_a_truncated_file_is_called_damaged(tmp_path: Path):
    source = make_transformers_sam()
    torch.save(original_names(source.state_dict()), tmp_path / "sam.pth")
    source.save_pretrained(tmp_path / "model")
    for path in (tmp_path / "sam.pth", tmp_path / "model" / "model.safetensors"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(ModelError, match="damaged"):
            load_model(path)


def test_weights_of_another_network_name_what_is_missing(tmp_path: Path):
    torch.save({"layer.weight": torch.zeros(2, 2)}, tmp_path / "other.pth")
    with pytest.raises(ModelError, match=r"other\.pth: these are not the weights of a SAM"):
        load_model(tmp_path / "other.pth")


def test_a_checkpoint_with_a_weight_missing_is_refused(tmp_path: Path):
    weights = original_names(make_transformers_sam().state_dict())
    del weights["mask_decoder.transformer.norm_final_attn.bias"]
    torch.save(weights, tmp_path / "sam.pth")
    with pytest.raises(ModelError, match=r"1 weights missing.*layer_norm_final_attn\.bias"):
        load_model(tmp_path / "sam.pth")


def test_a_folder_of_another_architecture_is_refused(tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ModelError, match=r"must hold a model of type sam .* says bert"):
        load_model(tmp_path)


def test_a_hub_model_that_is_not_here_says_what_to_fetch(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelNotFoundError) as caught:
        load_model("facebook/sam-vit-base")
    message = str(caught.value)
    assert "hf download facebook/sam-vit-base" in message
    assert "dl.fbaipublicfiles.com/segment_anything/sam_vit_b_01ec64.pth" in message


def test_a_hub_model_in_the_local_cache_loads_without_a_network(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--someone--tiny-sam"
    make_transformers_sam().save_pretrained(repository / "snapshots" / "abc")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    assert load_model("someone/tiny-sam").name == "someone/tiny-sam"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("vit_h", "hf download facebook/sam-vit-huge"),
        ("weights/mobile_sam.pt", "MobileSAM/raw/master/weights/mobile_sam.pt and put it there"),
        ("nonsense", "give vit_t"),
    ],
)
def test_a_name_that_leads_nowhere_says_what_would(name: str, hint: str):
    with pytest.raises(ModelNotFoundError, match=hint):
        load_model(name)
