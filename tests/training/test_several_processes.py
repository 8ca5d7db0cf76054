"""Two processes, started by torchrun, train as one does."""

import json
import math
import shutil

import pytest
from safetensors.torch import load_file

from mitosam.training.parts import choose_parts
from mitosam.training.trainer import Trainer
from tests.models.tiny_models import make_tiny_vit_sam
from tests.several_processes import run_together
from tests.training import shared_training
from tests.training.shared_training import EXAMPLES, SETTINGS, STOPPED_AT, run
from tests.training.tiny_examples import INPUT_PX
from tests.training.tiny_trainings import Killer

# Of these the gradient is 0 but for rounding, which Adam makes a step of; they change no result.
WITHOUT_EFFECT = "k_proj.bias"


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return run(tmp_path_factory.mktemp("alone"))


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    folder = tmp_path_factory.mktemp("together")
    stopped = folder / "resumed"
    with pytest.raises(KeyboardInterrupt):
        run(stopped, progress=Killer(STOPPED_AT))
    done = run_together(shared_training.__file__, folder)
    assert done.returncode == 0, done.stderr
    return folder


def assert_alike(curve, weights, expected):
    model, result = expected
    assert len(curve) == len(result.curve)
    for point, other in zip(curve, result.curve, strict=True):
        assert point["step"] == other.step
        assert point["loss"] == pytest.approx(other.loss, abs=1e-5)
        # A pixel may lie at the threshold.
        assert point["validation_dice"] == pytest.approx(other.validation_dice, abs=1e-3)
        assert point["learning_rate"] == other.learning_rate
    for name, tensor in model.state_dict().items():
        tolerance = 1e-3 if name.endswith(WITHOUT_EFFECT) else 1e-5
        assert (tensor - weights[name]).abs().max() < tolerance, name


@pytest.mark.parametrize("kind", ["plain", "accumulated", "resumed"])
def test_two_processes_train_as_one_does(together, alone, kind):
    facts = [json.loads((together / kind / f"{index}.json").read_text()) for index in range(2)]
    assert facts[0]["hash"] == facts[1]["hash"]
    assert_alike(facts[0]["curve"], load_file(together / kind / "weights.safetensors"), alone)


def test_one_process_goes_on_with_what_two_began(together, alone, tmp_path):
    name = "checkpoint.safetensors"
    shutil.copy(together / "left" / name, tmp_path / name)
    model, result = run(tmp_path)
    curve = [{name: getattr(point, name) for name in point.__slots__} for point in result.curve]
    assert_alike(curve, model.state_dict(), alone)


def test_the_clock_of_the_first_process_stops_all(together):
    for index in range(2):
        facts = json.loads((together / "stopped" / f"{index}.json").read_text())
        assert facts["stopped"]
        assert math.isnan(facts["curve"][0]["loss"])


def test_processes_share_work_agree_and_add_up(together):
    for index in range(2):
        facts = json.loads((together / f"facts-{index}.json").read_text())
        assert (facts["index"], facts["count"]) == (index, 2)
        assert facts["together"] == [0, 10, 20, 30, 40, 50, 60]
        assert facts["agreed"] == "of 0"
        assert facts["total"] == 3
        assert facts["led"] == [1, "alone"]
        assert facts["gradients"] == [0.5, [3.0, 6.0], [5.0, 6.0], True]


def gradients(settings):
    """The loss of one step and its gradients."""
    model = make_tiny_vit_sam(0, INPUT_PX)
    parts = choose_parts(model, settings, seed=0)
    trainer = Trainer(model, parts, EXAMPLES, (), settings, seed=0)
    loss = trainer.backward(0)
    return loss, {
        name: one.grad for name, one in parts.trained.named_parameters() if one.grad is not None
    }


def test_accumulated_gradients_are_those_of_the_whole():
    loss, expected = gradients(SETTINGS)
    for parts in (2, 99):
        again, found = gradients(SETTINGS.model_copy(update={"accumulate": parts}))
        assert again == pytest.approx(loss, abs=1e-6)
        assert found.keys() == expected.keys()
        for name, gradient in found.items():
            assert (gradient - expected[name]).abs().max() < 1e-6, name


def test_an_accumulated_training_has_the_curve_of_the_whole(tmp_path, alone):
    model, result = run(tmp_path, SETTINGS.model_copy(update={"accumulate": 2}))
    losses = [point.loss for point in result.curve]
    assert losses == pytest.approx([point.loss for point in alone[1].curve], abs=1e-6)
    for name, tensor in model.state_dict().items():  # Adam makes much of small gradients
        tolerance = 1e-3 if name.endswith(WITHOUT_EFFECT) else 1e-5
        assert (tensor - alone[0].state_dict()[name]).abs().max() < tolerance, name
