"""Teach a model with a few sections that were just finished, quickly, and without scoring it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from mitosam.config import RunSettings, override_settings
from mitosam.data.intensity import Normalisation
from mitosam.errors import InputError
from mitosam.models.tuned import read_tuned_info, update_info
from mitosam.progress import SILENT, Progress
from mitosam.training.teaching_settings import TeachingSettings
from mitosam.workflows.automatic import AutomaticInfo
from mitosam.workflows.automatic_model import save_info
from mitosam.workflows.evaluate_automatic import calibrate_own
from mitosam.workflows.models import load_base
from mitosam.workflows.prepare import Sources, prepare
from mitosam.workflows.runs import Run
from mitosam.workflows.train import train

MIN_SECTIONS_TO_VALIDATE = 4


def teach(
    sources: Sources,
    out: Path,
    settings: RunSettings,
    *,
    start_from: Path | None = None,
    normalisation: Normalisation | None = None,
    progress: Progress = SILENT,
) -> Run:
    """A run that was trained on all sections of `sources`; `model.safetensors` is in it.

    With four sections or more the last one only chooses the best step and the thresholds. A model
    that begins as the tuned one in the file `start_from` keeps that one's thresholds. Where the
    images were brought to 8 bits already, `normalisation` says how, and the model will do the same.

    Raises
    ------
    InputError
        No section has a mitochondrion.
    ModelError
        `start_from` was tuned from another base model than `settings` name.
    """
    quick = _quick(settings.teaching, from_base=start_from is None)
    run = prepare(sources, out, override_settings(settings, quick), progress=progress)
    model = load_base(run.settings)
    train(run, model, start_from=start_from, progress=progress)
    if start_from is not None:
        save_info(run, AutomaticInfo.parse(read_tuned_info(start_from).automatic_json))
    else:
        calibrate_own(run, model, progress)
    if normalisation is not None:
        info = read_tuned_info(run.tuned_weights)
        told = {"normalisation": normalisation.to_dict()}
        update_info(run.tuned_weights, info.model_copy(update=told))
    return run


def _quick(settings: TeachingSettings, *, from_base: bool) -> tuple[str, ...]:
    """Settings of training and head that let a user wait for it, for this volume alone."""
    steps = settings.steps_from_base if from_base else settings.steps
    head_steps = settings.head_steps_from_base if from_base else settings.head_steps
    common = (
        *("training.epochs=1", f"training.min_steps={steps}", "training.validations=3"),
        *(f"training.min_views={settings.views}", f"head.steps={head_steps}"),
        *("head.validations=3", 'head.rival="none"', "training.base_share=0"),
        f"training.parts={json.dumps(settings.parts)}",
    )
    if from_base:
        return common
    return (
        *common,
        f"training.learning_rate={settings.learning_rate}",
        f"head.learning_rate={settings.head_learning_rate}",
    )


def split_of(num_sections: int) -> tuple[str, ...]:
    """Settings by which all sections but perhaps the last are trained on.

    >>> split_of(3), split_of(4)
    (('split.kind=given', 'split.train="1-3"'), ('split.kind=given', 'split.train="1-3"', \
'split.validation="4"'))

    Raises
    ------
    InputError
        There is none.
    """
    if num_sections < 1:
        raise InputError("nothing to teach with; finish a section first")
    if num_sections < MIN_SECTIONS_TO_VALIDATE:
        return "split.kind=given", f'split.train="1-{num_sections}"'
    train_only = f'split.train="1-{num_sections - 1}"'
    return "split.kind=given", train_only, f'split.validation="{num_sections}"'


def teaching_settings(
    settings: RunSettings, num_sections: int, overrides: Sequence[str] = ()
) -> RunSettings:
    """The settings of a run on so many finished sections."""
    return override_settings(settings, [*split_of(num_sections), *overrides])
