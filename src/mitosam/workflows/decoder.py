"""Encode the training tiles and teach parts of the model on them."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mitosam import __version__
from mitosam.config import RunSettings
from mitosam.errors import InputError
from mitosam.models.frontier import Frontier
from mitosam.models.lora import ADAPTER_SUFFIXES, lora_layers, merge_lora
from mitosam.models.promptable import Promptable, hash_weights
from mitosam.models.tuned import (
    TunedInfo,
    load_tuned,
    read_tuned_info,
    save_tuned,
    tuned_names,
)
from mitosam.progress import SILENT, Progress
from mitosam.ranks import Ranks, current
from mitosam.storage import sha256_of_file
from mitosam.training.checkpoint import remove_checkpoint
from mitosam.training.examples import TileExample
from mitosam.training.loop import TrainingResult
from mitosam.training.parts import ChosenParts, choose_parts
from mitosam.training.trainer import train as train_parts
from mitosam.workflows.curves import write_curve
from mitosam.workflows.models import LoadedModel, load_base, open_feature_cache
from mitosam.workflows.runs import Run
from mitosam.workflows.tiles import (
    SectionTile,
    cached_examples,
    draw_views,
    pixel_examples,
    tiles_of,
    tiles_with_mitochondria,
)
from mitosam.workflows.time_and_machine import now
from mitosam.workflows.tuned_model import common_pixel_nm


def train_decoder(
    run: Run,
    model: LoadedModel | None = None,
    *,
    start_from: Path | None = None,
    seconds_left: float = math.inf,
    progress: Progress = SILENT,
) -> TrainingResult:
    """Teach the run's parts of the model and write `model.safetensors` and `training.csv`.

    It begins with the base model's weights, or with those of the tuned model `start_from`.

    Raises
    ------
    ModelError
        `start_from` was tuned from another base model.
    SettingsError
        The model has no such part.
    """
    started, ranks = time.monotonic(), current()
    model = model or load_base(run.settings)
    tiles = run.settings.training.batch_tiles
    if ranks.count > tiles:
        progress.say(
            f"of {ranks.count} processes {tiles} can train: training.batch_tiles={tiles} tiles "
            "make a step; set it to a multiple of the number of processes"
        )
    if start_from is not None:
        load_tuned(start_from, model.sam)
    parts = choose_parts(model.sam, run.settings.training, seed=run.settings.seed)
    train, validation = read_training_data(run, model, parts, progress)
    result = train_parts(
        model.sam,
        parts,
        train,
        validation,
        run.settings.training,
        seed=run.settings.seed,
        checkpoint=run.checkpoint,
        fingerprint=run.fingerprint(model.sam.weights_hash) + hash_start(start_from),
        seconds_left=seconds_left - (time.monotonic() - started),
        progress=progress,
    )
    adapters = _merge_adapters(model.sam, parts)

    def save() -> None:
        run.record(_arithmetic(ranks))
        _save(run, model.sam, parts, adapters, result, start_from)

    ranks.led(save)
    return result


def _arithmetic(ranks: Ranks) -> dict[str, Any]:
    """What the last digits of the weights depend on, beside data, seed, settings and versions."""
    return {
        "processes": ranks.count,
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
    }


def hash_start(start_from: Path | None) -> str:
    """What tells trainings apart that begin with different weights."""
    return "" if start_from is None else f" {sha256_of_file(start_from)}"


def read_training_data(
    run: Run, model: LoadedModel, parts: ChosenParts, progress: Progress
) -> tuple[list[TileExample], list[TileExample]]:
    """The run's training and validation examples, encoded as far as nothing is trained."""
    train_tiles, validation_tiles = training_tiles(run)
    if not train_tiles:
        raise InputError(
            "no mitochondria in the sections to train on; choose other sections with [split]"
        )
    both = [*train_tiles, *validation_tiles]
    examples = examples_before(parts.frontier, both, model, run.settings, progress)
    return examples[: len(train_tiles)], examples[len(train_tiles) :]


def examples_before(
    frontier: Frontier,
    tiles: Sequence[SectionTile],
    model: LoadedModel,
    settings: RunSettings,
    progress: Progress,
) -> list[TileExample]:
    """Examples whose features are what the encoder computes before `frontier`."""
    if not frontier.is_cacheable:
        return pixel_examples(tiles, model.sam, settings.data)
    cache = open_feature_cache(model.sam, frontier, settings.cache)
    return cached_examples(tiles, cache, model.sam.input_px, settings.data, progress)


def training_tiles(run: Run) -> tuple[list[SectionTile], list[SectionTile]]:
    """The tiles with mitochondria to train on, and those to validate on."""
    settings, training = run.settings.data, run.settings.training
    train_tiles: list[SectionTile] = []
    validation_tiles: list[SectionTile] = []
    for number, part in enumerate(run.parts()):
        plain = tiles_of(part.volume, part.split.train, settings)
        if training.augment and plain:
            count = max(round(training.views_per_tile * len(plain)), training.min_views)
            # Each volume draws its own; the first as a volume alone always did.
            rng = np.random.default_rng([run.settings.seed, 2, *([number] if number else [])])
            changes = run.settings.augmentation
            plain = draw_views(part.volume, part.split.train, settings, count, rng, changes)
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


def _merge_adapters(sam: Promptable, parts: ChosenParts) -> dict[str, Tensor]:
    """The low-rank adapters that were trained, which are part of the model's weights from now."""
    adapters = {
        name: tensor.clone()
        for name, tensor in parts.trained.named().items()
        if name.endswith(ADAPTER_SUFFIXES)
    }
    if adapters:
        merge_lora(sam)
        sam.adapters_hash = hash_weights(adapters.items())
    return adapters


def _save(
    run: Run,
    sam: Promptable,
    parts: ChosenParts,
    adapters: dict[str, Tensor],
    result: TrainingResult,
    start_from: Path | None,
) -> None:
    settings, volume = run.settings, run.parts()[0].volume
    write_curve(run, run.training_curve, result.curve)
    earlier = _changed_before(sam, start_from)
    info = TunedInfo(
        base_name=settings.model.name,
        base_hash=sam.weights_hash,
        normalisation=volume.normalisation.to_dict(),
        tile_px=settings.data.tile_side_px,
        input_px=sam.input_px,
        pixel_nm=common_pixel_nm(part.volume.voxel_size_nm for part in run.parts()),
        trained_parts=parts.parts,
        lora=settings.training.lora if adapters else None,
        settings_toml=settings.to_toml(),
        scores=_best_scores(result),
        created=now(),
        mitosam_version=__version__,
    )
    run.record(
        {
            "base_model": settings.model.name,
            "base_model_hash": sam.weights_hash,
            "precision": sam.precision,
            "device": str(sam.device),
            "trained_parts": list(parts.parts),
            "trained_parameters": sum(p.numel() for p in parts.trained.parameters()),
            "steps": result.num_steps,
            "best_step": result.best_step,
            "stopped_by_budget": result.stopped_by_budget,
            "trained": now(),
        }
    )
    names = sorted({*parts.names, *earlier})
    save_tuned(run.tuned_weights, sam, info, names, adapters)  # last: its presence means trained
    remove_checkpoint(run.checkpoint)


def _changed_before(sam: Promptable, start_from: Path | None) -> set[str]:
    """Weights that the tuned model a training began with had changed, as names in `sam`."""
    if start_from is None:
        return set()
    info = read_tuned_info(start_from)
    names = {name for name in tuned_names(start_from) if not name.endswith(ADAPTER_SUFFIXES)}
    if info.lora is not None:  # they were merged, so the whole layers are kept
        names |= {f"{layer}.weight" for layer in lora_layers(sam, info.lora)}
    return names
