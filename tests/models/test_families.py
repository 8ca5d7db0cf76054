"""Every family behind the one protocol, against transformers' own model of the same weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel, Sam2Model, Sam3TrackerModel, SamHQModel
from transformers.image_utils import (
    IMAGENET_DEFAULT_MEAN,
    IMAGENET_DEFAULT_STD,
    IMAGENET_STANDARD_MEAN,
    IMAGENET_STANDARD_STD,
)

from mitosam.errors import ModelError, ModelNotFoundError, SettingsError
from mitosam.geometry import ModelFrame, Window
from mitosam.inference.section_embedding import section_embedding
from mitosam.models.export import export_huggingface, export_original
from mitosam.models.families import FAMILIES as KINDS
from mitosam.models.head import Head, HeadShape, as_stack
from mitosam.models.high_resolution import HighResolution, pack, unpack
from mitosam.models.load import load_model
from mitosam.models.part_settings import PRESETS
from mitosam.models.promptable import ModelPrompts, Promptable
from mitosam.models.tuned import load_tuned, save_tuned
from mitosam.training.parts import choose_parts
from mitosam.training.settings import PromptMix, TrainingSettings
from mitosam.training.trainer import Trainer
from tests.models.test_tuned import info_for
from tests.models.tiny_families import FAMILIES, correct_sam_hq, write_family
from tests.models.tiny_models import HIDDEN, example_image, make_tiny_vit_sam, randomise
from tests.training.tiny_examples import disc_labels, make_example

# Kinds of prompt, with coordinates as shares of the input's side.
POINTS = torch.tensor(
    [[[[0.3, 0.4], [0.8, 0.7], [0.1, 0.9]], [[0.6, 0.2], [0.5, 0.5], [0.9, 0.1]]]]
)
LABELS = torch.tensor([[[1, 0, 1], [1, 1, 0]]])
BOXES = torch.tensor([[[0.1, 0.2, 0.6, 0.7], [0.5, 0.5, 0.9, 0.95]]])
KINDS_OF_PROMPT = ("box", "point", "points", "box and points", "mask")


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("families")


@pytest.fixture(scope="module", params=FAMILIES)
def pair(request, folders) -> tuple[Promptable, PreTrainedModel]:
    """A family as loaded here, and as transformers has it."""
    theirs = write_family(folders / request.param, request.param)
    return load_model(folders / request.param), theirs


@pytest.fixture
def model(pair) -> Promptable:
    """The family as loaded here; tests leave it as it is."""
    return pair[0]


def prompts_of(kind: str, model: Promptable) -> ModelPrompts:
    side = model.input_px
    if kind == "box":
        return ModelPrompts(boxes=BOXES * side)
    if kind == "point":
        return ModelPrompts(points=POINTS[:, :, :1] * side, labels=LABELS[:, :, :1])
    if kind == "points":
        return ModelPrompts(points=POINTS * side, labels=LABELS)
    if kind == "box and points":
        return ModelPrompts(boxes=BOXES * side, points=POINTS * side, labels=LABELS)
    mask = 4 * torch.randn(1, 1, model.low_res_px, model.low_res_px, generator=seeded(3))
    return ModelPrompts(boxes=BOXES * side, masks=mask)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def embed(model: Promptable, seed: int = 1) -> torch.Tensor:
    return model.encode(example_image(model.input_px, seed))


def test_an_embedding_has_the_shape_the_model_says(model):
    family = FAMILIES[model.architecture]
    assert model.input_px == family.input_px
    assert model.embedding_shape[1:] == (family.grid, family.grid)
    assert model.embedding_shape[0] == HIDDEN + model.packed_channels > HIDDEN
    images = torch.cat([example_image(model.input_px, seed) for seed in (1, 2)])
    embeddings = model.encode(images)
    assert embeddings.shape == (2, *model.embedding_shape)
    assert embeddings.dtype == torch.float32
    decoded = model.decode_outputs(embeddings[:1], prompts_of("box", model), "all")
    assert decoded.low_res_logits.shape == (1, 2, 4, model.low_res_px, model.low_res_px)
    assert decoded.iou_predictions.shape == (1, 2, 4)


@pytest.mark.parametrize("kind", KINDS_OF_PROMPT)
@pytest.mark.parametrize("multimask_output", [False, True], ids=["single", "multi"])
def test_masks_are_those_of_transformers_own_model(pair, kind, multimask_output):
    model, theirs = pair
    prompts = prompts_of(kind, model)
    with torch.inference_mode(), correct_sam_hq(theirs):
        expected = theirs(
            pixel_values=example_image(model.input_px),
            input_boxes=prompts.boxes,
            input_points=prompts.points,
            input_labels=prompts.labels,
            input_masks=prompts.masks,
            multimask_output=multimask_output,
        )
    found = model.decode(embed(model), prompts, multimask_output=multimask_output)
    scale = expected.pred_masks.abs().max()
    torch.testing.assert_close(
        found.low_res_logits / scale, expected.pred_masks / scale, rtol=0, atol=1e-5
    )
    torch.testing.assert_close(found.iou_predictions, expected.iou_scores, rtol=1e-4, atol=1e-5)


def test_an_unstable_single_mask_gives_way_to_a_candidate_unless_the_decoder_is_trained(model):
    if not isinstance(model, HighResolution):
        return
    embedding, prompts = embed(model), prompts_of("points", model)
    every = model.decode_outputs(embedding, prompts, "all").low_res_logits
    single = model.decode(embedding, prompts).low_res_logits
    assert torch.equal(single, every[:, :, :1])
    model.mask_decoder.requires_grad_(True)
    own = model.decode(embedding, prompts).low_res_logits.detach()
    model.mask_decoder.requires_grad_(False)
    is_other = (own != single).flatten(2).any(2)
    is_candidate = (every[:, :, 1:] == single).flatten(3).all(3).any(2)
    assert torch.equal(is_other, is_candidate)


def test_each_prompts_masks_are_independent_of_the_others(model):
    embedding, prompts = embed(model), prompts_of("box and points", model)
    together = model.decode_outputs(embedding, prompts, "all")
    for i in range(2):
        asked = {
            name: getattr(prompts, name)[:, i : i + 1] for name in ("boxes", "points", "labels")
        }
        alone = model.decode_outputs(embedding, ModelPrompts(**asked), "all")
        scale = together.low_res_logits.abs().max()
        torch.testing.assert_close(
            alone.low_res_logits / scale,
            together.low_res_logits[:, i : i + 1] / scale,
            rtol=0,
            atol=1e-5,
        )


def test_images_of_a_batch_are_independent_of_each_other(model):
    both = torch.cat([embed(model, 1), embed(model, 2)])
    prompts = prompts_of("box", model)
    twice = ModelPrompts(boxes=prompts.boxes.repeat(2, 1, 1))
    together = model.decode(both, twice, multimask_output=True).low_res_logits
    for i in range(2):
        alone = model.decode(both[i : i + 1], prompts, multimask_output=True).low_res_logits
        scale = alone.abs().max()
        torch.testing.assert_close(together[i] / scale, alone[0] / scale, rtol=0, atol=1e-5)


def test_a_cached_embedding_gives_nearly_the_same_masks(model):
    embedding, prompts = embed(model), prompts_of("box", model)
    fresh = model.decode(embedding, prompts, multimask_output=True).low_res_logits
    cached = model.decode(embedding.half(), prompts, multimask_output=True).low_res_logits
    assert (fresh - cached).abs().max() <= 0.01 * fresh.abs().max()
    assert ((fresh > 0) == (cached > 0)).float().mean() > 0.99


def test_bf16_gives_nearly_the_same_masks(model):
    embedding, prompts = embed(model), prompts_of("box", model)
    exact = model.decode(embedding, prompts, multimask_output=True).low_res_logits
    model.precision = "bf16"
    try:
        rough = model.decode(embed(model), prompts, multimask_output=True).low_res_logits
    finally:
        model.precision = "fp32"
    assert rough.dtype == torch.float32
    assert ((exact > 0) == (rough > 0)).float().mean() > 0.9


@given(
    size=st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 4)),
    channels=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3)),
)
def test_packing_and_unpacking_is_the_identity(size, channels):
    batch, height, width = size
    levels = [
        torch.randn(batch, count, times * height, times * width)
        for count, times in zip(channels, (1, 2, 4), strict=True)
    ]
    packed = pack(*levels)
    assert packed.shape[2:] == (height, width)
    back = unpack(packed, *channels[1:])
    assert all(torch.equal(a, b) for a, b in zip(back, levels, strict=True))


def test_a_packed_cell_holds_the_fine_pixels_that_lie_in_it():
    fine = torch.arange(64.0).view(1, 1, 8, 8)
    packed = pack(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 4, 4), fine)
    assert packed[0, -16:, 1, 0].tolist() == fine[0, 0, 4:, :4].flatten().tolist()


def test_everything_loaded_is_frozen_and_in_evaluation_mode(model):
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not any(module.training for module in model.modules())


def test_gradients_reach_the_decoder_alone_when_it_alone_asks(pair, folders):
    model = load_model(folders / pair[0].architecture)
    model.mask_decoder.requires_grad_(True)
    decoded = model.decode_outputs(embed(model).clone(), prompts_of("points", model), "all")
    (decoded.low_res_logits.square().mean() + decoded.iou_predictions.sum()).backward()
    reached = {name for name, p in model.named_parameters() if p.grad is not None}
    # What says whether an object is there at all is not asked here.
    asked = {
        n for n, p in model.named_parameters() if p.requires_grad and "obj_score_head" not in n
    }
    assert reached == asked
    assert all(name.startswith("mask_decoder.") for name in reached)


def test_gradients_reach_the_whole_encoder_when_it_asks(pair, folders):
    model = load_model(folders / pair[0].architecture)
    model.vision_encoder.requires_grad_(True)
    embedding = model.vision_encoder(example_image(model.input_px))
    decoded = model.decode_outputs(embedding, prompts_of("box", model), "all")
    decoded.low_res_logits.square().mean().backward()
    unreached = {n for n, p in model.vision_encoder.named_parameters() if p.grad is None}
    assert all(name.startswith(_COARSER_THAN_THE_EMBEDDING) for name in unreached)


# SAM 3's neck has a fourth level, of half the embedding's resolution, which SAM's prompts need not.
_COARSER_THAN_THE_EMBEDDING = ("neck.fpn_layers.3.", "no_memory_embedding")


def test_a_few_steps_of_training_lower_the_loss(pair, folders, tmp_path):
    model = load_model(folders / pair[0].architecture)
    tiles = [disc_labels(seed, 64) for seed in (1, 2)]
    examples = [
        make_example(
            labels,
            embedding=model.encode(
                model.prepare(
                    (labels > 0).astype(np.uint8) * 255, ModelFrame((0, 0), 64, model.input_px)
                )
            )[0].numpy(),
        )
        for labels in tiles
    ]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    parts = choose_parts(model, _SHORT, seed=0)
    trainer = Trainer(model, parts, examples, examples, _SHORT, seed=0)
    losses = [trainer.step(step, step / 30) for step in range(30)]
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])
    changed = {n for n, t in model.state_dict().items() if not torch.equal(t, before[n])}
    assert changed
    assert all(name.startswith("mask_decoder.") for name in changed)


_SHORT = TrainingSettings(
    epochs=15,
    min_steps=30,
    prompts_per_tile=4,
    learning_rate=3e-3,
    schedule="constant",
    max_corrections=0,
    prompt_mix=PromptMix(patch_box=0, object_box=1, object_point=0),
)


def test_what_training_saved_comes_back_onto_a_fresh_base(pair, folders, tmp_path):
    folder = folders / pair[0].architecture
    tuned = load_model(folder)
    randomise(tuned.mask_decoder, seed=9)
    names = [name for name, _ in tuned.named_parameters() if name.startswith("mask_decoder.")]
    save_tuned(tmp_path / "tuned.safetensors", tuned, info_for(tuned), names)
    fresh = load_model(folder)
    load_tuned(tmp_path / "tuned.safetensors", fresh)
    prompts = prompts_of("box", fresh)
    found, expected = (m.decode(embed(m), prompts).low_res_logits for m in (fresh, tuned))
    assert torch.equal(found, expected)
    other = write_family(tmp_path / "other", fresh.architecture, seed=5)
    assert isinstance(other, nn.Module)
    with pytest.raises(ModelError, match="load it onto"):
        load_tuned(tmp_path / "tuned.safetensors", load_model(tmp_path / "other"))


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


def test_grey_values_are_normalised_as_the_familys_own_processor_does(model):
    # The processors themselves cannot be imported here: they ask for torchvision.
    mean, std = torch.tensor(IMAGENET_DEFAULT_MEAN), torch.tensor(IMAGENET_DEFAULT_STD)
    if model.architecture == "sam3_tracker":
        mean, std = torch.tensor(IMAGENET_STANDARD_MEAN), torch.tensor(IMAGENET_STANDARD_STD)
    frame = ModelFrame((0, 0), model.input_px, model.input_px)
    grey = np.full((model.input_px, model.input_px), 51, np.uint8)
    torch.testing.assert_close(model.prepare(grey, frame)[0, :, 5, 7], (0.2 - mean) / std)


def test_a_sections_mosaic_and_the_head_take_packed_embeddings(model):
    section = np.random.default_rng(0).integers(0, 255, (96, 144), np.uint8)

    def encode(pixels: np.ndarray, frame: ModelFrame) -> torch.Tensor:
        return model.encode(model.prepare(pixels, frame))[0]

    mosaic = section_embedding(section, encode, tile_px=64, input_px=model.input_px)
    channels = model.embedding_shape[0]
    assert mosaic.shape == (channels, 12, 18)
    assert np.isfinite(mosaic).all()
    shape = HeadShape(
        section_offsets=(0,), embedding_channels=channels, width=4, grey_mean=128, grey_std=60
    )
    head = Head(shape).eval()
    with torch.inference_mode():
        maps = head(as_stack(torch.from_numpy(section)[None, None]), torch.from_numpy(mosaic)[None])
    assert maps.shape == (1, 2, 96, 144)


def test_a_window_of_a_mosaic_is_what_the_tile_says(model):
    tile = np.random.default_rng(1).integers(0, 255, (64, 64), np.uint8)
    frame = ModelFrame((0, 0), 64, model.input_px)
    embedding = model.encode(model.prepare(tile, frame))[0]
    mosaic = section_embedding(tile, lambda *_: embedding, tile_px=64, input_px=model.input_px)
    if embedding.shape[1] == 8:  # at 8 px to a cell it is the tile's own grid
        assert np.array_equal(mosaic, embedding.numpy())
    assert mosaic.shape[1:] == (8, 8)
    assert Window(0, 0, 8, 8).height == mosaic.shape[1]


def test_sam_itself_has_nothing_packed():
    model = make_tiny_vit_sam(input_px=128)
    assert model.packed_channels == 0
    assert model.embedding_shape == (HIDDEN, 8, 8)


@pytest.mark.parametrize("preset", ["decoder", "lora", "full"])
def test_every_preset_but_late_changes_what_it_names_and_nothing_else(pair, folders, preset):
    model = load_model(folders / pair[0].architecture)
    settings = _SHORT.model_copy(update={"parts": PRESETS[preset]})
    if preset == "lora" and model.architecture == "edgetam":  # of convolutions alone
        with pytest.raises(SettingsError, match="no linear layers in its encoder for LoRA"):
            choose_parts(model, settings, seed=0)
        return
    parts = choose_parts(model, settings, seed=0)
    assert parts.frontier.is_embedding == (preset == "decoder")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    image = example_image(model.input_px)
    features = model.encode(image) if preset == "decoder" else image
    labels = disc_labels(1, 64)
    example = replace(make_example(labels), read_features=lambda: features[0].numpy())
    Trainer(model, parts, [example], [], settings, seed=0).step(0, 0.1)
    changed = {n for n, t in model.state_dict().items() if not torch.equal(t, before[n])}
    trained = {name.replace("/", ".") for name, _ in parts.trained.named_parameters()}
    trained |= {f"{name}.default.weight" for name in trained}  # peft's names of adapters
    assert changed
    assert changed <= trained


def test_late_blocks_of_a_family_are_refused(model):
    with pytest.raises(SettingsError, match="not known one by one"):
        choose_parts(model, _SHORT.model_copy(update={"parts": PRESETS["late"]}), seed=0)
