from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from mitosam.errors import ModelError
from mitosam.models.load import load_model
from mitosam.models.tuned import (
    HEAD_PREFIX,
    add_head,
    load_head,
    load_tuned,
    read_tuned_info,
    update_info,
)
from tests.models.tiny_models import decode_example, randomise
from tests.tiny_runs import write_model
from tests.tiny_segmenter import make_head, write_tuned


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture
def tuned(tmp_path, base):
    return write_tuned(tmp_path / "model.safetensors", base, with_head=False)


def answers(head):
    generator = torch.Generator().manual_seed(7)
    stack = 255 * torch.rand((2, 3, 32, 48), generator=generator)
    cells = torch.randn((2, head.shape.embedding_channels, 4, 6), generator=generator)
    with torch.inference_mode():
        return head(stack.contiguous(memory_format=torch.channels_last), cells)


def test_a_head_comes_back_as_it_was_and_ready_for_inference(tuned):
    head = make_head(1)
    randomise(head, seed=4)  # norms and biases too
    for name, buffer in head.named_buffers():
        if "running" in name:
            buffer.uniform_(0.5, 2)
    add_head(tuned, head)
    found = load_head(tuned)
    assert found.shape == head.shape
    assert not found.training
    assert not any(parameter.requires_grad for parameter in found.parameters())
    assert torch.equal(answers(found), answers(head.to(memory_format=torch.channels_last)))


def test_a_file_without_a_head_has_none(tuned):
    assert load_head(tuned) is None
    assert read_tuned_info(tuned).head is None


def test_a_head_changes_nothing_of_the_decoder(tuned, base):
    before = load_file(tuned)
    add_head(tuned, make_head())
    after = load_file(tuned)
    assert {n for n in after if not n.startswith(HEAD_PREFIX)} == set(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    model = load_model(str(base))
    expected = decode_example(model)
    assert load_tuned(tuned, model).head is not None
    assert torch.equal(decode_example(model), expected)


def test_another_head_takes_the_place_of_the_first_and_of_its_thresholds(tuned):
    add_head(tuned, make_head(1))
    update_info(tuned, read_tuned_info(tuned).model_copy(update={"automatic_json": "{}"}))
    second = make_head(2, embedding_channels=0, section_offsets=(0,))
    add_head(tuned, second)
    names = {name for name in load_file(tuned) if name.startswith(HEAD_PREFIX)}
    assert names == {f"{HEAD_PREFIX}{name}" for name in second.state_dict()}
    assert read_tuned_info(tuned).automatic_json == ""
    assert load_head(tuned).shape == second.shape


def test_what_the_file_says_is_replaced_and_its_weights_stay(tuned):
    add_head(tuned, make_head())
    before = load_file(tuned)
    info = read_tuned_info(tuned).model_copy(update={"automatic_json": '{"ä": 1}'})
    update_info(tuned, info)
    assert read_tuned_info(tuned) == info
    after = load_file(tuned)
    assert set(after) == set(before)
    assert all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize(
    "change", [{"width": 8}, {"embedding_channels": 0}, {"section_offsets": (0,)}]
)
def test_a_head_that_does_not_fit_its_shape_is_refused(tuned, change):
    head = make_head()
    add_head(tuned, head)
    info = read_tuned_info(tuned)
    wrong = info.model_copy(update={"head": head.shape.model_copy(update=change)})
    update_info(tuned, wrong)
    with pytest.raises(ModelError, match="head that does not fit its shape; train again"):
        load_head(tuned)


def test_a_head_is_stored_without_pickles(tuned):
    add_head(tuned, make_head())
    assert tuned.read_bytes()[8:9] == b"{"  # a safetensors header
    assert b"torch._utils" not in tuned.read_bytes()


def test_a_head_without_embedding_ignores_one():
    head = make_head(embedding_channels=0)
    stack = torch.rand(1, 3, 16, 16)
    assert torch.equal(head(stack, torch.ones(1, 5, 2, 2)), head(stack, None))


def test_an_embedding_of_another_grid_is_brought_to_the_heads():
    head = make_head(embedding_channels=2)
    stack = torch.rand(1, 3, 32, 32)
    even = torch.ones(1, 2, 4, 4)
    assert torch.allclose(head(stack, even), head(stack, torch.ones(1, 2, 8, 8)), atol=1e-5)
