"""What of a family is trained, and what training saved."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from mitosam.errors import ModelError, SettingsError
from mitosam.geometry import ModelFrame
from mitosam.models.load import load_model
from mitosam.models.part_settings import PRESETS
from mitosam.models.tuned import load_tuned, save_tuned
from mitosam.training.parts import choose_parts
from mitosam.training.settings import PromptMix, TrainingSettings
from mitosam.training.trainer import Trainer
from tests.models.family_prompts import embed, prompts_of
from tests.models.tiny_families import write_family
from tests.models.tiny_models import example_image, info_for, randomise
from tests.training.tiny_examples import disc_labels, make_example


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
