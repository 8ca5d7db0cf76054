"""What a run will take on this machine, measured on a few of its own sections."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from mitosam.config import RunSettings
from mitosam.data.prepared import prepare_volume
from mitosam.data.splits import Split
from mitosam.errors import InputError
from mitosam.io.pairing import Pairing
from mitosam.io.volume import Volume
from mitosam.models.sam import prepare_tile
from mitosam.progress import SILENT, Progress
from mitosam.training.trainer import Trainer
from mitosam.workflows.evaluate import answer, ask
from mitosam.workflows.models import LoadedModel, load_base
from mitosam.workflows.prepare import Sources, open_pair, split_of_stack
from mitosam.workflows.runs import Run
from mitosam.workflows.subjects import TileQuestions
from mitosam.workflows.tiles import SectionTile, examples_of, tiles_of, tiles_with_mitochondria

MAX_SAMPLED_SECTIONS = 6
REPORT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStage:
    """One stage's share of the work."""

    name: str
    amount: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run is expected to take here."""

    stages: tuple[PlannedStage, ...]
    peak_memory_bytes: int
    cache_bytes: int
    run_bytes: int
    device: str
    precision: str

    @property
    def seconds(self) -> float:
        """All stages."""
        return sum(stage.seconds for stage in self.stages)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Timing:
    encode_s: float
    step_s: float
    answer_s: float
    validation_s: float


def plan(sources: Sources, settings: RunSettings, *, progress: Progress = SILENT) -> Plan:
    """Time, peak memory and disk of `finetune`, from one encoding, one step and one answer here.

    Nothing is written but a temporary folder and one embedding, and what is in the cache already
    is not counted as saved, so a second run takes less.
    """
    images, masks, pairing = open_pair(sources.images, sources.masks)
    progress.say(pairing.describe())
    split = split_of_stack(len(images), settings)
    pairs = _spread(pairing.sections, MAX_SAMPLED_SECTIONS)
    few_images = _subset(images, [image for image, _ in pairs])
    few_masks = _subset(masks, [mask for _, mask in pairs])
    with tempfile.TemporaryDirectory(prefix="mitosam-plan-") as folder:
        run = Run(folder=Path(folder), settings=settings)
        volume = prepare_volume(
            few_images,
            few_masks,
            run.prepared_folder / "volume",
            pairing=_renumbered(pairing, few_images, few_masks),
        )
        everything = tuple(range(len(few_images)))
        run.write_parts({"volume": _all_test(everything)})
        model = load_base(settings)
        tiles = tiles_of(volume, everything, settings.data)
        held = tiles_with_mitochondria(tiles, settings.data)
        asked = list(ask(run))
        if not held or not asked:
            raise InputError(
                f"no mitochondria in the {len(everything)} sections that were sampled; "
                "the masks may be empty"
            )
        timing = _measure(run, model, held, asked, progress)
    sample = _Sample(
        tiles_with=len(held) / len(everything),
        tiles=len(tiles) / len(everything),
        questions=sum(len(one.questions) for one in asked) / len(everything),
    )
    return _add_up(settings, images, split, model, timing, sample)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sample:
    """Means a section."""

    tiles_with: float
    tiles: float
    questions: float


def _spread(pairs: tuple[tuple[int, int], ...], limit: int) -> list[tuple[int, int]]:
    """At most `limit` of the pairs, evenly spaced."""
    picks = np.linspace(0, len(pairs) - 1, min(limit, len(pairs))).round().astype(int)
    return [pairs[i] for i in picks]


def _subset(volume: Volume, sections: list[int]) -> Volume:
    return replace(
        volume,
        shape_zyx=(len(sections), *volume.shape_zyx[1:]),
        section_names=tuple(volume.section_names[z] for z in sections),
        read_section=lambda z: volume.read_section(sections[z]),
    )


def _renumbered(pairing: Pairing, images: Volume, masks: Volume) -> Pairing:
    """The pairing of volumes that hold a few of its pairs, in their order."""
    return replace(
        pairing,
        sections=tuple((z, z) for z in range(len(images))),
        image_names=images.section_names,
        mask_names=masks.section_names,
    )


def _all_test(sections: tuple[int, ...]) -> Split:
    return Split(train=(), validation=(), test=sections, unused=(), leaky=False)


def _measure(
    run: Run,
    model: LoadedModel,
    held: list[SectionTile],
    asked: list[TileQuestions],
    progress: Progress,
) -> _Timing:
    sam, settings = model.sam, run.settings
    tile = max(held, key=lambda one: int(one.labels(settings.data.min_object_px).max()))
    frame = tile.frame(sam.input_px)
    for _ in progress.track(range(1), "timing one encoding", unit="tile"):
        encode_s = _seconds(lambda: sam.encode(prepare_tile(tile.pixels(), frame)))
    key = model.cache.fill_one(tile.pixels(), frame)
    embedding = torch.from_numpy(np.asarray(model.cache.load(key))).float()[None]
    crowded = max(asked, key=lambda one: len(one.questions))
    answer_s = _seconds(lambda: list(answer(sam, embedding, crowded))) / len(crowded.questions)
    examples = examples_of([tile], [key], model.cache, settings.data)
    trainer = Trainer(sam, examples, examples, settings.training, seed=settings.seed)
    for _ in progress.track(range(1), "timing one training step", unit="step"):
        step_s = _seconds(lambda: trainer.step(0, 0.5))
    prompts = settings.training.max_validation_prompts * trainer.num_trained_kinds
    return _Timing(
        encode_s=encode_s, step_s=step_s, answer_s=answer_s, validation_s=prompts * answer_s
    )


def _seconds(work: Callable[[], object]) -> float:
    """The second of two times: the first pays for memory and kernels made once."""
    work()
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _add_up(
    settings: RunSettings,
    images: Volume,
    split: Split,
    model: LoadedModel,
    timing: _Timing,
    sample: _Sample,
) -> Plan:
    training = settings.training
    train_tiles = len(split.train) * sample.tiles
    if training.augment:
        train_tiles = max(training.views_per_tile * train_tiles, training.min_views)
    train_tiles *= sample.tiles_with / sample.tiles
    num_test = min(len(split.test), settings.evaluation.max_sections or len(split.test))
    other_tiles = len(split.validation) * sample.tiles_with + num_test * sample.tiles
    steps = max(training.epochs * train_tiles / training.batch_tiles, training.min_steps)
    questions = num_test * sample.questions
    num_tiles = round(train_tiles + other_tiles)
    stages = (
        PlannedStage(
            name="encode", amount=f"{num_tiles} tiles", seconds=num_tiles * timing.encode_s
        ),
        PlannedStage(
            name="score base and tuned model",
            amount=f"2 x {round(questions)} prompts",
            seconds=2 * questions * timing.answer_s,
        ),
        PlannedStage(
            name="train",
            amount=f"{round(steps)} steps",
            seconds=steps * timing.step_s + training.validations * timing.validation_s,
        ),
        PlannedStage(name="report", amount="1 page", seconds=REPORT_S),
    )
    depth, height, width = images.shape_zyx
    return Plan(
        stages=stages,
        peak_memory_bytes=_peak_memory(),
        cache_bytes=num_tiles * 2 * int(np.prod(model.sam.embedding_shape)),
        run_bytes=depth * height * width * 3 + int(questions) * settings.data.patch_px**2 // 8,
        device=str(model.sam.device),
        precision=model.sam.precision,
    )


def _peak_memory() -> int:
    """The most memory this process has held, in bytes; the stages after it hold no more."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
