"""Every preset of trained parts, from training to masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mitosam.embeddings import clear_cache
from mitosam.errors import ModelError, SettingsError
from mitosam.inference.section_embedding import section_embedding
from mitosam.models.load import load_model
from mitosam.models.tuned import load_tuned, read_tuned_info, tuned_names
from mitosam.progress import SILENT
from mitosam.workflows.automatic_model import encode_with, segmenter_of, segmenter_of_run
from mitosam.workflows.evaluate import _evaluate_method, evaluate
from mitosam.workflows.head import train_head
from mitosam.workflows.models import LoadedModel, load_base, open_cache, with_tuned
from mitosam.workflows.prepare import prepare
from mitosam.workflows.teach import teach
from mitosam.workflows.train import train
from mitosam.workflows.tuned_model import load_tuned_model
from tests.tiny_runs import KillAt, short_settings

ADAPTED = ("training.parts=lora", "training.lora.last_blocks=2", 'training.lora.on=["encoder"]')
CHOICES = {
    "late": ("training.parts=late",),
    "lora": ("training.parts=lora",),
    "full": ("training.parts=full",),
    "last adapters": ADAPTED,
    "decoder adapters": ('training.parts=["lora"]', 'training.lora.on=["mask_decoder"]'),
    "neck": ('training.parts=["neck"]',),
}
PREFIXES = {
    "late": ("mask_decoder.", "prompt_encoder.", "vision_encoder."),
    "lora": ("mask_decoder.", "prompt_encoder.", "vision_encoder."),
    "full": ("mask_decoder.", "prompt_encoder.", "vision_encoder."),
    "last adapters": ("mask_decoder.", "prompt_encoder.", "vision_encoder.layers."),
    "decoder adapters": ("mask_decoder.",),
    "neck": ("vision_encoder.neck.",),
}


@pytest.fixture(scope="module", params=sorted(CHOICES))
def choice(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def run(choice, tmp_path_factory, sources, base_model):
    """An undisturbed run of one choice of parts."""
    folder = tmp_path_factory.mktemp("parts") / "run"
    run = prepare(sources, folder, short_settings(base_model, *CHOICES[choice]))
    train(run)
    return run


def test_the_file_holds_what_was_trained_and_nothing_else(run, choice):
    names = tuned_names(run.tuned_weights)
    assert all(name.startswith(PREFIXES[choice]) for name in names)
    assert {p for p in PREFIXES[choice] if any(n.startswith(p) for n in names)} == set(
        PREFIXES[choice]
    )
    assert not any(name.endswith("positional_embedding") for name in names)
    assert read_tuned_info(run.tuned_weights).trained_parts == run.settings.training.parts


def test_frozen_weights_keep_their_bytes_and_trained_ones_do_not(run, base_model):
    base, tuned = load_model(base_model), load_model(base_model)
    load_tuned(run.tuned_weights, tuned)
    before, after = base.state_dict(), tuned.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    named = {n.replace(".lora_A", ".weight") for n in tuned_names(run.tuned_weights)}
    assert changed
    assert changed <= named
    assert set(before) == set(after)


def test_a_killed_training_goes_on_to_the_same_weights(run, tmp_path, sources):
    killed = prepare(sources, tmp_path / "run", run.settings)
    with pytest.raises(KeyboardInterrupt):
        train(killed, progress=KillAt("training", item=6))
    train(killed)
    mine, theirs = (load_tuned_model(r.folder).sam.state_dict() for r in (killed, run))
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_scores_and_masks_are_those_of_the_trained_encoder(run, base_model):
    """Evaluation may not take the base model's embeddings for the tuned one's."""
    model = load_base(run.settings)
    tuned = with_tuned(model, run.tuned_weights, run.settings.cache)
    touches_encoder = any(n.startswith("vision_encoder.") for n in tuned_names(run.tuned_weights))
    assert (tuned.cache.folder != load_base(run.settings).cache.folder) == touches_encoder
    first = evaluate(run)
    clear_cache(run.settings.cache)
    (run.evaluation_folder / "tuned.json").unlink()
    fresh = load_tuned_model(run.folder, run.settings.model).sam
    assert fresh.encoder_hash == tuned.sam.encoder_hash
    alone = LoadedModel(sam=fresh, cache=open_cache(fresh, run.settings.cache))
    assert _evaluate_method(run, alone, "tuned", SILENT) == [
        score for score in first.scores if score.method == "tuned"
    ]
    assert fresh.encoder_hash == load_model(base_model).encoder_hash or touches_encoder


def with_head(base_model, embedding_of, *more):
    return short_settings(
        base_model, "training.parts=late", "head.enabled=true", "head.steps=2", "head.crop_px=64",
        "head.validations=1", 'head.rival="none"', f"head.embedding_of={embedding_of}", *more,
    )  # fmt: skip


@pytest.mark.parametrize("go_on", [train, train_head])
@pytest.mark.parametrize("embedding_of", ["base", "tuned"])
def test_a_head_that_was_killed_reads_the_same_embeddings(
    tmp_path, sources, base_model, embedding_of, go_on
):
    settings = with_head(base_model, embedding_of)
    undisturbed = prepare(sources, tmp_path / "whole", settings)
    train(undisturbed)
    killed = prepare(sources, tmp_path / "killed", settings)
    with pytest.raises(KeyboardInterrupt):
        train(killed, progress=KillAt("encoding whole sections"))
    go_on(killed)
    assert undisturbed.tuned_weights.stat().st_size == killed.tuned_weights.stat().st_size
    assert tuned_bytes(undisturbed) == tuned_bytes(killed)


@pytest.mark.parametrize("embedding_of", ["base", "tuned"])
def test_a_head_reads_the_embeddings_it_was_trained_on(tmp_path, sources, base_model, embedding_of):
    run = prepare(sources, tmp_path / "run", with_head(base_model, embedding_of))
    train(run)
    section = np.array(run.parts()[0].volume.images[0])
    tuned = load_tuned_model(run.folder, run.settings.model)
    segmenter = segmenter_of(tuned, run.folder, run.settings)
    seen = tuned.sam if embedding_of == "tuned" else load_model(base_model)
    embedding = section_embedding(
        section, encode_with(seen), tile_px=tuned.tile_px, input_px=seen.input_px
    )
    expected = segmenter.head.maps(section[None], embedding)
    assert expected.std() > 0
    in_cache = segmenter_of_run(run, load_base(run.settings))
    for one in (segmenter, in_cache):
        found = one.mapper("head", lambda _: section, 1)(0)
        np.testing.assert_allclose(found.astype(int), expected, atol=1)
    other = load_model(base_model) if embedding_of == "tuned" else tuned.sam
    unlike = section_embedding(
        section, encode_with(other), tile_px=tuned.tile_px, input_px=other.input_px
    )
    assert np.abs(embedding - unlike).max() > 1e-4


def test_teaching_keeps_the_embedding_a_head_reads(tmp_path, sources, base_model):
    first = prepare(sources, tmp_path / "first", with_head(base_model, "tuned"))
    train(first)
    more = with_head(
        base_model, "base", "split.kind=given", 'split.train="1-3"', 'split.validation="4"',
        "teaching.steps=2", "teaching.head_steps=2", "teaching.views=4",
    )  # fmt: skip
    second = teach(sources, tmp_path / "second", more, start_from=first.tuned_weights)
    assert read_tuned_info(second.tuned_weights).head.embedding_of == "tuned"
    assert load_tuned_model(second.folder).sam.has_tuned_encoder


def tuned_bytes(run) -> dict[str, bytes]:
    from safetensors.numpy import load_file

    return {name: array.tobytes() for name, array in load_file(run.tuned_weights).items()}


def test_adapters_are_merged_once_and_only_onto_their_base(tmp_path, sources, base_model):
    runs = []
    for seed in (0, 1):
        settings = short_settings(base_model, *CHOICES["last adapters"], f"seed={seed}")
        runs.append(prepare(sources, tmp_path / str(seed), settings))
        train(runs[-1])
    sam = load_model(base_model)
    load_tuned(runs[0].tuned_weights, sam)
    once = {name: tensor.clone() for name, tensor in sam.state_dict().items()}
    load_tuned(runs[0].tuned_weights, sam)
    assert all(torch.equal(once[name], tensor) for name, tensor in sam.state_dict().items())
    with pytest.raises(ModelError, match="adapters of another tuned model"):
        load_tuned(runs[1].tuned_weights, sam)


def test_teaching_goes_on_from_a_model_with_adapters(tmp_path, sources, base_model):
    settings = short_settings(base_model, *CHOICES["last adapters"])
    first = prepare(sources, tmp_path / "first", settings)
    train(first)
    more = short_settings(
        base_model, "split.kind=given", 'split.train="1-3"', 'split.validation="4"',
        "teaching.steps=4", "teaching.views=4",
    )  # fmt: skip
    second = teach(sources, tmp_path / "second", more, start_from=first.tuned_weights)
    start, end = (load_tuned_model(r.folder).sam for r in (first, second))
    for name, tensor in start.vision_encoder.state_dict().items():
        torch.testing.assert_close(tensor, end.vision_encoder.state_dict()[name])
    assert not torch.equal(start.mask_decoder.iou_token.weight, end.mask_decoder.iou_token.weight)


def test_a_part_that_the_model_lacks_is_named(tmp_path, sources, base_model):
    settings = short_settings(base_model, "training.parts=late", "training.late_blocks=99")
    run = prepare(sources, tmp_path / "run", settings)
    with pytest.raises(SettingsError, match="late_blocks is 99"):
        train(run)
