"""The stages of a run and the presets of parts, each with its share of the work."""

from __future__ import annotations

from dataclasses import dataclass

from mitosam.config import RunSettings
from mitosam.training.settings import TrainingSettings
from mitosam.workflows.plan_parts import PartsTiming, PlannedPreset
from mitosam.workflows.plan_timing import Timing
from mitosam.workflows.plan_work import Work

REPORT_S = 10.0
# Of scoring without prompts: how many finds the mask decoder is asked of, and what it takes to make
# instances of maps and to score them.
OBJECTS_PER_SECTION, LABEL_S = 15, 0.5
ENCODE, TRAIN = "encode", "train"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStage:
    """One stage's share of the work."""

    name: str
    amount: str
    seconds: float


def planned_stages(settings: RunSettings, work: Work, timing: Timing) -> tuple[PlannedStage, ...]:
    """All stages, in the order in which a run goes through them."""
    num_tiles, questions = work.num_tiles, work.questions
    steps = training_steps(settings.training, work)
    return (
        PlannedStage(name=ENCODE, amount=f"{num_tiles} tiles", seconds=num_tiles * timing.encode_s),
        PlannedStage(
            name="score base and tuned model",
            amount=f"2 x {round(questions)} prompts",
            seconds=2 * questions * timing.answer_s,
        ),
        PlannedStage(
            name=TRAIN,
            amount=f"{round(steps)} steps",
            seconds=steps * timing.step_s + settings.training.validations * timing.validation_s,
        ),
        *_head_stages(settings, work, timing),
        PlannedStage(name="report", amount="1 page", seconds=REPORT_S),
    )


def training_steps(training: TrainingSettings, work: Work) -> float:
    """Optimiser steps on the tiles of the training sections."""
    return max(training.epochs * work.train_tiles / training.batch_tiles, training.min_steps)


def planned_preset(
    measured: PartsTiming,
    settings: RunSettings,
    work: Work,
    timing: Timing,
    *,
    embedding_bytes: int,
    head_peak_bytes: int,
) -> PlannedPreset:
    """A whole run in which the encodings and steps take what was measured of one preset.

    `embedding_bytes` is a tile's embedding in the cache, and `head_peak_bytes` the memory that
    training the head takes, whatever the preset.
    """
    training = settings.training
    validation_s = training.validations * timing.validation_s
    stages = planned_stages(settings, work, timing)
    rest_s = sum(one.seconds for one in stages if one.name not in (ENCODE, TRAIN)) + validation_s
    # What is scored is encoded by the base model and, if its encoder was trained, once more.
    scored_s = work.other_tiles * (2 if measured.retrains_encoder else 1) * timing.encode_s
    encoding_s = work.train_tiles * measured.front_s + scored_s
    features = work.train_tiles * measured.features_bytes
    scored = (work.other_tiles + work.head_tiles) * embedding_bytes
    return PlannedPreset(
        preset=measured.preset,
        seconds=rest_s + encoding_s + training_steps(training, work) * measured.step_s,
        peak_memory_bytes=max(measured.peak_bytes, head_peak_bytes),
        cache_bytes=round(features + scored),
        refused=measured.refused,
    )


def _head_stages(settings: RunSettings, work: Work, timing: Timing) -> list[PlannedStage]:
    """Training and scoring without prompts."""
    head = settings.head
    if not head.enabled:
        return []
    tiles, sections = work.head_tiles, work.searched_sections
    crops = work.searched_px / (head.batch_crops * head.crop_px**2)
    # A forward pass is about a third of a training step.
    networks = (timing.head_step_s + timing.rival_step_s) / 3 * crops
    prompted = timing.answer_s * OBJECTS_PER_SECTION
    stages = [
        PlannedStage(
            name="encode for the head", amount=f"{tiles} tiles", seconds=tiles * timing.encode_s
        ),
        PlannedStage(
            name="train the head",
            amount=f"{head.steps} steps",
            seconds=head.steps * timing.head_step_s,
        ),
    ]
    if timing.rival_step_s:
        seconds = head.steps * timing.rival_step_s
        stages.append(
            PlannedStage(name="train its rival", amount=f"{head.steps} steps", seconds=seconds)
        )
    scoring = networks + sections * (prompted + LABEL_S)
    stages.append(
        PlannedStage(name="score without prompts", amount=f"{sections} sections", seconds=scoring)
    )
    return stages
