from __future__ import annotations

import numpy as np
import pytest
import torch

from mitosam.geometry import ModelFrame
from mitosam.inference.decode import decode_prompts, turns
from mitosam.models.promptable import ModelPrompts
from mitosam.prompts import Prompts
from tests.models.tiny_models import make_tiny_vit_sam

BOX = np.array([[4.0, 4.0, 30.0, 30.0]])
FRAME = ModelFrame((0, 0), 64, 64)


def prompt(*labels: int, box: bool = False) -> Prompts:
    points = np.array([[[5.0 + 7 * i, 9.0 + 5 * i] for i in range(len(labels))]])
    if not labels:
        return Prompts(boxes_xyxy=BOX)
    return Prompts(
        boxes_xyxy=BOX if box else None, points_xy=points, point_labels=np.array([labels])
    )


@pytest.mark.parametrize(
    ("labels", "box", "lengths"),
    [
        ((), True, [0]),
        ((1,), False, [1]),
        ((1,), True, [0, 1]),
        ((1, 0, 1), False, [1, 2, 3]),
        ((0, 1, 1), False, [2, 3]),
        ((0, 0), True, [0, 1, 2]),
        ((0, 0), False, [2]),
    ],
)
def test_a_prompt_begins_with_its_box_or_its_first_positive_point(labels, box, lengths):
    begun = turns(prompt(*labels, box=box))
    assert [0 if p.points_xy is None else p.points_xy.shape[1] for p in begun] == lengths
    assert all((p.boxes_xyxy is not None) == box for p in begun)


@pytest.fixture
def model():
    return make_tiny_vit_sam(0, 64).eval()


@pytest.fixture
def embedding(model):
    generator = torch.Generator().manual_seed(2)
    return torch.randn(1, *model.embedding_shape, generator=generator)


def decode(model, embedding, prompts, **how):
    return decode_prompts(model, embedding, prompts, FRAME, (64, 64), outputs="all", **how)


def test_each_point_corrects_the_mask_of_those_before_it(model, embedding):
    first = decode(model, embedding, prompt(1)).low_res_logits[0, :1]
    second = decode(model, embedding, prompt(1, 0), mask_input=first).low_res_logits[0, :1]
    third = decode(model, embedding, prompt(1, 0, 1), mask_input=second)
    whole = decode(model, embedding, prompt(1, 0, 1))
    assert np.array_equal(whole.low_res_logits, third.low_res_logits)
    asked = ModelPrompts.from_section(prompt(1, 0, 1), FRAME)
    with torch.no_grad():
        at_once = model.decode_outputs(embedding, asked, "all").low_res_logits.numpy()
    assert not np.allclose(whole.low_res_logits, at_once)


def test_kept_answers_change_nothing_and_save_the_turns_before(model, embedding, monkeypatch):
    kept: dict[bytes, np.ndarray] = {}
    decode(model, embedding, prompt(1, 0), earlier=kept)
    asked = []
    original = model.decode_outputs
    monkeypatch.setattr(model, "decode_outputs", lambda *a: (asked.append(a[-1]), original(*a))[1])
    again = decode(model, embedding, prompt(1, 0, 1), earlier=kept)
    assert asked == ["single", "all"]  # the first two points' mask, and the answer
    fresh = decode(model, embedding, prompt(1, 0, 1))
    assert np.array_equal(again.low_res_logits, fresh.low_res_logits)


def test_another_frame_or_prompt_is_another_answer(model, embedding):
    kept: dict[bytes, np.ndarray] = {}
    decode(model, embedding, prompt(1, 1), earlier=kept)
    decode(model, embedding, prompt(1, 1, box=True), earlier=kept)
    moved = Prompts(points_xy=np.array([[[6.0, 9.0], [20.0, 20.0]]]), point_labels=np.ones((1, 2)))
    decode(model, embedding, moved, earlier=kept)
    frame = ModelFrame((0, 0), 32, 64)
    decode_prompts(model, embedding, prompt(1, 1), frame, (32, 32), outputs="single", earlier=kept)
    assert len(kept) == 5  # one each, and two of the box with two points


def test_many_prompts_of_several_points_are_answered_as_if_each_came_alone(model, embedding):
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 64, (3, 2, 2))
    labels = np.array([[1, 0], [1, 1], [1, 0]])
    together = decode(model, embedding, Prompts(points_xy=points, point_labels=labels))
    for i in range(3):
        own = Prompts(points_xy=points[i : i + 1], point_labels=labels[i : i + 1])
        assert np.array_equal(together.masks[i], decode(model, embedding, own).masks[0])
