"""Clicks that correct while training: where they go, and that they teach."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from mitosam.models.promptable import ModelPrompts
from mitosam.training.corrections import corrected

BOXES = ModelPrompts(boxes=torch.tensor([[[0.0, 0, 64, 64], [0, 0, 64, 64]]]))


def logits_of(masks: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.where(masks, 5.0, -5.0)).float()


@given(st.integers(0, 10_000))
def test_each_click_lies_on_a_mistake_and_says_what_is_true(seed):
    rng = np.random.default_rng(seed)
    predicted, truth = rng.random((2, 2, 16, 16)) < 0.5
    asked = corrected(
        BOXES, logits_of(predicted), torch.from_numpy(truth).float(), rng, input_px=64
    )
    assert asked.points.shape == (1, 2, 1, 2)
    for prompt in range(2):
        x, y = (int(value // 4) for value in asked.points[0, prompt, 0])
        assert truth[prompt, y, x] == bool(asked.labels[0, prompt, 0])
        assert predicted[prompt, y, x] != truth[prompt, y, x]


def test_a_second_click_stands_after_the_first_and_the_box_stays():
    rng = np.random.default_rng(0)
    truth = np.zeros((2, 16, 16), bool)
    truth[:, 4:9, 4:9] = True
    targets, nothing = torch.from_numpy(truth).float(), logits_of(truth & False)
    once = corrected(BOXES, nothing, targets, rng, input_px=64)
    twice = corrected(once, nothing, targets, rng, input_px=64)
    assert twice.points.shape == (1, 2, 2, 2)
    torch.testing.assert_close(twice.points[:, :, :1], once.points)
    assert twice.boxes is BOXES.boxes


def test_where_nothing_is_wrong_the_click_lies_on_the_object():
    rng = np.random.default_rng(0)
    truth = np.zeros((2, 16, 16), bool)
    truth[:, 4:9, 4:9] = True
    targets = torch.from_numpy(truth).float()
    asked = corrected(BOXES, logits_of(truth), targets, rng, input_px=64)
    assert asked.labels.tolist() == [[[1], [1]]]
    assert ((asked.points >= 16) & (asked.points <= 36)).all()
