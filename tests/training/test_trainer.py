"""Steps, batches, budgets and the weights that are kept."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from mitosam.errors import InputError
from mitosam.training.parts import choose_parts
from mitosam.training.settings import PromptMix, TrainingSettings
from mitosam.training.trainer import Trainer
from tests.training.tiny_examples import disc_labels, make_example
from tests.training.tiny_trainings import (
    CORRECTING,
    SETTINGS,
    VALIDATION,
    equal,
    make_model,
    make_trainer,
    run,
    weights,
    without_seconds,
)


def test_only_the_mask_decoder_changes(undisturbed):
    model = make_model()
    frozen, trained = weights(model), weights(model, "mask_decoder")
    after, _ = undisturbed
    assert not equal(trained, after)
    assert equal(frozen, weights(make_model()))


def test_frozen_parts_keep_their_bytes_even_if_the_caller_left_them_trainable(tmp_path):
    model = make_model().requires_grad_(True)
    before = weights(model)
    run(tmp_path, model=model)
    assert equal(before, weights(model))
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_the_same_seed_gives_the_same_weights_and_another_one_others(tmp_path, undisturbed):
    model, result = run(tmp_path / "again")
    assert equal(weights(model, "mask_decoder"), undisturbed[0])
    assert without_seconds(result.curve) == without_seconds(undisturbed[1].curve)
    other, _ = run(tmp_path / "other", seed=1)
    assert not equal(weights(other, "mask_decoder"), undisturbed[0])


def test_no_time_at_all_still_leaves_validated_weights(tmp_path):
    model, result = run(tmp_path, seconds_left=0.0)
    assert result.stopped_by_budget
    assert (result.num_steps, result.best_step) == (0, 0)
    assert [point.step for point in result.curve] == [0]
    assert math.isnan(result.curve[0].loss)
    assert equal(weights(model, "mask_decoder"), weights(make_model(), "mask_decoder"))


def test_a_budget_stops_early_and_keeps_the_best(tmp_path, undisturbed):
    # The run before has loaded the loss, which takes longer than all the steps there is time for.
    endless = SETTINGS.model_copy(update={"min_steps": 100_000, "validations": 50_000})
    _, result = run(tmp_path, settings=endless, seconds_left=1.5)
    assert result.stopped_by_budget
    assert 0 < result.num_steps < 100_000
    best = max(point.validation_iou for point in result.curve)
    (kept,) = [p for p in result.curve if p.step == result.best_step]
    assert kept.validation_iou == best
    # The learning rate was spread over the time there was: by steps it would still warm up.
    assert max(p.learning_rate for p in result.curve) > 0.1 * endless.learning_rate


def test_the_model_is_left_at_its_best_validated_weights(tmp_path):
    wild = SETTINGS.model_copy(update={"learning_rate": 0.3, "schedule": "constant"})
    model, result = run(tmp_path, settings=wild)
    best = max(result.curve, key=lambda point: (point.validation_iou, point.step))
    assert result.best_step == best.step
    trainer = make_trainer(wild, model, VALIDATION)
    score = trainer.score_validation()
    assert (score.dice, score.iou) == (best.validation_dice, best.validation_iou)


@pytest.mark.parametrize("reason", ["no tiles", "no patch inside the tiles"])
def test_without_anything_to_validate_on_the_last_weights_are_kept(tmp_path, reason):
    patch_only = SETTINGS.model_copy(
        update={"prompt_mix": PromptMix(patch_box=1, object_box=0, object_point=0)}
    )
    blind = [dataclasses.replace(example, patches=()) for example in VALIDATION]
    _, result = run(tmp_path, settings=patch_only, validation=[] if reason == "no tiles" else blind)
    assert result.best_step == 12
    assert all(math.isnan(point.validation_iou) for point in result.curve)


def test_training_fits_what_it_sees(tmp_path):
    one = [make_example(disc_labels(4, 64))]
    keen = TrainingSettings(
        parts=("mask_decoder",),
        epochs=1,
        min_steps=150,
        validations=3,
        learning_rate=5e-3,
        prompt_mix=PromptMix(patch_box=1, object_box=0, object_point=0),
        jitter_px=1,
    )
    _, result = run(tmp_path, settings=keen, examples=one, validation=one)
    assert result.curve[-1].loss < 0.7 * result.curve[0].loss
    assert result.curve[-1].validation_dice > 0.5


def test_without_averaging_the_saved_weights_are_the_trained_ones(tmp_path):
    plain = SETTINGS.model_copy(update={"ema_decay": 0.0, "base_share": 0.0})
    trainer = make_trainer(plain)
    trainer.step(0, 0.5)
    for mean, live in zip(
        trainer._state.averaged.parameters(), trainer._live.parameters(), strict=True
    ):
        assert torch.equal(mean, live)


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_what_is_saved_holds_a_share_of_what_training_began_with(ema_decay):
    def saved(base_share):
        settings = SETTINGS.model_copy(update={"ema_decay": ema_decay, "base_share": base_share})
        trainer = make_trainer(settings)
        begun = {name: one.clone() for name, one in trainer._live.named_parameters()}
        for step in range(3):
            trainer.step(step, 0.5)
        return begun, dict(trainer._state.averaged.named_parameters())

    begun, plain = saved(0.0)
    _, blended = saved(0.25)
    assert any(not torch.equal(begun[name], plain[name]) for name in plain)
    for name, one in blended.items():
        torch.testing.assert_close(one, 0.25 * begun[name] + 0.75 * plain[name])


def test_a_bigger_batch_is_the_mean_over_its_prompts():
    """One step on two tiles has the loss of both tiles' prompts, each prompt alike."""
    settings = SETTINGS.model_copy(update={"batch_tiles": 2})
    both = make_trainer(settings).step(0, 0.5)
    single = SETTINGS.model_copy(update={"batch_tiles": 1, "learning_rate": 1e-30})
    trainer = make_trainer(single)
    parts = [trainer.step(step, 0.5) for step in range(2)]
    sampler = trainer._sampler
    counts = [
        sum(len(g.regions) for g in sampler.draw(*trainer._batch(step)[0])) for step in range(2)
    ]
    assert both == pytest.approx(np.average(parts, weights=counts), rel=1e-5)


def test_every_tile_is_seen_once_an_epoch_whatever_the_batch():
    settings = SETTINGS.model_copy(update={"batch_tiles": 3})
    trainer = make_trainer(settings)
    seen = [id(example) for step in range(4) for example, _ in trainer._batch(step)]
    for epoch in range(3):
        assert len(set(seen[4 * epoch : 4 * epoch + 4])) == 4


def test_the_learning_rate_warms_up_and_falls_to_nothing():
    trainer = make_trainer(SETTINGS)
    rates = [trainer._learning_rate(done) for done in np.linspace(0, 1, 101)]
    peak = int(np.argmax(rates))
    assert peak == 5
    assert rates[peak] == pytest.approx(SETTINGS.learning_rate)
    assert (np.diff(rates[: peak + 1]) > 0).all()
    assert (np.diff(rates[peak:]) < 0).all()
    assert rates[-1] == pytest.approx(0, abs=1e-12)


def test_training_needs_a_tile(tmp_path):
    with pytest.raises(InputError, match="at least one tile with mitochondria"):
        run(tmp_path, examples=[])


def test_a_scaled_loss_gives_the_same_step_and_its_scale_is_kept(tmp_path):
    plain, scaled = make_trainer(CORRECTING), make_trainer(CORRECTING)
    scaled._scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=1)
    scaled._state.scaler = scaled._scaler
    assert scaled.step(0, 0.5) == pytest.approx(plain.step(0, 0.5), rel=1e-5)
    for one, other in zip(scaled._live.parameters(), plain._live.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-7)
    assert scaled._scaler.get_scale() == 2048.0
    scaled._state.save(tmp_path / "state.safetensors", "")
    other = make_trainer(CORRECTING)
    other._scaler = other._state.scaler = torch.amp.GradScaler("cpu")
    other._state.restore(tmp_path / "state.safetensors", "")
    assert other._scaler.get_scale() == 2048.0


def test_a_step_whose_gradients_overflow_changes_nothing_but_the_scale():
    trainer = make_trainer(SETTINGS)
    trainer._scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    before = [one.clone() for one in trainer._live.parameters()]
    backward = trainer.backward

    def overflowing(step):
        loss = backward(step)
        next(p for p in trainer._live.parameters() if p.grad is not None).grad[:] = math.inf
        return loss

    trainer.backward = overflowing
    trainer.step(0, 0.5)
    assert all(map(torch.equal, before, trainer._live.parameters()))
    assert trainer._scaler.get_scale() == 512.0


def test_a_step_without_a_prompt_changes_nothing():
    blind = make_example(np.zeros((64, 64), int), patch_px=32)
    parts = choose_parts(model := make_model(), SETTINGS, seed=0)
    trainer = Trainer(model, parts, [blind], (), SETTINGS, seed=0)
    trainer._scaler = torch.amp.GradScaler("cpu")
    before = [one.clone() for one in trainer._live.parameters()]
    assert trainer.step(0, 0.5) == 0.0
    assert all(map(torch.equal, before, trainer._live.parameters()))
