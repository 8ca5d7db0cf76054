"""The main job: from images and masks to a report of what tuning gained."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from mitosam.config import RunSettings, override_settings
from mitosam.errors import OutputExistsError
from mitosam.models.part_settings import PRESETS
from mitosam.models.tuned import read_tuned_info
from mitosam.progress import SILENT, Progress
from mitosam.ranks import current, join
from mitosam.storage import require_free
from mitosam.workflows.automatic_results import AutomaticScore
from mitosam.workflows.evaluate import Evaluation, encode_asked, evaluate, evaluate_base
from mitosam.workflows.evaluate_automatic import evaluate_automatic
from mitosam.workflows.head import encode_sections, seen_by_head
from mitosam.workflows.models import load_base, with_tuned
from mitosam.workflows.plan import plan
from mitosam.workflows.plan_parts import best_that_fits
from mitosam.workflows.prepare import (
    Sources,
    check_sources,
    prepare,
    prepare_run,
    with_common_pixel,
)
from mitosam.workflows.report import report
from mitosam.workflows.runs import SETTINGS, Run
from mitosam.workflows.train import is_trained, train

# A shorter budget is not spent on measuring what fits.
WORTH_PLANNING_S = 600.0
# Scoring the tuned model and drawing the report, as a multiple of the time the base model took.
EVALUATION_SHARE = 1.2
# Of the time for training; the rest is for the rival of the head and the scores without prompts.
TRAINING_SHARE = 0.65
# Of what is left then, what the rival's training may take.
RIVAL_SHARE = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneResult:
    """A finished run."""

    run: Run
    evaluation: Evaluation
    automatic: list[AutomaticScore]
    report: Path
    seconds: float


def finetune(
    sources: Sources,
    out: Path,
    settings: RunSettings,
    *,
    budget_s: float = math.inf,
    resume: bool = False,
    progress: Progress = SILENT,
) -> FinetuneResult:
    """Prepare, score the base model, train, score the tuned model, and write the report.

    With `head.enabled` the prompt-free head is trained too, and scored beside a U-Net. Several
    processes that torchrun started encode, and train the model's parts, together; the first does
    the rest, and all return the same.

    Parameters
    ----------
    budget_s
        Seconds for all of it. Training stops in time for what comes after it, at the best weights
        so far; the learning rate is spread over the time there is. Unless the settings name
        `training.parts`, the best of them for this time is chosen by measuring each.
    resume
        Go on with the run in `out`, which must have been made with the same settings.

    Raises
    ------
    OutputExistsError
        `out` holds something already, and `resume` is not set.
    OutputInUseError
        Another process is working on it.
    RankError
        One of several processes ended.
    """
    ranks = join(settings.model.device)
    with ranks.writing(out):
        voice = ranks.voice(progress)
        return _finetune(sources, out, settings, budget_s, resume, voice)


def _finetune(
    sources: Sources,
    out: Path,
    settings: RunSettings,
    budget_s: float,
    resume: bool,
    progress: Progress,
) -> FinetuneResult:
    started, ranks = time.monotonic(), current()
    settings = with_common_pixel(sources, settings)
    if math.isfinite(budget_s) and "parts" not in settings.training.model_fields_set:
        parts = ranks.led(
            lambda: _parts_within(
                sources, out, settings, budget_s, ranks.count, resume=resume, progress=progress
            )
        )
        settings = override_settings(settings, [f"training.parts={json.dumps(parts)}"])
    ranks.led(lambda: _check_out(out, settings, resume=resume))
    model = load_base(settings)  # first, as a model that is not there would be found out late
    input_px = model.sam.input_px
    run = ranks.led(
        lambda: _open_run(sources, out, settings, input_px, resume=resume, progress=progress)
    )
    before = time.monotonic()
    encode_asked(run, model, progress)
    ranks.led(lambda: evaluate_base(run, model, progress=progress))
    reserve = EVALUATION_SHARE * (time.monotonic() - before)

    def left() -> float:
        return max(budget_s - (time.monotonic() - started) - reserve, 1.0)

    if not ranks.agree(is_trained(run)):
        share = TRAINING_SHARE if settings.head.enabled else 1.0
        train(run, model, seconds_left=share * left(), progress=progress)
    if ranks.count > 1:
        _encode_for_scoring(run, progress)

    def score_and_report() -> FinetuneResult:
        evaluation = evaluate(run, load_base(settings), progress=progress)
        automatic: list[AutomaticScore] = []
        if settings.head.enabled:
            automatic = evaluate_automatic(
                run, rival=settings.head.rival, seconds_left=RIVAL_SHARE * left(), progress=progress
            )
        seconds = time.monotonic() - started
        run.record({"seconds": round(seconds, 1)})
        return FinetuneResult(
            run=run,
            evaluation=evaluation,
            automatic=automatic,
            report=report(run, evaluation, progress=progress),
            seconds=seconds,
        )

    return ranks.led(score_and_report)


def _encode_for_scoring(run: Run, progress: Progress) -> None:
    """Encode with the tuned model, on all processes, what the first will score."""
    tuned = with_tuned(load_base(run.settings), run.tuned_weights, run.settings.cache)
    encode_asked(run, tuned, progress)
    if run.settings.head.enabled:
        seen = seen_by_head(read_tuned_info(run.tuned_weights).head, tuned, run.settings)
        encode_sections(run, seen, ("test",), progress)


def _parts_within(
    sources: Sources,
    out: Path,
    settings: RunSettings,
    budget_s: float,
    processes: int,
    *,
    resume: bool,
    progress: Progress,
) -> tuple[str, ...]:
    """The parts of the best preset that fits into the time and into this machine's memory."""
    if resume:
        return Run.open(out).settings.training.parts
    if budget_s < WORTH_PLANNING_S:
        return PRESETS["decoder"]
    planned = plan(sources, settings, processes=processes, progress=progress).presets
    memory = psutil.virtual_memory().available
    chosen = best_that_fits(planned, seconds=budget_s, memory_bytes=memory) or "decoder"
    whole = ", ".join(
        f"{one.preset} {one.refused or f'{one.seconds / 60:.0f} min'}" for one in planned
    )
    progress.say(f"chose training.parts={chosen} for this budget (a whole run: {whole})")
    return PRESETS[chosen]


def _check_out(out: Path, settings: RunSettings, *, resume: bool) -> None:
    """Raise what stands against writing to `out`."""
    if resume:
        Run.resume(out, settings)
    elif (out / SETTINGS).exists():
        raise OutputExistsError(
            f"{out} holds a run already; pass --resume to go on with it, or another --out"
        )
    else:
        require_free(out)


def _open_run(
    sources: Sources,
    out: Path,
    settings: RunSettings,
    input_px: int,
    *,
    resume: bool,
    progress: Progress,
) -> Run:
    if not resume:
        return prepare(sources, out, settings, input_px=input_px, progress=progress)
    run = Run.resume(out, settings)
    if run.is_prepared:
        check_sources(run, sources)
        return run
    return prepare_run(run, sources, input_px=input_px, progress=progress)
