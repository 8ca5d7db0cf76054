"""A study: every level run with every seed, what each scored, and how it differs from the base."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mitosam.data.phantom import make_phantom
from mitosam.errors import InputNotFoundError, OutputExistsError, SettingsError
from mitosam.io.tables import plain, write_json, write_table
from mitosam.io.write import write_stack_tiff
from mitosam.progress import SILENT, Progress
from mitosam.reporting.ablation import write_ablation
from mitosam.reporting.ablation_content import Ablation
from mitosam.storage import require_free, sole_writer
from mitosam.workflows.ablate_cells import is_finished, read_cost, run_cell
from mitosam.workflows.ablate_results import (
    ablation_of,
    read_results,
    result_rows,
    summary_rows,
)
from mitosam.workflows.models import load_base
from mitosam.workflows.plan import Plan, plan
from mitosam.workflows.prepare import Sources, open_pair, split_of_stack
from mitosam.workflows.runs import read_object
from mitosam.workflows.study import Cell, Study, changed_facts
from mitosam.workflows.study_file import PhantomFile

STUDY, RESULTS, SUMMARY, CELLS, DATA = "study.json", "results.csv", "summary.csv", "runs", "data"


@dataclass(frozen=True, slots=True, kw_only=True)
class AblationResult:
    """A study that ended, or was stopped by its budget; `content` needs a finished base."""

    folder: Path
    content: Ablation | None
    page: Path | None
    num_finished: int
    num_cells: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AblationPlan:
    """What a study would run, what of it is done, and how long the rest takes."""

    cells: tuple[Cell, ...]
    done: tuple[bool, ...]
    seconds: tuple[float, ...]
    """Of each run, expected here; 0 for one that is done."""
    basis: str
    """Where the times come from."""


def ablate(
    study: Study,
    out: Path,
    *,
    sources: Sources | None = None,
    resume: bool = False,
    budget_s: float = math.inf,
    progress: Progress = SILENT,
) -> AblationResult:
    """Run what is not finished, then write `results.csv`, `summary.csv` and `ablation.html`.

    Parameters
    ----------
    sources
        The files, instead of those that the study names.
    resume
        Go on with the study in `out`: finished runs are kept, and one that was killed goes on from
        its checkpoint.
    budget_s
        No run is started that would end after so many seconds, by the mean of those before it.

    Raises
    ------
    OutputExistsError
        `out` holds something already, and `resume` is not set.
    SettingsError
        The study in `out` is another one, or its levels do not fit the data.
    OutputInUseError
        Another process is working on it.
    """
    started = time.monotonic()
    with sole_writer(out):
        _check_out(study, out, resume=resume)
        sources = sources_of(study, out / DATA, sources)
        cells = study.cells()
        check_cells(cells, sources)
        write_json(out / STUDY, study.facts())
        _run_cells(study, cells, sources, out, budget_s, progress)
        results = read_results(out / CELLS, cells)
        content = page = None
        if any(study.base in result.cell.arms for result in results):
            progress.say("drawing the report")
            content = ablation_of(study, results, out / CELLS, len(cells))
            write_table(out / SUMMARY, summary_rows(content))
            page = write_ablation(out, content)
        return AblationResult(
            folder=out,
            content=content,
            page=page,
            num_finished=len(results),
            num_cells=len(cells),
            seconds=time.monotonic() - started,
        )


def _check_out(study: Study, out: Path, *, resume: bool) -> None:
    """Raise what stands against writing to `out`."""
    if not (out / STUDY).exists():
        if resume and out.exists() and any(out.iterdir()) and not (out / DATA).exists():
            raise InputNotFoundError(f"{out} holds no study to resume; leave --resume away")
        if not resume:
            require_free(out)
        return
    if not resume:
        raise OutputExistsError(
            f"{out} holds a study already; pass --resume to go on with it, or another --out"
        )
    changed = changed_facts(read_object(out / STUDY), plain(study.facts()))
    if changed:
        raise SettingsError(
            f"{out} was made by another study ({'; '.join(changed[:3])}); "
            "resume with the same one or choose another --out"
        )


def _run_cells(
    study: Study,
    cells: Sequence[Cell],
    sources: Sources,
    out: Path,
    budget_s: float,
    progress: Progress,
) -> None:
    """Run what is not finished; a run is not begun if it would outlast the budget.

    The first of a study always is, as nobody knows how long it takes.
    """
    started = time.monotonic()
    folder = out / CELLS
    ended = [cell for cell in cells if is_finished(folder / cell.name)]
    known = [read_cost(folder / cell.name).seconds for cell in ended]
    todo = [cell for cell in cells if cell not in ended]
    for number, cell in enumerate(todo):
        spent = time.monotonic() - started
        each = sum(known) / len(known) if known else 0.0
        if known and spent + each > budget_s:
            progress.say(f"the budget ends here: {len(todo) - number} runs are left")
            return
        left = f", about {_readable(each * (len(todo) - number))} left" if known else ""
        progress.say(f"run {cells.index(cell) + 1} of {len(cells)}: {cell.title}{left}")
        finished = [folder / one.name for one in cells if is_finished(folder / one.name)]
        run_cell(folder / cell.name, cell, study, sources, finished=finished, progress=progress)
        known.append(time.monotonic() - started - spent)
        write_table(out / RESULTS, result_rows(read_results(folder, cells)))


def _readable(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes else f"{seconds:.0f} s"


def sources_of(study: Study, folder: Path, given: Sources | None) -> Sources:
    """The files of a study; a made-up volume is written to `folder`, unless it is there.

    Raises
    ------
    SettingsError
        The study names no files, and none are given.
    """
    data = study.data
    if given is not None:
        return given
    if data.phantom:
        return _write_phantom(data.phantom, folder)
    if not data.images or not data.masks:
        raise SettingsError(f"study {study.name} names no data; pass --images and --masks")
    return Sources(
        images=data.images,
        masks=data.masks,
        test_images=data.test_images,
        test_masks=data.test_masks,
        voxel_size_nm=data.voxel_size_nm,
    )


def _write_phantom(phantom: PhantomFile, folder: Path) -> Sources:
    images, masks = folder / "images.tif", folder / "masks.tif"
    if not masks.exists():
        made = make_phantom(phantom.shape_zyx, phantom.seed)
        write_stack_tiff(images, made.images, made.voxel_size_nm)
        write_stack_tiff(masks, made.labels.astype(np.uint16), made.voxel_size_nm)
    return Sources(images=images, masks=masks)


def check_cells(cells: Sequence[Cell], sources: Sources) -> None:
    """Raise what stands against running these on this data: files, models, sections.

    Raises
    ------
    SettingsError
        A level asks for sections that are not there, or is scored on others than the base.
    """
    images, _, _ = open_pair(sources.images, sources.masks)
    if sources.test_images and sources.test_masks:
        open_pair(sources.test_images, sources.test_masks)
    models = {cell.settings.model.name: cell.settings for cell in cells}
    for settings in models.values():
        load_base(settings)
    if sources.test_images:
        return
    tested: dict[str, tuple[int, ...]] = {}
    for cell in cells:
        split = cell.settings.split
        key = f"{split} {cell.seed if split.kind == 'random' else ''}"
        if key not in tested:
            tested[key] = _tested(cell, len(images))
        if tested[key] != next(iter(tested.values())):
            raise SettingsError(
                f"{cell.title}: reports on other sections than the base, so they cannot be "
                'compared; give split.test the same sections everywhere (split.kind = "given")'
            )


def _tested(cell: Cell, num_sections: int) -> tuple[int, ...]:
    try:
        return split_of_stack(num_sections, cell.settings).test
    except SettingsError as error:
        raise SettingsError(f"{cell.title}: {error}") from error


def plan_ablation(
    study: Study, out: Path, *, sources: Sources | None = None, progress: Progress = SILENT
) -> AblationPlan:
    """What `ablate` would do now, without doing it.

    Times are those of finished runs; before there is one, they are by `plan`, encoding counted only
    where no earlier run of the study encodes the same.
    """
    if (out / STUDY).exists():
        _check_out(study, out, resume=True)
    cells = study.cells()
    done = tuple(is_finished(out / CELLS / cell.name) for cell in cells)
    with _files(study, out, sources) as found:
        check_cells(cells, found)
        if any(done):
            known = [
                read_cost(out / CELLS / cell.name).seconds
                for cell, ended in zip(cells, done, strict=True)
                if ended
            ]
            each = [sum(known) / len(known)] * len(cells)
            basis = f"the mean of {len(known)} finished runs"
        else:
            each = _expected(cells, found, progress)
            basis = "timed here for each model, tile and trained part; fewer sections take less"
    return AblationPlan(
        cells=tuple(cells),
        done=done,
        seconds=tuple(0.0 if ended else one for one, ended in zip(each, done, strict=True)),
        basis=basis,
    )


@contextmanager
def _files(study: Study, out: Path, given: Sources | None) -> Iterator[Sources]:
    """The study's files, a made-up volume in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="mitosam-ablate-") as folder:
        kept = out / DATA
        yield sources_of(study, kept if kept.exists() else Path(folder), given)


def _expected(cells: Sequence[Cell], sources: Sources, progress: Progress) -> list[float]:
    """Seconds of each run; one that encodes what an earlier one does is spared that."""
    plans: dict[str, Plan] = {}
    encoded: set[str] = set()
    seconds = []
    for cell in cells:
        kind, pixels = _kind(cell), _encodes(cell)
        if kind not in plans:
            progress.say(f"timing {cell.title.rpartition(',')[0]}")
            plans[kind] = plan(sources, cell.settings, with_presets=False, progress=progress)
        stages = [
            one for one in plans[kind].stages if one.name != "encode" or pixels not in encoded
        ]
        seconds.append(sum(stage.seconds for stage in stages))
        encoded.add(pixels)
    return seconds


def _kind(cell: Cell) -> str:
    """What a step of training and an answer depend on."""
    settings, training = cell.settings, cell.settings.training
    parts = (training.parts, training.late_blocks, training.lora)
    return f"{settings.model} {settings.data} {parts} {settings.head.enabled}"


def _encodes(cell: Cell) -> str:
    """What the features that a run caches depend on."""
    settings, training = cell.settings, cell.settings.training
    views = (training.augment, training.views_per_tile, training.min_views)
    return f"{_kind(cell)} {settings.split} {views} {settings.augmentation} {cell.seed}"
