"""Train the prompt-free head of a run, on the embeddings its mask decoder was trained on."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import UInt8
from torch import nn

from mitosam.config import RunSettings
from mitosam.data.spacing import section_spacing_px
from mitosam.embeddings import Tile
from mitosam.errors import InputNotFoundError
from mitosam.geometry import ModelFrame, Window
from mitosam.inference.section_embedding import embedding_part, embedding_windows, pixels_of
from mitosam.models.head import Head, HeadShape
from mitosam.models.tuned import add_head, load_head, read_tuned_info
from mitosam.progress import SILENT, Progress
from mitosam.ranks import current
from mitosam.training.checkpoint import remove_checkpoint
from mitosam.training.crops import SectionExample
from mitosam.training.head_trainer import train_head as train_network
from mitosam.training.loop import TrainingResult
from mitosam.workflows.curves import write_curve
from mitosam.workflows.decoder import hash_start
from mitosam.workflows.encoding import encode_together
from mitosam.workflows.models import LoadedModel, load_base, with_tuned
from mitosam.workflows.runs import Part, Run
from mitosam.workflows.time_and_machine import now

NUM_SAMPLED_SECTIONS = 16


def train_head(
    run: Run,
    model: LoadedModel | None = None,
    *,
    start_from: Path | None = None,
    seconds_left: float = math.inf,
    progress: Progress = SILENT,
) -> TrainingResult | None:
    """Train a head and put it into the run's `model.safetensors`; None if there is one already.

    It reads the embeddings of `model`, by default of the one that `head.embedding_of` names.

    It begins with random weights, or with the head of the tuned model `start_from`, if that has
    one. A training that was killed goes on from its last validation and ends at the same weights.

    Raises
    ------
    InputNotFoundError
        The run's mask decoder is not trained yet.
    SettingsError
        The run only scores another run's model.
    """
    run.require_own_model()
    if not run.tuned_weights.exists():
        raise InputNotFoundError(
            f"{run.folder} is not trained yet; run `mitosam train {run.folder}` first"
        )
    if read_tuned_info(run.tuned_weights).head is not None:
        return None
    started = time.monotonic()
    model = model or model_for_head(run, start_from)
    head = (load_head(start_from) if start_from else None) or new_head(run, model)
    left = seconds_left - (time.monotonic() - started)
    result = train_pixel_network(
        run, model, head.requires_grad_(True).to(model.sam.device), head.shape, "head", left,
        progress, start_from=start_from,
    )  # fmt: skip
    write_curve(run, run.head_training_curve, result.curve)
    run.record(
        {"head_steps": result.num_steps, "head_best_step": result.best_step, "head_trained": now()}
    )
    add_head(run.tuned_weights, head.cpu())  # last: its presence means trained
    remove_checkpoint(run.head_checkpoint("head"))
    return result


def model_for_head(
    run: Run, start_from: Path | None = None, base: LoadedModel | None = None
) -> LoadedModel:
    """The model whose embeddings the head of a run with a tuned mask decoder reads.

    `base` is its base model if that is loaded already; it becomes the tuned one.
    """
    base = base or load_base(run.settings)
    tuned = with_tuned(base, run.tuned_weights, run.settings.cache)
    begun = read_tuned_info(start_from).head if start_from else None
    return seen_by_head(begun, tuned, run.settings)


def seen_by_head(shape: HeadShape | None, model: LoadedModel, settings: RunSettings) -> LoadedModel:
    """The model whose embeddings a head reads: `model`, or the base it was tuned from.

    Without a shape, of the head that the settings ask for.
    """
    kind = shape.embedding_of if shape else settings.head.embedding_of
    return model if kind == "tuned" or not model.sam.has_tuned_encoder else load_base(settings)


def new_head(run: Run, model: LoadedModel) -> Head:
    """A head with random weights."""
    head = Head(head_shape(run, model))
    start_network(head, run, model)
    return head


def start_network(network: nn.Module, run: Run, model: LoadedModel) -> None:
    """Give a network random weights that follow from the run's seed, on the model's device."""
    generator = torch.Generator().manual_seed(run.settings.seed)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(module.weight, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    network.to(model.sam.device)


def train_pixel_network(
    run: Run,
    model: LoadedModel,
    network: nn.Module,
    shape: HeadShape,
    name: str,
    seconds_left: float,
    progress: Progress,
    *,
    start_from: Path | None = None,
) -> TrainingResult:
    """Train a head or a rival of it on the run's sections; both see the same crops.

    `start_from` says whose weights the network has.
    """
    train, validation = section_examples(run, model, progress)
    return train_network(
        network,
        shape,
        train,
        validation,
        run.settings.head,
        seed=run.settings.seed,
        precision=model.sam.precision,
        checkpoint=run.head_checkpoint(name),
        fingerprint=f"{name} {shape.model_dump_json()} {run.fingerprint(model.sam.weights_hash)}"
        + hash_start(start_from),
        seconds_left=seconds_left,
        title=f"training the {name}",
        progress=progress,
    )


def encode_sections(
    run: Run,
    model: LoadedModel,
    kinds: Sequence[Literal["train", "validation", "test"]],
    progress: Progress = SILENT,
) -> None:
    """Have several processes encode whole sections, each its share; one alone does nothing."""
    if current().count == 1 or not run.settings.head.use_embedding:
        return
    tile_px, input_px = run.settings.data.tile_side_px, model.sam.input_px
    tiles = [
        Tile(
            frame=ModelFrame((window.y, window.x), tile_px, input_px),
            read=partial(_pixels, part, z, window),
        )
        for part in run.parts()
        for kind in kinds
        for z in getattr(part.split, kind)
        for window in embedding_windows(part.volume.shape_zyx[1:], tile_px)
    ]
    encode_together(tiles, model.cache, progress)


def _pixels(part: Part, z: int, window: Window) -> UInt8[np.ndarray, "h w"]:
    return pixels_of(np.asarray(part.volume.images[z]), window)


def section_examples(
    run: Run, model: LoadedModel, progress: Progress
) -> tuple[list[SectionExample], list[SectionExample]]:
    """The sections to train on and those to validate on, encoded."""
    found: tuple[list[SectionExample], list[SectionExample]] = ([], [])
    wanted = [
        (group, part, z)
        for part in run.parts()
        for group, sections in zip(found, (part.split.train, part.split.validation), strict=True)
        for z in sections
    ]
    encoded = run.settings.head.use_embedding
    for group, part, z in progress.track(wanted, "encoding whole sections", unit="section"):
        keys = encode_section(part, z, run, model) if encoded else {}
        group.append(section_example(part, z, keys, run, model))
    model.cache.trim()
    return found


def encode_section(part: Part, z: int, run: Run, model: LoadedModel) -> dict[Window, str]:
    """The cache's key of each tile of a section."""
    section, tile_px = np.asarray(part.volume.images[z]), run.settings.data.tile_side_px
    return {
        window: model.cache.fill_one(
            pixels_of(section, window),
            ModelFrame((window.y, window.x), tile_px, model.sam.input_px),
        )
        for window in embedding_windows(section.shape, tile_px)
    }


def section_example(
    part: Part, z: int, keys: dict[Window, str], run: Run, model: LoadedModel
) -> SectionExample:
    """One section as training sees it; its embedding is put together from the cache when asked."""
    volume = part.volume
    depth, height, width = volume.shape_zyx
    return SectionExample(
        shape_yx=(height, width),
        read_stack=lambda offsets: [
            volume.images[min(max(z + offset, 0), depth - 1)] for offset in offsets
        ],
        read_labels=lambda: volume.labels[z],
        read_embedding=lambda window: embedding_part(
            (height, width),
            window,
            lambda tile: model.cache.load(keys[tile]),
            tile_px=run.settings.data.tile_side_px,
        ),
    )


def head_shape(run: Run, model: LoadedModel) -> HeadShape:
    """The shape of a run's head: the sections it reads, its channels, and the grey values."""
    settings = run.settings.head
    mean, std = grey_statistics_of(run.parts())
    channels = model.sam.embedding_shape[0] if settings.use_embedding else 0
    return HeadShape(
        section_offsets=tuple(sorted({0, *settings.neighbours})),
        embedding_channels=channels,
        embedding_of=settings.embedding_of,
        width=settings.width,
        grey_mean=mean,
        grey_std=std,
    )


def spacing_px(part: Part) -> float:
    """The distance of a volume's sections, in pixels."""
    volume = part.volume
    return section_spacing_px(volume.images.__getitem__, volume.shape_zyx[0], volume.voxel_size_nm)


def grey_statistics_of(parts: Sequence[Part]) -> tuple[float, float]:
    """The same of all volumes that are trained on, or of the first; each volume counts once."""
    found = [grey_statistics(part) for part in parts if part.split.train]
    if len(found) < 2:
        return found[0] if found else grey_statistics(parts[0])
    means, deviations = np.array(found).T
    mean = float(means.mean())
    return mean, float(np.sqrt((deviations**2 + (means - mean) ** 2).mean()))


def grey_statistics(part: Part) -> tuple[float, float]:
    """Mean and standard deviation of the training sections' grey values."""
    sections = part.split.train or tuple(range(part.volume.shape_zyx[0]))
    picks = np.unique(np.linspace(0, len(sections) - 1, NUM_SAMPLED_SECTIONS).round().astype(int))
    grey = np.stack([part.volume.images[sections[i]] for i in picks]).astype(np.float32)
    return float(grey.mean()), max(float(grey.std()), 1.0)
