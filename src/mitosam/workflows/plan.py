"""What a run will take on this machine, measured on a few of its own sections."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mitosam.config import RunSettings
from mitosam.errors import InputError
from mitosam.progress import SILENT, Progress
from mitosam.workflows.evaluate import ask
from mitosam.workflows.models import LoadedModel, load_base
from mitosam.workflows.peak_memory import peak_bytes
from mitosam.workflows.plan_parts import PartsTiming, PlannedPreset, time_presets
from mitosam.workflows.plan_sample import SampledVolume, open_sources, prepare_few
from mitosam.workflows.plan_stages import PlannedStage, planned_preset, planned_stages
from mitosam.workflows.plan_timing import Sharing, Timing, measure_steps
from mitosam.workflows.plan_work import Work, add_work, work_on
from mitosam.workflows.prepare import Sources, with_common_pixel
from mitosam.workflows.runs import Run
from mitosam.workflows.subjects import TileQuestions
from mitosam.workflows.tile_size import choose_tile, describe_tile, measure_objects


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
    opened = open_sources(sources, settings, progress)
    with tempfile.TemporaryDirectory(prefix="mitosam-plan-") as folder:
        run = prepare_few(opened, Path(folder), settings)
        model = load_base(settings)
        run, chosen = _with_tile(run, model, progress)
        sampled = [SampledVolume.cut(part.volume, run.settings) for part in run.parts()]
        asked = list(ask(run))
        _require_mitochondria(sampled, asked)
        timing = measure_steps(
            run, model, [tile for one in sampled for tile in one.held], asked, progress
        )
        timings = _time_presets(run, sampled, progress) if with_presets else []
    settings = run.settings
    work = add_work(
        [
            work_on(one.images.shape_zyx, one.split, few.means(asked), settings)
            for one, few in zip(opened, sampled, strict=True)
        ]
    )
    sharing = Sharing(processes=processes, batch_tiles=settings.training.batch_tiles)
    shared = [sharing.of_preset(one) for one in timings]
    return replace(_add_up(settings, work, model, sharing.of(timing), shared), tile=chosen)


def _with_tile(run: Run, model: LoadedModel, progress: Progress) -> tuple[Run, str]:
    """The run with a number for `data.tile_px`, and how "auto" came to it."""
    settings, input_px = run.settings, model.sam.input_px
    if settings.data.tile_px != "auto":
        return run, ""
    volume = run.parts()[0].volume
    size = measure_objects(volume, tuple(range(len(volume.images))), settings, progress)
    settings = choose_tile(settings, volume, size, input_px)
    chosen = describe_tile(size, settings.data.tile_side_px, input_px)
    return replace(run, settings=settings), chosen


def _require_mitochondria(sampled: Sequence[SampledVolume], asked: Sequence[TileQuestions]) -> None:
    if asked and any(one.held for one in sampled):
        return
    raise InputError(
        f"no mitochondria in the {sum(len(one.volume.images) for one in sampled)} sections "
        "that were sampled; the masks may be empty"
    )


def _time_presets(
    run: Run, sampled: Sequence[SampledVolume], progress: Progress
) -> list[PartsTiming]:
    tile = next(tile for one in sampled for tile in one.held)
    return time_presets(tile, run.settings, progress)


def _add_up(
    settings: RunSettings,
    work: Work,
    model: LoadedModel,
    timing: Timing,
    timings: Sequence[PartsTiming],
) -> Plan:
    embedding_bytes = 2 * int(np.prod(model.sam.embedding_shape))
    peak = peak_bytes()
    presets = (
        planned_preset(
            one,
            settings,
            work,
            timing,
            embedding_bytes=embedding_bytes,
            head_peak_bytes=peak if settings.head.enabled else 0,
        )
        for one in timings
    )
    return Plan(
        presets=tuple(presets),
        stages=planned_stages(settings, work, timing),
        peak_memory_bytes=peak,
        cache_bytes=(work.num_tiles + work.head_tiles) * embedding_bytes,
        run_bytes=work.num_voxels * 3 + int(work.questions) * settings.data.patch_px**2 // 8,
        device=str(model.sam.device),
        precision=model.sam.precision,
    )
