from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from mitosam.errors import ModelError, SettingsError
from mitosam.models import parts
from mitosam.models.build import build_sam
from mitosam.models.frontier import Frontier, blocks_of
from mitosam.models.lora import add_lora, apply_lora, lora_layers, merge_lora
from mitosam.models.part_settings import AUTO, PRESETS, LoraSettings
from mitosam.models.parts import resolve_parts, trained_names
from mitosam.models.sam import Sam
from mitosam.training.settings import TrainingSettings
from tests.models.tiny_models import make_tiny_vit_sam, make_transformers_sam, tiny_sam_config


def make_sam() -> Sam:
    """A SAM with transformers' own encoder."""
    model = build_sam(tiny_sam_config(64))
    model.load_state_dict(make_transformers_sam(input_px=64).state_dict(), assign=True)
    return model


MODELS = {"vit_t": lambda: make_tiny_vit_sam(0, 64), "vit": make_sam}
LORA = LoraSettings(rank=2)


@pytest.fixture(params=sorted(MODELS))
def sam(request) -> Sam:
    return MODELS[request.param]().eval().requires_grad_(False)


def names_of(sam, *parts, late_blocks=1, lora=LORA):
    return trained_names(sam, parts, late_blocks=late_blocks, lora=lora)


def images_for(sam, seed=0):
    side = sam.input_px
    return torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(seed))


def test_each_preset_trains_what_it_says(sam):
    held = {preset: set(names_of(sam, *parts)) for preset, parts in PRESETS.items()}
    assert all(name.startswith("mask_decoder.") for name in held["decoder"])
    assert held["decoder"] < held["late"] < held["full"]
    assert any(name.startswith("vision_encoder.neck.") for name in held["late"])
    every = {n for n, _ in sam.named_parameters() if not n.endswith("positional_embedding")}
    assert held["full"] == every


def test_by_default_a_small_encoder_is_trained_whole_and_a_large_one_in_part(sam, monkeypatch):
    assert resolve_parts(sam, AUTO, 1) == (PRESETS["full"], 1)
    monkeypatch.setattr(parts, "SMALL_ENCODER", 100)
    assert resolve_parts(sam, AUTO, 1) == (PRESETS["late"], 1)
    assert resolve_parts(sam, AUTO, 99)[1] == len(blocks_of(sam))
    assert resolve_parts(sam, PRESETS["full"], 1) == (PRESETS["full"], 1)
    sam.vision_encoder = torch.nn.Conv2d(3, 3, 1)
    assert resolve_parts(sam, AUTO, 1)[0] == PRESETS["decoder"]


def test_positions_are_never_trained(sam):
    """SAM's random position numbers are parameters in transformers, and no part holds them."""
    assert any(name.endswith("positional_embedding") for name, _ in sam.named_parameters())
    everything = names_of(sam, "mask_decoder", "prompt_encoder", "encoder")
    assert not any(name.endswith("positional_embedding") for name in everything)


def test_late_blocks_are_the_last_ones(sam):
    blocks = blocks_of(sam)
    assert len(blocks) >= 3
    for count in (1, 2):
        held = names_of(sam, "late_blocks", late_blocks=count)
        assert {next(b for b in blocks if n.startswith(f"{b}.")) for n in held} == set(
            blocks[-count:]
        )
    with pytest.raises(SettingsError, match=r"blocks; use training.parts=full"):
        names_of(sam, "late_blocks", late_blocks=len(blocks) + 1)


@pytest.mark.parametrize("parts", [("mask_decoder",), ("neck",), ("late_blocks",), ("encoder",)])
def test_what_comes_before_and_behind_the_frontier_is_the_encoder(sam, parts):
    frontier = Frontier(sam, names_of(sam, *parts))
    images = images_for(sam)
    with torch.no_grad():
        embedding = frontier.rest(frontier.front(images))
    torch.testing.assert_close(embedding, sam.encode(images), rtol=1e-5, atol=1e-5)
    assert frontier.is_embedding == (parts == ("mask_decoder",))
    assert frontier.is_cacheable == (parts != ("encoder",))


def test_frontiers_have_names_of_their_own(sam):
    chosen = [("mask_decoder",), ("neck",), ("late_blocks",), ("encoder",)]
    names = [Frontier(sam, names_of(sam, *parts)).name for parts in chosen]
    assert len(set(names)) == len(names)
    assert names[0] == "embedding"


def test_gradients_reach_what_lies_behind_the_frontier_and_nothing_else(sam):
    names = set(names_of(sam, "late_blocks", "neck"))
    for name, parameter in sam.named_parameters():
        parameter.requires_grad_(name in names)
    frontier = Frontier(sam, names)
    frontier.rest(frontier.front(images_for(sam)).clone()).square().sum().backward()
    touched = {name for name, p in sam.named_parameters() if p.grad is not None}
    assert touched == names


def test_an_adapter_changes_nothing_before_and_after_it_was_trained_is_merged_exactly(sam):
    images = images_for(sam)
    before = sam.encode(images)
    plain = set(sam.state_dict())
    adapters = add_lora(sam, LORA, seed=3)
    torch.testing.assert_close(sam.encode(images), before)
    generator = torch.Generator().manual_seed(1)
    for tensor in adapters.values():
        tensor.data.copy_(0.1 * torch.randn(tensor.shape, generator=generator))
    trained = sam.encode(images)
    assert not torch.allclose(trained, before)
    kept = {name: tensor.detach().clone() for name, tensor in adapters.items()}
    merge_lora(sam)
    assert set(sam.state_dict()) == plain
    torch.testing.assert_close(sam.encode(images), trained, rtol=1e-4, atol=1e-4)
    again = MODELS["vit_t" if sam.architecture == "vit_t" else "vit"]().eval()
    apply_lora(again, LORA, kept)
    torch.testing.assert_close(again.encode(images), trained, rtol=1e-4, atol=1e-4)


def test_adapters_follow_from_their_seed(sam):
    other = MODELS["vit_t" if sam.architecture == "vit_t" else "vit"]()
    first, second = add_lora(sam, LORA, seed=3), add_lora(other, LORA, seed=3)
    assert list(first) == list(second)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_adapters_of_the_last_blocks_alone_leave_the_others_before_the_frontier(sam):
    last = LoraSettings(rank=2, last_blocks=1)
    layers = lora_layers(sam, last)
    assert layers
    assert all(name.startswith(f"{blocks_of(sam)[-1]}.") for name in layers)
    assert Frontier(sam, names_of(sam, "lora", lora=last)).is_cacheable
    with pytest.raises(SettingsError, match="blocks are known"):
        lora_layers(sam, LoraSettings(last_blocks=99))


def test_adapters_of_another_width_are_refused_and_change_nothing(sam):
    kept = {name: t.detach().clone() for name, t in add_lora(sam, LORA).items()}
    merge_lora(sam)
    before = {name: t.clone() for name, t in sam.state_dict().items()}
    with pytest.raises(ModelError, match="do not fit"):
        apply_lora(sam, LoraSettings(rank=3), kept)
    assert all(torch.equal(before[name], t) for name, t in sam.state_dict().items())


def test_a_model_without_linear_layers_takes_no_adapters(sam):
    sam.vision_encoder = torch.nn.Conv2d(3, 3, 1)
    with pytest.raises(SettingsError, match="has no linear layers in its encoder"):
        lora_layers(sam, LORA)


def test_an_encoder_that_is_known_whole_has_no_late_blocks_and_no_neck(sam):
    sam.vision_encoder = torch.nn.Conv2d(3, 3, 1)
    with pytest.raises(SettingsError, match="not known one by one"):
        names_of(sam, "late_blocks")
    with pytest.raises(SettingsError, match="has no neck"):
        names_of(sam, "neck")
    assert not Frontier(sam, names_of(sam, "encoder")).is_cacheable


def test_presets_and_lists_are_read():
    assert TrainingSettings(parts="late").parts == PRESETS["late"]  # type: ignore[arg-type]
    assert TrainingSettings(parts="neck").parts == ("neck",)  # type: ignore[arg-type]
    assert TrainingSettings(parts=("neck", "mask_decoder")).parts == ("neck", "mask_decoder")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"parts": ()}, "at least one part"),
        ({"parts": "everything"}, "mask_decoder"),
        ({"parts": ("neck", "neck")}, "named twice"),
        ({"parts": ("encoder", "neck")}, "holds neck"),
        ({"parts": ("encoder", "lora")}, "lora adapts the encoder"),
        ({"parts": ("late_blocks", "lora")}, "late_blocks trains it whole"),
        (
            {"parts": ("mask_decoder", "lora"), "lora": {"on": ("mask_decoder",)}},
            "lora adapts the mask_decoder",
        ),
        ({"lora": {"rank": 0}}, "greater than or equal to 1"),
        ({"lora": {"on": ()}}, "at least 1 item"),
    ],
)
def test_contradicting_parts_are_refused(values, message):
    with pytest.raises(ValidationError, match=message):
        TrainingSettings(**values)
