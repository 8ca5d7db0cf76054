import copy

import numpy as np
import pytest
import torch

from mitosam.errors import InputError
from mitosam.models.head import Head, HeadShape
from mitosam.training.crops import SectionExample
from mitosam.training.head_settings import HeadSettings
from mitosam.training.head_trainer import HeadTrainer, train_head

SHAPE = HeadShape(
    section_offsets=(0,), embedding_channels=2, width=4, grey_mean=100.0, grey_std=40.0
)
SETTINGS = HeadSettings(
    steps=12, batch_crops=2, crop_px=32, validations=3, learning_rate=1e-2, width=4
)


def make_section(seed, shape_yx=(64, 64)):
    """Bright squares on a dark ground, which any network learns."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape_yx, np.uint16)
    for number in range(1, 4):
        y, x = rng.integers(0, 44, 2)
        labels[y : y + 18, x : x + 18] = number
    image = np.where(labels > 0, 190, 60) + rng.normal(0, 8, shape_yx)
    cells = rng.random((2, 8, 8), np.float32)
    return SectionExample(
        shape_yx=shape_yx,
        read_stack=lambda offsets: [image.astype(np.uint8) for _ in offsets],
        read_labels=lambda: labels,
        read_embedding=lambda w: cells[:, w.y : w.y + w.height, w.x : w.x + w.width],
    )


TRAIN = [make_section(seed) for seed in range(3)]
VALIDATION = [make_section(9)]


def make_head():
    torch.manual_seed(0)
    return Head(SHAPE)


def run(tmp_path, head, settings=SETTINGS, validation=VALIDATION, **options):
    return train_head(
        head,
        SHAPE,
        TRAIN,
        validation,
        settings,
        seed=0,
        precision="fp32",
        checkpoint=tmp_path / "checkpoint.safetensors",
        **options,
    )


def weights_of(head):
    return {name: tensor.clone() for name, tensor in head.state_dict().items()}


class KilledError(Exception):
    pass


class KillAt:
    """Progress that dies before a step."""

    def __init__(self, step):
        self.step = step

    def track(self, items, description, *, total=None, unit="it"):
        for number, item in enumerate(items):
            if number == self.step:
                raise KilledError
            yield item

    def say(self, message):
        pass


def test_it_learns_bright_squares(tmp_path):
    head = make_head()
    result = run(tmp_path, head, SETTINGS.model_copy(update={"steps": 80}))
    assert result.num_steps == 80
    assert max(point.validation_iou for point in result.curve) > 0.8
    assert not head.training


def test_a_killed_training_ends_at_the_same_weights(tmp_path):
    whole = make_head()
    run(tmp_path / "whole", whole)
    stopped = make_head()
    with pytest.raises(KilledError):
        run(tmp_path, stopped, progress=KillAt(6))
    resumed = make_head()
    run(tmp_path, resumed)
    for name, tensor in weights_of(whole).items():
        assert torch.equal(tensor, weights_of(resumed)[name]), name


def test_the_running_statistics_are_averaged_and_kept(tmp_path):
    head = make_head()
    before = weights_of(head)
    run(tmp_path, head)
    moved = [
        n for n, t in weights_of(head).items() if "running_mean" in n and t.ne(before[n]).any()
    ]
    assert moved


def test_the_same_seed_gives_the_same_weights_and_another_other_ones():
    heads = [make_head() for _ in range(3)]
    for head, seed in zip(heads, (0, 0, 1), strict=True):
        trainer = HeadTrainer(head, SHAPE, TRAIN, [], SETTINGS, seed=seed, precision="fp32")
        torch.manual_seed(0)
        trainer.step(0, 0.5)
    one, same, other = (weights_of(head)["out.weight"] for head in heads)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_no_time_at_all_still_leaves_a_head(tmp_path):
    head = make_head()
    result = run(tmp_path, head, seconds_left=0.0)
    assert result.stopped_by_budget
    assert result.num_steps == 0


def test_without_validation_the_last_weights_are_kept(tmp_path):
    result = run(tmp_path, make_head(), validation=[])
    assert result.best_step == SETTINGS.steps
    assert all(np.isnan(point.validation_iou) for point in result.curve)


def test_the_best_validated_weights_are_left(tmp_path):
    head = make_head()
    wild = SETTINGS.model_copy(update={"learning_rate": 0.3, "schedule": "constant"})
    result = run(tmp_path, head, wild)
    best = max(point.validation_iou for point in result.curve)
    trainer = HeadTrainer(
        copy.deepcopy(head), SHAPE, TRAIN, VALIDATION, wild, seed=0, precision="fp32"
    )
    assert trainer.score_validation().iou == pytest.approx(best)


def test_nothing_to_train_on_is_said(tmp_path):
    with pytest.raises(InputError, match="at least one section"):
        HeadTrainer(make_head(), SHAPE, [], [], SETTINGS, seed=0, precision="fp32")
