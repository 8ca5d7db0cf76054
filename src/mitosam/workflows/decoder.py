"""Encode the training tiles and teach the mask decoder on them."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mitosam import __version__
from mitosam.errors import InputError
from mitosam.io.tables import write_csv
from mitosam.models.tuned import TunedInfo, load_tuned, save_tuned
from mitosam.progress import SILENT, Progress
from mitosam.storage import sha256_of_file
from mitosam.training.examples import TileExample
from mitosam.training.loop import TrainingResult
from mitosam.training.trainer import train as train_mask_decoder
from mitosam.workflows.models import LoadedModel, load_base
from mitosam.workflows.runs import Run, now
from mitosam.workflows.tiles import (
    SectionTile,
    draw_views,
    encode_tiles,
    examples_of,
    tiles_of,
    tiles_with_mitochondria,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingData:
    """What a run trains and validates on."""

    train: list[TileExample]
    validation: list[TileExample]


def train_decoder(
    run: Run,
    model: LoadedModel | None = None,
    *,
    start_from: Path | None = None,
    seconds_left: float = math.inf,
    progress: Progress = SILENT,
) -> TrainingResult:
    """Teach the run's mask decoder and write `model.safetensors` and `training.csv`.

    It begins with the base model's weights, or with those of the tuned model `start_from`.

    Raises
    ------
    ModelError
        `start_from` was tuned from another base model.
    """
    started = time.monotonic()
    model = model or load_base(run.settings)
    if start_from is not None:
        load_tuned(start_from, model.sam)
    data = read_training_data(run, model, progress)
    result = train_mask_decoder(
        model.sam,
        data.train,
        data.validation,
        run.settings.training,
        seed=run.settings.seed,
        checkpoint=run.checkpoint,
        fingerprint=run.fingerprint(model.sam.weights_hash) + hash_start(start_from),
        seconds_left=seconds_left - (time.monotonic() - started),
        progress=progress,
    )
    _save(run, model, result)
    return result


def hash_start(start_from: Path | None) -> str:
    """What tells trainings apart that begin with different weights."""
    return "" if start_from is None else f" {sha256_of_file(start_from)}"


def read_training_data(run: Run, model: LoadedModel, progress: Progress) -> TrainingData:
    """The run's training and validation examples, encoded."""
    train_tiles, validation_tiles = training_tiles(run)
    if not train_tiles:
        raise InputError(
            "no mitochondria in the sections to train on; choose other sections with [split]"
        )
    both = [*train_tiles, *validation_tiles]
    keys = encode_tiles(both, model.cache, model.sam.input_px, progress)
    examples = examples_of(both, keys, model.cache, run.settings.data)
    return TrainingData(train=examples[: len(train_tiles)], validation=examples[len(train_tiles) :])


def training_tiles(run: Run) -> tuple[list[SectionTile], list[SectionTile]]:
    """The tiles with mitochondria to train on, and those to validate on."""
    settings, training = run.settings.data, run.settings.training
    train_tiles: list[SectionTile] = []
    validation_tiles: list[SectionTile] = []
    for part in run.parts():
        plain = tiles_of(part.volume, part.split.train, settings)
        if training.augment and plain:
            count = max(round(training.views_per_tile * len(plain)), training.min_views)
            rng = np.random.default_rng([run.settings.seed, 2])
            plain = draw_views(part.volume, part.split.train, settings, count, rng)
        train_tiles += plain
        validation_tiles += tiles_of(part.volume, part.split.validation, settings)
    return (
        tiles_with_mitochondria(train_tiles, settings),
        tiles_with_mitochondria(validation_tiles, settings),
    )


def _best_scores(result: TrainingResult) -> dict[str, float]:
    """Validation scores of the weights that are kept."""
    best = next(point for point in result.curve if point.step == result.best_step)
    scores = {"validation_dice": best.validation_dice, "validation_iou": best.validation_iou}
    return {name: score for name, score in scores.items() if math.isfinite(score)}


def _save(run: Run, model: LoadedModel, result: TrainingResult) -> None:
    sam, volume = model.sam, run.parts()[0].volume
    write_csv(run.training_curve, result.curve)
    info = TunedInfo(
        base_name=run.settings.model.name,
        base_hash=sam.weights_hash,
        normalisation=volume.normalisation.to_dict(),
        tile_px=run.settings.data.tile_px,
        trained_parts=("mask_decoder",),
        settings_toml=run.settings.to_toml(),
        scores=_best_scores(result),
        created=now(),
        mitosam_version=__version__,
    )
    names = [name for name, _ in sam.named_parameters() if name.startswith("mask_decoder.")]
    run.record(
        {
            "base_model": run.settings.model.name,
            "base_model_hash": sam.weights_hash,
            "precision": sam.precision,
            "device": str(sam.device),
            "steps": result.num_steps,
            "best_step": result.best_step,
            "stopped_by_budget": result.stopped_by_budget,
            "trained": now(),
        }
    )
    save_tuned(run.tuned_weights, sam, info, names)  # last: its presence means trained
    run.checkpoint.unlink(missing_ok=True)
