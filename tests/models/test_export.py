from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import SamConfig, SamModel

from mitosam.errors import OutputExistsError
from mitosam.models.build import build_sam
from mitosam.models.checkpoints import original_names, transformers_names
from mitosam.models.export import export_huggingface, export_original
from mitosam.models.load import load_model
from mitosam.models.sam import Sam
from tests.models.segment_anything_names import vit_b
from tests.models.test_load import transformers_logits
from tests.models.tiny_models import decode_example, make_tiny_vit_sam, make_transformers_sam


@pytest.fixture
def sam(tmp_path: Path) -> Sam:
    make_transformers_sam().save_pretrained(tmp_path / "source")
    return load_model(tmp_path / "source")


def test_transformers_loads_the_folder_and_gives_the_same_masks(tmp_path: Path, sam: Sam):
    export_huggingface(sam, tmp_path / "exported")
    theirs, report = SamModel.from_pretrained(tmp_path / "exported", output_loading_info=True)
    assert not any(report.values())
    found = transformers_logits(theirs.eval())
    torch.testing.assert_close(found, decode_example(sam), rtol=1e-3, atol=1e-3)
    again = load_model(tmp_path / "exported")
    assert again.weights_hash == sam.weights_hash
    assert torch.equal(decode_example(again), decode_example(sam))


def test_the_folder_of_a_tiny_vit_loads_here_and_says_that_it_does_not_in_transformers(
    tmp_path: Path,
):
    model = make_tiny_vit_sam(input_px=512)
    export_huggingface(model, tmp_path / "exported")
    assert torch.equal(decode_example(load_model(tmp_path / "exported")), decode_example(model))
    assert "transformers cannot load" in (tmp_path / "exported" / "README.md").read_text()


def test_an_original_checkpoint_of_a_vit_round_trips(tmp_path: Path, sam: Sam):
    export_original(sam, tmp_path / "sam.pth")
    assert torch.equal(decode_example(load_model(tmp_path / "sam.pth")), decode_example(sam))


def test_an_original_vit_b_has_the_names_and_shapes_of_segment_anything():
    weights = original_names(build_sam(SamConfig()).state_dict())
    expected = vit_b()
    assert len(expected) == 314
    assert {name: tuple(tensor.shape) for name, tensor in weights.items()} == expected


def test_an_original_checkpoint_of_a_tiny_vit_round_trips(tmp_path: Path):
    model = make_tiny_vit_sam()
    export_original(model, tmp_path / "mobile_sam.pt")
    plain = torch.load(tmp_path / "mobile_sam.pt", weights_only=True)
    assert "image_encoder.patch_embed.seq.0.bn.running_var" in plain
    found = decode_example(load_model(tmp_path / "mobile_sam.pt"))
    torch.testing.assert_close(found, decode_example(model), rtol=1e-4, atol=1e-4)


def test_renaming_there_and_back_is_the_identity():
    for weights in (make_transformers_sam().state_dict(), make_tiny_vit_sam().state_dict()):
        back = transformers_names(original_names(weights))
        assert back.keys() == weights.keys()
        assert all(torch.equal(back[name], tensor) for name, tensor in weights.items())


def test_nothing_is_overwritten(tmp_path: Path, sam: Sam):
    export_huggingface(sam, tmp_path / "exported")
    with pytest.raises(OutputExistsError):
        export_huggingface(sam, tmp_path / "exported")
    (tmp_path / "sam.pth").touch()
    with pytest.raises(OutputExistsError):
        export_original(sam, tmp_path / "sam.pth")
