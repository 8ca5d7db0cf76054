"""One run of a study: made, trained and scored in its own folder, or gone on with."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from mitosam.checksums import damaged
from mitosam.evaluation.levels import SectionTotal, total_clicks, total_scores, total_sections
from mitosam.io.tables import read_csv, write_csv, write_json
from mitosam.progress import SILENT, Progress
from mitosam.storage import sole_writer
from mitosam.workflows.curves import whole_curve
from mitosam.workflows.evaluate import evaluate
from mitosam.workflows.evaluate_automatic import evaluate_automatic
from mitosam.workflows.evaluate_clicks import evaluate_clicks, read_click_scores
from mitosam.workflows.peak_memory import PeakMemory
from mitosam.workflows.prepare import Sources, check_sources, prepare_run
from mitosam.workflows.runs import SETTINGS, Run, read_object
from mitosam.workflows.share import share_base_scores, share_prepared
from mitosam.workflows.study import BASE, Cell, Study
from mitosam.workflows.train import is_trained, train

TOTALS, COST = "sections.csv", "cost.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a run took; of one that was killed and went on, `seconds` is of its last start."""

    seconds: float
    seconds_trained: float
    peak_memory_bytes: int
    peak_device_bytes: int | None


def is_finished(folder: Path) -> bool:
    """Whether a cell's run is trained and scored."""
    return (folder / COST).is_file()


def run_cell(
    folder: Path,
    cell: Cell,
    study: Study,
    sources: Sources,
    *,
    finished: Sequence[Path] = (),
    progress: Progress = SILENT,
) -> None:
    """Make, train and score one run; one that was killed goes on where it was.

    `finished` are runs of the same data: their prepared volumes and base scores are taken over.
    """
    started = time.monotonic()
    with sole_writer(folder), PeakMemory() as peak:
        donors = [Run.open(one) for one in finished]
        run = _opened(folder, cell, sources, donors, progress)
        for donor in donors:
            if _asks_alike(run, donor):
                share_base_scores(run, donor)
                break
        if not is_trained(run):
            train(run, progress=progress)
        write_csv(folder / TOTALS, _scored(run, cell, study, progress))
    cost = Cost(
        seconds=round(time.monotonic() - started, 1),
        seconds_trained=round(_seconds_trained(run), 1),
        peak_memory_bytes=peak.process_bytes,
        peak_device_bytes=peak.device_bytes,
    )
    write_json(folder / COST, cost)  # last: its presence means finished


def _opened(
    folder: Path, cell: Cell, sources: Sources, donors: Sequence[Run], progress: Progress
) -> Run:
    if (folder / SETTINGS).exists():
        run = Run.resume(folder, cell.settings)
    else:
        shutil.rmtree(folder, ignore_errors=True)  # killed before it was a run
        run = Run.create(folder, cell.settings)
    if run.is_prepared:
        check_sources(run, sources)
        return run
    # What a killed start left may be another run's files, which must not be written into.
    shutil.rmtree(run.prepared_folder, ignore_errors=True)
    if not donors or not share_prepared(run, donors[0], sources, progress=progress):
        prepare_run(run, sources, progress=progress)
    return run


def _asks_alike(run: Run, other: Run) -> bool:
    """Whether the base model is asked the same in both."""
    first, second = (
        one.settings.model_dump(include={"data", "evaluation", "model", "seed"})
        for one in (run, other)
    )
    return first == second


def _scored(run: Run, cell: Cell, study: Study, progress: Progress) -> list[SectionTotal]:
    """The run's scores, section by section."""
    totals = total_scores(evaluate(run, progress=progress).scores)
    if study.clicks:
        has_base = any(arm.factor == BASE for arm in cell.arms)
        evaluate_clicks(run, num_clicks=study.clicks, with_base=has_base, progress=progress)
        totals += total_clicks(read_click_scores(run))
    if study.automatic:
        for score in evaluate_automatic(run, rival="none", progress=progress):
            totals += total_sections(
                score.method, score.volume, score.scores.sections, first=score.sections.start
            )
    return totals


def _seconds_trained(run: Run) -> float:
    """By the training curves, which go on where a killed training was."""
    curves = [whole_curve(run, path) for path in (run.training_curve, run.head_training_curve)]
    return sum(curve[-1].seconds for curve in curves if curve)


def read_totals(folder: Path) -> list[SectionTotal]:
    """What a finished cell scored, section by section."""
    return read_csv(folder / TOTALS, _section_total)


def _section_total(row: Mapping[str, str]) -> SectionTotal:
    return SectionTotal(
        prompt=row["prompt"],
        method=row["method"],  # type: ignore[arg-type]
        clicks=int(row["clicks"]),
        volume=row["volume"],
        section=int(row["section"]),
        count=int(row["count"]),
        dice=float(row["dice"]),
        iou=float(row["iou"]),
        msa=float(row["msa"] or "nan"),
    )


def read_cost(folder: Path) -> Cost:
    """What a finished cell took.

    Raises
    ------
    DamagedFileError
        Its file is damaged.
    """
    path = folder / COST
    try:
        return TypeAdapter(Cost).validate_python(read_object(path))
    except ValidationError as error:
        what = f"{error.error_count()} of its numbers do not fit"
        raise damaged(path, what, way_out="remove its folder to make the run anew") from error
