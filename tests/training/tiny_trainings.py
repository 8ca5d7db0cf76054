"""Whole trainings of a tiny model in a second, and what there is to compare of them."""

from __future__ import annotations

import dataclasses

import torch

from mitosam.progress import SilentProgress
from mitosam.training.parts import choose_parts
from mitosam.training.settings import TrainingSettings
from mitosam.training.trainer import Trainer, train
from tests.models.tiny_models import make_tiny_vit_sam
from tests.training.tiny_examples import INPUT_PX, make_examples

SETTINGS = TrainingSettings(
    parts=("mask_decoder",),
    epochs=1,
    min_steps=12,
    validations=3,
    prompts_per_tile=3,
    learning_rate=1e-3,
    max_corrections=0,
)
CORRECTING = SETTINGS.model_copy(update={"max_corrections": 2, "corrected_share": 1.0})
EXAMPLES = make_examples(4)
VALIDATION = make_examples(2, start=50)


def make_trainer(settings, model=None, validation=()):
    model = model or make_model()
    parts = choose_parts(model, settings, seed=0)
    return Trainer(model, parts, EXAMPLES, validation, settings, seed=0)


class Killer(SilentProgress):
    """Progress that stops a training when it has handed out some steps."""

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
    """A model and its training."""
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
    """Copies of the mask decoder's weights, or of all others."""
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
