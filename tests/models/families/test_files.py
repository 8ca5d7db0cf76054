"""A family's folders: loaded, exported, and refused where they do not fit."""

from __future__ import annotations

import json
import math

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Sam2Model, Sam3TrackerModel, SamHQModel

from mitosam.errors import ModelError, ModelNotFoundError
from mitosam.models.export import export_huggingface, export_original
from mitosam.models.families import FAMILIES as KINDS
from mitosam.models.families import build_family
from mitosam.models.load import load_model
from tests.models.family_prompts import embed, prompts_of
from tests.models.tiny_families import FAMILIES, correct_sam_hq, write_family
from tests.models.tiny_models import example_image

THEIR_CLASSES = {"sam_hq": SamHQModel, "sam2": Sam2Model, "sam3_tracker": Sam3TrackerModel}


def test_an_exported_folder_is_the_same_model_here_and_in_transformers(model, tmp_path):
    export_huggingface(model, tmp_path / "exported")
    again = load_model(tmp_path / "exported")
    assert again.weights_hash == model.weights_hash
    assert again.architecture == model.architecture
    readme = (tmp_path / "exported" / "README.md").read_text()
    if model.architecture == "edgetam":
        assert "import EdgeTamModel" in readme  # which asks for timm
        return
    of_class = THEIR_CLASSES[model.architecture]
    assert f"import {of_class.__name__}" in readme
    theirs, report = of_class.from_pretrained(tmp_path / "exported", output_loading_info=True)
    assert not any(report.values())
    prompts = prompts_of("box", model)
    with torch.inference_mode(), correct_sam_hq(theirs):
        expected = theirs.eval()(
            pixel_values=example_image(model.input_px), input_boxes=prompts.boxes
        )
    found = model.decode(embed(model), prompts, multimask_output=True).low_res_logits
    scale = found.abs().max()
    torch.testing.assert_close(found / scale, expected.pred_masks / scale, rtol=0, atol=1e-5)


def test_there_is_no_original_format_of_a_family(model, tmp_path):
    with pytest.raises(ModelError, match="export a Hugging Face folder instead"):
        export_original(model, tmp_path / "model.pth")


def test_weights_of_another_family_are_refused_by_name(pair, folders, tmp_path):
    family = pair[0].architecture
    other = next(name for name in FAMILIES if name != family)
    write_family(tmp_path / other, other)
    config = (folders / family / "config.json").read_text()
    (tmp_path / other / "config.json").write_text(config)
    with pytest.raises(ModelError, match=r"not a checkpoint of this architecture: .* missing"):
        load_model(tmp_path / other)


def test_a_missing_weight_and_missing_weights_are_said(pair, folders, tmp_path):
    family = pair[0].architecture
    write_family(tmp_path / family, family)
    path = tmp_path / family / "model.safetensors"
    weights = load_file(path)
    dropped = next(name for name in weights if name.endswith("mask_decoder.iou_token.weight"))
    save_file({n: t for n, t in weights.items() if n != dropped}, path)
    with pytest.raises(ModelError, match=r"1 weights missing, 0 unknown \(mask_decoder.iou_token"):
        load_model(tmp_path / family)
    path.unlink()
    with pytest.raises(ModelNotFoundError, match=r"it needs model\.safetensors beside"):
        load_model(tmp_path / family)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_configuration_that_does_not_fit_its_type_is_said(kind, tmp_path):
    config = {"model_type": kind, "vision_config": 3, "tiny_vit": 3}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ModelError, match=rf"does not fit its type {kind} ") as caught:
        load_model(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number", [10**400, -(10**400), math.inf], ids=["+", "-", "inf"])
def test_a_configuration_with_a_number_beyond_all_bounds_is_said(number):
    with pytest.raises(ModelError, match=r"hidden_size is .*, and no model has more than"):
        build_family({"model_type": "sam", "vision_config": {"hidden_size": number}}, "a")


def test_a_configuration_that_is_nested_without_end_is_said():
    config: dict[str, object] = {"model_type": "sam"}
    for _ in range(10_000):
        config = {"model_type": "sam", "vision_config": config}
    with pytest.raises(ModelError, match="does not fit its type sam"):
        build_family(config, "a")


def test_the_weights_of_a_folder_alone_ask_for_the_folder(model, folders):
    with pytest.raises(ModelError, match="give the folder"):
        load_model(folders / model.architecture / "model.safetensors")


@pytest.mark.parametrize("family", ["sam2", "edgetam"])
def test_a_videos_checkpoint_is_the_images_model(family, folders, tmp_path):
    write_family(tmp_path / "video", family)
    config = json.loads((tmp_path / "video" / "config.json").read_text())
    for part in ("prompt_encoder_config", "mask_decoder_config"):
        config[part]["model_type"] = f"{family}_video_{part.removesuffix('_config')}"
    config |= {"model_type": f"{family}_video", "num_maskmem": 7}
    (tmp_path / "video" / "config.json").write_text(json.dumps(config))
    weights = load_file(tmp_path / "video" / "model.safetensors")
    hash_before = load_model(tmp_path / "video").weights_hash
    weights |= {
        "memory_attention.layers.0.weight": torch.ones(2),
        "no_object_pointer": torch.ones(1),
    }
    save_file(weights, tmp_path / "video" / "model.safetensors")
    assert load_model(tmp_path / "video").weights_hash == hash_before


def test_the_whole_of_sam_3_gives_its_tracker(folders, tmp_path):
    write_family(tmp_path / "tracker", "sam3_tracker")
    tracker = load_model(tmp_path / "tracker")
    config = json.loads((tmp_path / "tracker" / "config.json").read_text())
    whole = {"model_type": "sam3_video", "detector_config": {}, "tracker_config": config}
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / "config.json").write_text(json.dumps(whole))
    weights = {"detector_model.text_encoder.weight": torch.ones(2)}
    for name, tensor in tracker.huggingface_weights().items():
        if name.startswith("vision_encoder.neck."):
            weights[f"tracker_neck.{name.removeprefix('vision_encoder.neck.')}"] = tensor
            weights[f"detector_model.{name}"] = tensor + 1
        elif name.startswith("vision_encoder."):
            weights[f"detector_model.{name}"] = tensor
        else:
            weights[f"tracker_model.{name}"] = tensor
    save_file(weights, tmp_path / "whole" / "model.safetensors")
    assert load_model(tmp_path / "whole").weights_hash == tracker.weights_hash
