"""What the parts of the mask decoder learn, and from which answers."""

from __future__ import annotations

import pytest
import torch

from mitosam.training.losses import mask_iou
from mitosam.training.settings import PromptMix
from tests.training.tiny_trainings import (
    CORRECTING,
    EXAMPLES,
    SETTINGS,
    equal,
    make_model,
    make_trainer,
    run,
    weights,
)


def test_corrections_teach_what_plain_prompts_do_not(tmp_path, undisturbed):
    model, _ = run(tmp_path, settings=CORRECTING)
    assert not equal(weights(model, "mask_decoder"), undisturbed[0])
    assert equal(weights(model), weights(make_model()))


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
