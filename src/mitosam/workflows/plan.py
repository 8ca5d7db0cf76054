"""What a run will take on this machine, measured on a few of its own sections."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mitosam.config import RunSettings
from mitosam.data.prepared import PreparedVolume, prepare_volume
from mitosam.data.splits import Split
from mitosam.errors import InputError
from mitosam.io.pairing import Pairing
from mitosam.io.volume import Volume
from mitosam.models.head import Head
from mitosam.progress import SILENT, Progress
from mitosam.training.head_trainer import HeadTrainer
from mitosam.training.parts import choose_parts
from mitosam.training.trainer import Trainer
from mitosam.workflows.datasets import open_dataset
from mitosam.workflows.decoder import examples_before
from mitosam.workflows.evaluate import answer, ask
from mitosam.workflows.head import encode_section, head_shape, section_example
from mitosam.workflows.models import LoadedModel, load_base
from mitosam.workflows.part_splits import only_test
from mitosam.workflows.peak_memory import peak_bytes
from mitosam.workflows.plan_parts import (
    PartsTiming,
    PlannedPreset,
    time_presets,
)
from mitosam.workflows.plan_work import Sample, Work, add_work, work_on
from mitosam.workflows.prepare import (
    Sources,
    at_pixel_size,
    open_pair,
    split_of_stack,
    with_common_pixel,
)
from mitosam.workflows.rival import UNet
from mitosam.workflows.runs import Run
from mitosam.workflows.subjects import TileQuestions
from mitosam.workflows.tile_size import choose_tile, describe_tile, measure_objects
from mitosam.workflows.tiles import SectionTile, tiles_of, tiles_with_mitochondria

MAX_SAMPLED_SECTIONS = 6
REPORT_S = 10.0
TIMED_STEPS = 4
# Of scoring without prompts: how many finds the mask decoder is asked of, and what it takes to make
# instances of maps and to score them.
OBJECTS_PER_SECTION, LABEL_S = 15, 0.5


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
    presets: tuple[PlannedPreset, ...] = ()
    """The same run with each preset of trained parts, cheapest first."""
    tile: str = ""
    """What `data.tile_px = "auto"` came to."""

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
    head_step_s: float = 0.0
    rival_step_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sharing:
    """What several processes make of the times of one."""

    processes: int
    batch_tiles: int

    @property
    def step_share(self) -> float:
        """Of the tiles of a step, the most that one process computes."""
        return math.ceil(self.batch_tiles / self.processes) / self.batch_tiles

    def of(self, timing: _Timing) -> _Timing:
        return replace(
            timing,
            encode_s=timing.encode_s / self.processes,
            step_s=timing.step_s * self.step_share,
            validation_s=timing.validation_s / self.processes,
        )

    def of_preset(self, timing: PartsTiming) -> PartsTiming:
        return replace(
            timing,
            front_s=timing.front_s / self.processes,
            step_s=timing.step_s * self.step_share,
        )


def plan(
    sources: Sources,
    settings: RunSettings,
    *,
    with_presets: bool = True,
    processes: int = 1,
    progress: Progress = SILENT,
) -> Plan:
    """Time, peak memory and disk of `finetune`, from one encoding, one step and one answer here.

    With each preset of parts too, unless told not to. Several `processes`, each on a device like
    this one, share the tiles to encode and those of each step; the head is trained by one. Nothing
    is written but a temporary folder and a tile's features, and what is in the cache already is not
    counted as saved, so a second run takes less.
    """
    settings = with_common_pixel(sources, settings)
    opened = _open(sources, settings, progress)
    with tempfile.TemporaryDirectory(prefix="mitosam-plan-") as folder:
        run = Run(folder=Path(folder), settings=settings)
        volumes = [_prepare_few(one, run, number) for number, one in enumerate(opened)]
        run.write_parts({volume.folder.name: only_test(len(volume.images)) for volume in volumes})
        model = load_base(settings)
        chosen = ""
        if settings.data.tile_px == "auto":
            everything = tuple(range(len(volumes[0].images)))
            size = measure_objects(volumes[0], everything, settings, progress)
            settings = choose_tile(settings, volumes[0], size, model.sam.input_px)
            run = replace(run, settings=settings)
            chosen = describe_tile(size, settings.data.tile_side_px, model.sam.input_px)
        tiles = [tiles_of(volume, range(len(volume.images)), settings.data) for volume in volumes]
        held = [tiles_with_mitochondria(some, settings.data) for some in tiles]
        asked = list(ask(run))
        all_held = [tile for some in held for tile in some]
        if not all_held or not asked:
            raise InputError(
                f"no mitochondria in the {sum(len(volume.images) for volume in volumes)} sections "
                "that were sampled; the masks may be empty"
            )
        timing = _measure(run, model, all_held, asked, progress)
        tile = all_held[0]
        place = (tile.section, *astuple(tile.window))
        timings = time_presets(run.folder, settings, place, progress) if with_presets else []
    works = [
        work_on(one.images.shape_zyx, one.split, _sample(volume, some, full, asked), settings)
        for one, volume, some, full in zip(opened, volumes, tiles, held, strict=True)
    ]
    sharing = _Sharing(processes=processes, batch_tiles=settings.training.batch_tiles)
    timing, timings = sharing.of(timing), [sharing.of_preset(one) for one in timings]
    added = _add_up(settings, add_work(works), model, timing, timings)
    return replace(added, tile=chosen)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    """One volume, and what its sections are for."""

    images: Volume
    masks: Volume
    pairing: Pairing
    split: Split


def _open(sources: Sources, settings: RunSettings, progress: Progress) -> list[_Opened]:
    """The volumes of a run; those of a manifest may be several, trained ones first."""
    if sources.manifest:
        return [
            _Opened(images=one.images, masks=one.masks, pairing=one.pairing, split=one.split)
            for one in open_dataset(sources.manifest, settings)
        ]
    (images, masks, pairing), _ = at_pixel_size(
        open_pair(sources.images, sources.masks), settings, sources.voxel_size_nm
    )
    progress.say(pairing.describe())
    split = split_of_stack(len(images), settings)
    return [_Opened(images=images, masks=masks, pairing=pairing, split=split)]


def _prepare_few(one: _Opened, run: Run, number: int) -> PreparedVolume:
    """A few sections of a volume, prepared."""
    pairs = _spread(one.pairing.sections, MAX_SAMPLED_SECTIONS)
    images = _subset(one.images, [image for image, _ in pairs])
    masks = _subset(one.masks, [mask for _, mask in pairs])
    name = f"volume{number or ''}"
    pairing = _renumbered(one.pairing, images, masks)
    return prepare_volume(images, masks, run.prepared_folder / name, pairing=pairing)


def _sample(
    volume: PreparedVolume,
    tiles: Sequence[SectionTile],
    held: Sequence[SectionTile],
    asked: Sequence[TileQuestions],
) -> Sample:
    num_sections = len(volume.images)
    folder = volume.folder
    questions = sum(len(one.questions) for one in asked if one.tile.volume.folder == folder)
    return Sample(
        tiles_with=len(held) / num_sections,
        tiles=len(tiles) / num_sections,
        questions=questions / num_sections,
    )


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
        encode_s = _seconds(lambda: sam.encode(sam.prepare(tile.pixels(), frame)))
    key = model.cache.fill_one(tile.pixels(), frame)
    embedding = torch.from_numpy(np.asarray(model.cache.load(key))).float()[None]
    crowded = max(asked, key=lambda one: len(one.questions))
    answer_s = _seconds(lambda: list(answer(sam, embedding, crowded))) / len(crowded.questions)
    parts = choose_parts(sam, settings.training, seed=settings.seed)
    examples = examples_before(parts.frontier, [tile], model, settings, SILENT)
    trainer = Trainer(sam, parts, examples, examples, settings.training, seed=settings.seed)
    for _ in progress.track(range(1), "timing training steps", unit="step"):
        # Some of the answers of a step are corrected, so that no two take as long.
        step_s = _seconds(lambda: [trainer.step(n, 0.5) for n in range(TIMED_STEPS)]) / TIMED_STEPS
    prompts = settings.training.max_validation_prompts * trainer.num_trained_kinds
    head_s, rival_s = _measure_head(run, model, progress)
    return _Timing(
        encode_s=encode_s,
        step_s=step_s,
        answer_s=answer_s,
        validation_s=prompts * answer_s,
        head_step_s=head_s,
        rival_step_s=rival_s,
    )


def _measure_head(run: Run, model: LoadedModel, progress: Progress) -> tuple[float, float]:
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


def _add_up(
    settings: RunSettings,
    work: Work,
    model: LoadedModel,
    timing: _Timing,
    timings: Sequence[PartsTiming],
) -> Plan:
    training = settings.training
    train_tiles, other_tiles, questions = work.train_tiles, work.other_tiles, work.questions
    steps = max(training.epochs * train_tiles / training.batch_tiles, training.min_steps)
    head = _head_stages(settings, work, timing)
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
        *head,
        PlannedStage(name="report", amount="1 page", seconds=REPORT_S),
    )
    head_tiles = work.head_tiles
    num_tiles += head_tiles
    validation_s = training.validations * timing.validation_s
    rest_s = sum(s.seconds for s in stages if s.name not in ("encode", "train")) + validation_s

    def with_preset(one: PartsTiming) -> PlannedPreset:
        # What is scored is encoded by the base model and, if its encoder was trained, once more.
        scored = other_tiles * (2 if one.retrains_encoder else 1) * timing.encode_s
        encoding = train_tiles * one.front_s + scored
        features = train_tiles * one.features_bytes
        scored_bytes = (other_tiles + head_tiles) * 2 * int(np.prod(model.sam.embedding_shape))
        return PlannedPreset(
            preset=one.preset,
            seconds=rest_s + encoding + steps * one.step_s,
            peak_memory_bytes=max(one.peak_bytes, peak_bytes() if head else 0),
            cache_bytes=round(features + scored_bytes),
            refused=one.refused,
        )

    return Plan(
        presets=tuple(with_preset(one) for one in timings),
        stages=stages,
        peak_memory_bytes=peak_bytes(),
        cache_bytes=num_tiles * 2 * int(np.prod(model.sam.embedding_shape)),
        run_bytes=work.num_voxels * 3 + int(questions) * settings.data.patch_px**2 // 8,
        device=str(model.sam.device),
        precision=model.sam.precision,
    )


def _head_stages(settings: RunSettings, work: Work, timing: _Timing) -> list[PlannedStage]:
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
