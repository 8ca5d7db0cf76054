"""What the steps of a run take here, each done once or twice on a few of its own tiles."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import nn

from mitosam.models.head import Head
from mitosam.progress import SILENT, Progress
from mitosam.training.head_trainer import HeadTrainer
from mitosam.training.parts import choose_parts
from mitosam.training.trainer import Trainer
from mitosam.workflows.decoder import examples_before
from mitosam.workflows.evaluate import answer
from mitosam.workflows.head import encode_section, head_shape, section_example
from mitosam.workflows.models import LoadedModel
from mitosam.workflows.plan_parts import TIMED_STEPS, PartsTiming
from mitosam.workflows.rival import UNet
from mitosam.workflows.runs import Run
from mitosam.workflows.subjects import TileQuestions
from mitosam.workflows.tiles import SectionTile


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds of one process; 0 for what is not trained."""

    encode_s: float
    step_s: float
    answer_s: float
    validation_s: float
    head_step_s: float = 0.0
    rival_step_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """What several processes make of the times of one."""

    processes: int
    batch_tiles: int

    @property
    def step_share(self) -> float:
        """Of the tiles of a step, the most that one process computes."""
        return math.ceil(self.batch_tiles / self.processes) / self.batch_tiles

    def of(self, timing: Timing) -> Timing:
        """The times where tiles are shared; the head is trained by one."""
        return replace(
            timing,
            encode_s=timing.encode_s / self.processes,
            step_s=timing.step_s * self.step_share,
            validation_s=timing.validation_s / self.processes,
        )

    def of_preset(self, timing: PartsTiming) -> PartsTiming:
        """The same of one preset of parts."""
        return replace(
            timing,
            front_s=timing.front_s / self.processes,
            step_s=timing.step_s * self.step_share,
        )


def measure_steps(
    run: Run,
    model: LoadedModel,
    held: list[SectionTile],
    asked: list[TileQuestions],
    progress: Progress,
) -> Timing:
    """Seconds of an encoding, an answer and a step, on the fullest tile and the most asked about.

    `held` are tiles that hold mitochondria. The model's trained parts change on the way.
    """
    settings = run.settings
    tile = max(held, key=lambda one: int(one.labels(settings.data.min_object_px).max()))
    encode_s = _time_encoding(model, tile, progress)
    answer_s = _time_answer(model, tile, max(asked, key=lambda one: len(one.questions)))
    trainer = _trainer_on(tile, run, model)
    step_s = _time_step(trainer, progress)
    prompts = settings.training.max_validation_prompts * trainer.num_trained_kinds
    head_step_s, rival_step_s = _time_head(run, model, progress)
    return Timing(
        encode_s=encode_s,
        step_s=step_s,
        answer_s=answer_s,
        validation_s=prompts * answer_s,
        head_step_s=head_step_s,
        rival_step_s=rival_step_s,
    )


def _time_encoding(model: LoadedModel, tile: SectionTile, progress: Progress) -> float:
    sam, frame = model.sam, tile.frame(model.sam.input_px)
    for _ in progress.track(range(1), "timing one encoding", unit="tile"):
        seconds = _seconds(lambda: sam.encode(sam.prepare(tile.pixels(), frame)))
    return seconds


def _time_answer(model: LoadedModel, tile: SectionTile, crowded: TileQuestions) -> float:
    """Seconds a question, of all that are asked about one tile together."""
    key = model.cache.fill_one(tile.pixels(), tile.frame(model.sam.input_px))
    embedding = torch.from_numpy(np.asarray(model.cache.load(key))).float()[None]
    seconds = _seconds(lambda: list(answer(model.sam, embedding, crowded)))
    return seconds / len(crowded.questions)


def _trainer_on(tile: SectionTile, run: Run, model: LoadedModel) -> Trainer:
    settings, seed = run.settings, run.settings.seed
    parts = choose_parts(model.sam, settings.training, seed=seed)
    examples = examples_before(parts.frontier, [tile], model, settings, SILENT)
    return Trainer(model.sam, parts, examples, examples, settings.training, seed=seed)


def _time_step(trainer: Trainer, progress: Progress) -> float:
    """The mean of a few steps: some of the answers of each are corrected, so that no two agree."""
    steps = range(TIMED_STEPS)
    for _ in progress.track(range(1), "timing training steps", unit="step"):
        seconds = _seconds(lambda: [trainer.step(n, 0.5) for n in steps])
    return seconds / TIMED_STEPS


def _time_head(run: Run, model: LoadedModel, progress: Progress) -> tuple[float, float]:
    """Seconds a step of the head and of its rival; 0 for what is not trained."""
    settings = run.settings.head
    if not settings.enabled:
        return 0.0, 0.0
    part = run.parts()[0]
    keys = encode_section(part, 0, run, model) if settings.use_embedding else {}
    example = section_example(part, 0, keys, run, model)
    shape = head_shape(run, model)
    networks: list[nn.Module] = [Head(shape)]
    if settings.rival == "unet":
        networks.append(UNet(shape.of_pixels_alone()))
    seconds = []
    for network in progress.track(networks, "timing one step of the head", unit="step"):
        trainer = HeadTrainer(
            network.to(model.sam.device),
            network.shape,  # type: ignore[arg-type]
            [example],
            [],
            settings,
            seed=run.settings.seed,
            precision=model.sam.precision,
        )
        seconds.append(_seconds(partial(trainer.step, 0, 0.5)))
    return seconds[0], seconds[1] if len(seconds) > 1 else 0.0


def _seconds(work: Callable[[], object]) -> float:
    """The second of two times: the first pays for memory and kernels made once."""
    work()
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
