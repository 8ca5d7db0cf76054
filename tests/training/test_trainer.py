from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from mitosam.errors import InputError, ModelError, SettingsError, StorageError
from mitosam.models.mask_prompts import decode_each
from mitosam.models.promptable import ModelPrompts
from mitosam.progress import SilentProgress
from mitosam.training.losses import mask_iou
from mitosam.training.parts import choose_parts
from mitosam.training.settings import PromptMix, TrainingSettings
from mitosam.training.trainer import Trainer, train
from tests.full_disk import no_file_above
from tests.models.tiny_models import make_tiny_vit_sam
from tests.training.tiny_examples import (
    INPUT_PX,
    disc_labels,
    embedding_shape,
    make_example,
    make_examples,
)

SETTINGS = TrainingSettings(
    parts=("mask_decoder",),
    epochs=1,
    min_steps=12,
    validations=3,
    prompts_per_tile=3,
    learning_rate=1e-3,
    max_corrections=0,
)
EXAMPLES = make_examples(4)
VALIDATION = make_examples(2, start=50)


def make_trainer(settings, model=None, validation=()):
    model = model or make_model()
    parts = choose_parts(model, settings, seed=0)
    return Trainer(model, parts, EXAMPLES, validation, settings, seed=0)


class Killer(SilentProgress):
    """Progress that stops the run when it has handed out some steps."""

    def __init__(self, after: int) -> None:
        self.after = after

    def track(self, items, description, *, total=None, unit="it"):
        for number, item in enumerate(items):
            if number == self.after:
                raise KeyboardInterrupt
            yield item


def make_model():
    return make_tiny_vit_sam(0, INPUT_PX)


def run(folder, *, model=None, settings=SETTINGS, seed=0, validation=VALIDATION, **changes):
    model = model or make_model()
    result = train(
        model,
        choose_parts(model, settings, seed=seed),
        changes.pop("examples", EXAMPLES),
        validation,
        settings,
        seed=seed,
        checkpoint=folder / "checkpoint.safetensors",
        **changes,
    )
    return model, result


def weights(model, part=""):
    return {
        name: tensor.clone()
        for name, tensor in model.state_dict().items()
        if name.startswith("mask_decoder.") == (part == "mask_decoder")
    }


def equal(first, second):
    return first.keys() == second.keys() and all(
        torch.equal(tensor, second[name]) for name, tensor in first.items()
    )


def without_seconds(curve):
    """NaN as text, so that two of them are equal."""
    return [str({k: v for k, v in dataclasses.asdict(p).items() if k != "seconds"}) for p in curve]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    model, result = run(tmp_path_factory.mktemp("undisturbed"))
    return weights(model, "mask_decoder"), result


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


@pytest.mark.parametrize("after", [0, 3, 4, 7, 11])
def test_a_killed_run_goes_on_to_the_same_weights_and_curve(tmp_path, undisturbed, after):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, progress=Killer(after))
    model, result = run(tmp_path)
    assert equal(weights(model, "mask_decoder"), undisturbed[0])
    assert without_seconds(result.curve) == without_seconds(undisturbed[1].curve)
    assert (result.best_step, result.num_steps) == (undisturbed[1].best_step, 12)


def test_a_run_killed_many_times_comes_to_the_same_end(tmp_path, undisturbed):
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, progress=Killer(5))
    model, result = run(tmp_path)
    assert equal(weights(model, "mask_decoder"), undisturbed[0])
    assert without_seconds(result.curve) == without_seconds(undisturbed[1].curve)


def test_a_run_killed_after_its_last_step_is_finished_without_another(tmp_path, undisturbed):
    run(tmp_path)
    model, result = run(tmp_path, progress=Killer(0))
    assert equal(weights(model, "mask_decoder"), undisturbed[0])
    assert without_seconds(result.curve) == without_seconds(undisturbed[1].curve)


def test_a_checkpoint_of_other_settings_or_data_is_refused_and_stays(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, fingerprint="a", progress=Killer(5))
    before = (tmp_path / "checkpoint.safetensors").read_bytes()
    with pytest.raises(SettingsError, match=r"other settings or data; choose another --out"):
        run(tmp_path, fingerprint="b")
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"\xff" * 50, None])
def test_a_damaged_checkpoint_is_an_error_with_a_way_out(tmp_path, content):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, progress=Killer(5))
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:-1] if content is None else content)
    with pytest.raises(ModelError, match=r"is damaged .* remove it to train anew"):
        run(tmp_path)


def test_a_flipped_bit_of_the_last_checkpoint_costs_the_steps_since_the_one_before(
    tmp_path, undisturbed, caplog
):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, progress=Killer(9))
    path, previous = (tmp_path / f"checkpoint{n}.safetensors" for n in ("", ".previous"))
    content = bytearray(path.read_bytes())
    content[-40] ^= 1
    path.write_bytes(content)
    assert previous.exists()
    model, _ = run(tmp_path)
    assert "going on from checkpoint.previous.safetensors" in caplog.text
    assert equal(weights(model, "mask_decoder"), undisturbed[0])


def test_two_damaged_checkpoints_are_an_error_that_names_both(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, progress=Killer(9))
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ModelError, match=r"remove checkpoint.safetensors and checkpoint\.prev"):
        run(tmp_path)


def test_a_kill_between_the_two_names_of_a_checkpoint_costs_nothing_but_steps(
    tmp_path, undisturbed
):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, progress=Killer(9))
    (tmp_path / "checkpoint.safetensors").unlink()
    model, _ = run(tmp_path)
    assert equal(weights(model, "mask_decoder"), undisturbed[0])


def test_a_full_disk_stops_training_with_a_clear_error_and_keeps_the_last_state(
    tmp_path, undisturbed
):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, progress=Killer(5))
    with no_file_above(10_000), pytest.raises(StorageError, match="free some space"):
        run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.safetensors"]
    model, _ = run(tmp_path)
    assert equal(weights(model, "mask_decoder"), undisturbed[0])


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


def test_going_on_with_no_time_left_adds_nothing_to_the_curve(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, progress=Killer(5))
    _, result = run(tmp_path, seconds_left=0.0)
    assert [point.step for point in result.curve] == [4]
    assert result.stopped_by_budget


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
    plain = SETTINGS.model_copy(update={"ema_decay": 0.0})
    trainer = make_trainer(plain)
    trainer.step(0, 0.5)
    for mean, live in zip(
        trainer._state.averaged.parameters(), trainer._live.parameters(), strict=True
    ):
        assert torch.equal(mean, live)


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


CORRECTING = SETTINGS.model_copy(update={"max_corrections": 2, "corrected_share": 1.0})


def test_corrections_teach_what_plain_prompts_do_not(tmp_path, undisturbed):
    model, _ = run(tmp_path, settings=CORRECTING)
    assert not equal(weights(model, "mask_decoder"), undisturbed[0])
    assert equal(weights(model), weights(make_model()))


def test_a_killed_run_with_corrections_goes_on_to_the_same_weights(tmp_path):
    expected, _ = run(tmp_path / "undisturbed", settings=CORRECTING)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, settings=CORRECTING, progress=Killer(7))
    model, _ = run(tmp_path, settings=CORRECTING)
    assert equal(weights(model), weights(expected))
    assert equal(weights(model, "mask_decoder"), weights(expected, "mask_decoder"))


def test_the_first_answer_of_a_step_is_the_same_with_corrections_or_without():
    plain = make_trainer(SETTINGS)
    correcting = make_trainer(CORRECTING)
    assert correcting.step(0, 0.5) == plain.step(0, 0.5)


POINTS = SETTINGS.model_copy(
    update={"prompt_mix": PromptMix(patch_box=0, object_box=0, object_point=1)}
)


@pytest.mark.parametrize(("weight", "learn"), [(0.5, True), (0.0, False)])
def test_candidates_learn_from_single_points_if_they_are_to(tmp_path, weight, learn):
    settings = POINTS.model_copy(update={"candidates_weight": weight})
    model, _ = run(tmp_path, settings=settings)
    before, after = weights(make_model(), "mask_decoder"), weights(model, "mask_decoder")
    changed = [
        any(not torch.equal(before[name], after[name]) for name in names)
        for names in (
            [n for n in before if f"output_hypernetworks_mlps.{number}." in n]
            for number in range(4)
        )
    ]
    assert changed[0]
    assert any(changed[1:]) == learn  # the best of the three learns


@pytest.mark.parametrize(("weight", "learn"), [(1.0, True), (0.0, False)])
def test_the_predicted_iou_learns_if_it_is_to(tmp_path, weight, learn):
    settings = SETTINGS.model_copy(update={"iou_weight": weight})
    model, _ = run(tmp_path, settings=settings)
    before, after = weights(make_model(), "mask_decoder"), weights(model, "mask_decoder")
    names = [name for name in before if "iou_prediction_head" in name]
    assert names
    assert any(not torch.equal(before[name], after[name]) for name in names) == learn


def test_predicted_iou_comes_nearer_to_the_true_one(tmp_path):
    """On what it sees, a trained prediction errs less than an untrained one."""
    keen = SETTINGS.model_copy(
        update={"min_steps": 120, "iou_weight": 1.0, "learning_rate": 3e-3, "validations": 1}
    )
    trained, _ = run(tmp_path, settings=keen, validation=[])

    def error(model) -> float:
        trainer = make_trainer(keen, model)
        errors = []
        for example in EXAMPLES:
            for group in trainer._sampler.every(example, "object_box"):
                decoded = model.decode(trainer._embedding(example), group.prompts)
                logits = decoded.low_res_logits[0, :, 0]
                truth = mask_iou(group.crop(logits), group.targets)
                errors.append((decoded.iou_predictions[0, :, 0] - truth).abs())
        return float(torch.cat(errors).mean())

    with torch.no_grad():
        assert error(trained) < 0.5 * error(make_model())


@pytest.mark.parametrize(("share", "learn"), [(1.0, True), (0.0, False)])
def test_corrected_prompts_come_with_the_mask_they_correct(tmp_path, share, learn):
    settings = CORRECTING.model_copy(
        update={"mask_share": share, "parts": ("mask_decoder", "prompt_encoder")}
    )
    model, _ = run(tmp_path, settings=settings)
    before, after = make_model().prompt_encoder, model.prompt_encoder
    pairs = zip(before.mask_embed.parameters(), after.mask_embed.parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in pairs) == learn


def test_prompts_with_masks_of_their_own_are_answered_as_if_each_came_alone():
    model = make_model()
    generator = torch.Generator().manual_seed(0)
    embedding = torch.randn(1, *embedding_shape(), generator=generator)
    masks = torch.randn(1, 3, 16, 16, generator=generator)
    points = 60 * torch.rand(1, 3, 2, 2, generator=generator)
    labels = torch.tensor([[[1, 0], [1, 1], [0, 1]]])
    with torch.no_grad():
        together = decode_each(
            model, embedding, ModelPrompts(points=points, labels=labels, masks=masks), "all"
        )
        for i in range(3):
            own = slice(i, i + 1)
            alone = model.decode_outputs(
                embedding,
                ModelPrompts(points=points[:, own], labels=labels[:, own], masks=masks[:, own]),
                "all",
            )
            torch.testing.assert_close(together.low_res_logits[:, own], alone.low_res_logits)
            torch.testing.assert_close(together.iou_predictions[:, own], alone.iou_predictions)


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
