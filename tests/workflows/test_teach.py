"""Teaching with a few sections: where it begins, what it keeps, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mitosam.config import override_settings
from mitosam.errors import InputError, ModelError
from mitosam.models.tuned import read_tuned_info
from mitosam.models.weight_files import read_weights
from mitosam.workflows.prepare import Sources
from mitosam.workflows.teach import split_of, teach, teaching_settings
from mitosam.workflows.tuned_model import settings_of
from tests.tiny_runs import short_settings, write_model, write_stacks
from tests.tiny_segmenter import write_tuned

QUICK = (
    *("teaching.steps=2", "teaching.head_steps=2", "teaching.steps_from_base=2"),
    *("teaching.head_steps_from_base=2", "teaching.views=2", "teaching.learning_rate=1e-9"),
    *("teaching.head_learning_rate=1e-9", "head.enabled=true", "head.width=4", "head.crop_px=32"),
)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory, base_model):
    return write_tuned(tmp_path_factory.mktemp("tuned") / "model.safetensors", base_model)


def settings(base_model, num_sections):
    short = override_settings(short_settings(base_model), ["split.train=", "split.test="])
    return teaching_settings(override_settings(short, ["split.validation="]), num_sections, QUICK)


def test_a_taught_model_begins_as_the_tuned_one_and_keeps_its_thresholds(
    tmp_path, base_model, sources, tuned
):
    run = teach(sources, tmp_path / "run", settings(base_model, 4), start_from=tuned)
    before, after = read_weights(tuned), read_weights(run.tuned_weights)
    assert before.keys() == after.keys()
    for name, tensor in before.items():  # the learning rate is next to nothing
        if "running_" in name or "num_batches" in name:
            continue
        torch.testing.assert_close(after[name], tensor, rtol=0, atol=1e-3)
    assert read_tuned_info(run.tuned_weights).automatic_json == (
        read_tuned_info(tuned).automatic_json
    )


def test_a_base_model_is_taught_from_the_start(tmp_path, base_model, sources):
    run = teach(sources, tmp_path / "run", settings(base_model, 4))
    info = read_tuned_info(run.tuned_weights)
    assert info.head is not None
    assert info.automatic_json  # chosen on the last section
    assert settings_of(info).training.base_share == 0  # it is for this volume alone


@pytest.mark.parametrize("num_sections", [1, 2])
def test_one_section_is_enough(tmp_path, base_model, tuned, num_sections):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (num_sections, 64, 80), np.uint8)
    labels = np.zeros((num_sections, 64, 80), np.uint16)
    labels[:, 20:40, 20:50] = 3
    sources = write_stacks(tmp_path, images, labels)
    run = teach(sources, tmp_path / "run", settings(base_model, num_sections), start_from=tuned)
    assert run.tuned_weights.exists()


def test_a_model_of_another_base_is_refused(tmp_path, sources, tuned):
    other = write_model(tmp_path / "other", seed=9)
    with pytest.raises(ModelError, match="was tuned from"):
        teach(sources, tmp_path / "run", settings(other, 4), start_from=tuned)


def test_nothing_to_teach_with_is_refused():
    with pytest.raises(InputError, match="finish a section first"):
        split_of(0)


def test_sections_without_objects_are_refused(tmp_path, base_model):
    images = np.random.default_rng(0).integers(0, 255, (1, 64, 80), np.uint8)
    sources: Sources = write_stacks(tmp_path, images, np.zeros((1, 64, 80), np.uint16))
    with pytest.raises(InputError):
        teach(sources, tmp_path / "run", settings(base_model, 1))
