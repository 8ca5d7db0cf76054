from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mitosam.errors import ModelError, ModelNotFoundError
from mitosam.models.load import load_model
from mitosam.models.sam import Sam
from mitosam.models.tuned import load_tuned, read_tuned_info, save_tuned
from tests.models.tiny_models import decode_example, info_for, make_transformers_sam, randomise


@pytest.fixture
def base(tmp_path: Path) -> Sam:
    make_transformers_sam().save_pretrained(tmp_path / "base")
    return load_model(tmp_path / "base")


def decoder_names(model: Sam) -> list[str]:
    return [name for name, _ in model.named_parameters() if name.startswith("mask_decoder.")]


def save_example(path: Path, model: Sam) -> torch.Tensor:
    """Change the decoder, save it, and give the masks it then makes."""
    randomise(model.mask_decoder, seed=9)
    save_tuned(path, model, info_for(model), decoder_names(model))
    return decode_example(model)


def test_what_is_saved_comes_back_onto_a_fresh_base(tmp_path: Path, base: Sam):
    expected = save_example(tmp_path / "tuned.safetensors", base)
    fresh = load_model(tmp_path / "base")
    assert not torch.equal(decode_example(fresh), expected)
    assert load_tuned(tmp_path / "tuned.safetensors", fresh) == info_for(base)
    assert torch.equal(decode_example(fresh), expected)
    assert not any(parameter.requires_grad for parameter in fresh.parameters())


def test_the_information_is_read_without_the_weights(tmp_path: Path, base: Sam):
    save_example(tmp_path / "tuned.safetensors", base)
    assert read_tuned_info(tmp_path / "tuned.safetensors") == info_for(base)


def test_another_base_is_refused_by_both_hashes_and_stays_untouched(tmp_path: Path, base: Sam):
    save_example(tmp_path / "tuned.safetensors", base)
    make_transformers_sam(seed=1).save_pretrained(tmp_path / "other")
    other = load_model(tmp_path / "other")
    before = decode_example(other)
    with pytest.raises(ModelError) as caught:
        load_tuned(tmp_path / "tuned.safetensors", other)
    assert base.weights_hash in str(caught.value)
    assert other.weights_hash in str(caught.value)
    assert torch.equal(decode_example(other), before)


def test_a_decoder_of_the_embedded_model_takes_16_mb_at_most(tmp_path: Path):
    model = load_model()
    save_tuned(tmp_path / "tuned.safetensors", model, info_for(model), decoder_names(model))
    assert (tmp_path / "tuned.safetensors").stat().st_size <= 16 * 2**20


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: data[:4],
        lambda data: data[:0],
        lambda data: b"\xff" * 8 + data[8:],
        lambda data: data[:8] + b"}" + data[9:],
    ],
    ids=["half", "four bytes", "empty", "oversized header", "broken header"],
)
def test_a_damaged_file_is_called_damaged(tmp_path: Path, base: Sam, damage):
    path = tmp_path / "tuned.safetensors"
    save_example(path, base)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ModelError, match="is damaged"):
        load_tuned(path, base)


def test_a_whole_model_is_not_taken_for_a_tuned_one(tmp_path: Path, base: Sam):
    with pytest.raises(ModelError, match="not a tuned model"):
        read_tuned_info(tmp_path / "base" / "model.safetensors")


def test_a_tuned_model_is_not_taken_for_a_whole_one(tmp_path: Path, base: Sam):
    save_example(tmp_path / "tuned.safetensors", base)
    with pytest.raises(ModelError, match="give its base as the model"):
        load_model(tmp_path / "tuned.safetensors")


def test_a_file_that_is_not_there_says_so(tmp_path: Path):
    with pytest.raises(ModelNotFoundError, match="does not exist"):
        read_tuned_info(tmp_path / "tuned.safetensors")
