"""The report of a run: what tuning gained, in one page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from mitosam.evaluation.cases import ChosenCase, choose_cases
from mitosam.evaluation.scores import Score, Subject
from mitosam.geometry import Window
from mitosam.progress import SILENT, Progress
from mitosam.reporting.automatic_content import AutomaticContent
from mitosam.reporting.build import write_report
from mitosam.reporting.content import Case, Report
from mitosam.workflows.automatic_report import automatic_content
from mitosam.workflows.automatic_results import AutomaticScore, read_automatic
from mitosam.workflows.curves import whole_curve
from mitosam.workflows.evaluate import Evaluation, ask, read_evaluation, read_masks
from mitosam.workflows.evaluate_clicks import read_clicks
from mitosam.workflows.prepare import describe_split
from mitosam.workflows.provenance import provenance_rows, split_notes
from mitosam.workflows.runs import Part, Run

OBJECTS = {
    "section": "Objects are whole mitochondria of a section, as far as one tile holds them.",
    "patch": "Objects are the pieces of mitochondria within each patch.",
}


def report(
    run: Run,
    evaluation: Evaluation | None = None,
    automatic: Sequence[AutomaticScore] | None = None,
    *,
    progress: Progress = SILENT,
) -> Path:
    """Write `report.html` and the tables beside it, and return the page's path.

    What was scored without prompts has a section of its own in it. `automatic` are those scores,
    where they are at hand; else they are taken anew from the labels that the run holds.

    Raises
    ------
    InputNotFoundError
        The run was not evaluated yet.
    """
    evaluation = evaluation or read_evaluation(run)
    automatic = read_automatic(run, progress) if automatic is None else automatic
    progress.say("drawing the report")
    parts = run.parts()
    notes = _notes(run, parts)
    content = Report(
        title=f"mitosam: {run.folder.resolve().name}",
        scores=evaluation.scores,
        summaries=evaluation.summary,
        differences=evaluation.differences,
        cases=find_cases(run, parts, evaluation),
        curve=whole_curve(run, run.training_curve),
        counts=_counts(run, evaluation),
        split=" ".join(
            [f"{part.volume.name}: {describe_split(part.split)}." for part in parts]
            + [OBJECTS[run.settings.evaluation.objects]]
        ),
        notes=notes,
        clicks=read_clicks(run),
        trust=evaluation.trust,
        volumes=evaluation.volumes,
        automatic=_automatic(run, automatic, notes),
        provenance=provenance_rows(run),
    )
    return write_report(run.folder, content)


def _automatic(
    run: Run, scores: Sequence[AutomaticScore], told: Sequence[str]
) -> AutomaticContent | None:
    """What stands in the report's own section; what is told above it is not told again."""
    if not scores:
        return None
    content = automatic_content(run, scores)
    return replace(content, messages=[text for text in content.messages if text not in told])


def find_cases(run: Run, parts: list[Part], evaluation: Evaluation) -> list[Case]:
    """The chosen patches with their pixels; only those are read."""
    chosen = choose_cases(evaluation.scores)
    if not chosen:
        return []
    volumes = {part.volume.name: part.volume for part in parts}
    masks = {method: read_masks(run, method) for method in ("base", "tuned")}
    places = {
        score.subject: number
        for number, score in enumerate(
            score
            for score in evaluation.scores
            if score.protocol == "patch-box" and score.method == "base"
        )
    }
    boxes = _boxes(run, {case.base.subject for case in chosen})
    size = run.settings.data.patch_px

    def drawn(case: ChosenCase) -> Case:
        score = case.base
        volume, window = volumes[score.volume], Window(score.y, score.x, size, size)
        place = places[score.subject]
        nm = volume.voxel_size_nm
        return Case(
            image=np.asarray(window.cut(volume.images[score.section])),
            truth=np.asarray(window.cut(volume.labels[score.section])) > 0,
            base=masks["base"][place],
            tuned=masks["tuned"][place],
            base_score=case.base,
            tuned_score=case.tuned,
            why=case.why,
            box_xyxy=boxes[score.subject],
            pixel_nm=nm[2] if nm and math.isclose(nm[1], nm[2]) else None,
        )

    return [drawn(case) for case in chosen]


def _boxes(run: Run, wanted: set[Subject]) -> dict[Subject, Float[np.ndarray, " 4"]]:
    """The prompts of some patches, in the patches' own pixels."""
    return {
        question.subject: question.box_xyxy
        - [question.subject.x, question.subject.y, question.subject.x, question.subject.y]
        for asked in ask(run)
        for question in asked.questions
        if question.subject in wanted
    }


def _counts(run: Run, evaluation: Evaluation) -> list[tuple[str, int]]:
    facts = [value for name, value in run.provenance().items() if name.startswith("volume ")]
    counts = [
        ("patches", sum(fact["patches"] for fact in facts)),
        ("patches with mitochondria", sum(fact["patches_with_mitochondria"] for fact in facts)),
        ("patches without, not trained on", sum(fact["patches_without"] for fact in facts)),
    ]
    if any(fact["pixels_lost_per_section"] for fact in facts):
        lost = max(fact["pixels_lost_per_section"] for fact in facts)
        counts.append(("pixels a section in no patch (edge = crop)", lost))
    for protocol, label in (("patch-box", "patches scored"), ("object-box", "mitochondria scored")):
        counts.append((label, len(_base_scores(evaluation, protocol))))
    empty = sum(score.truth_px == 0 for score in _base_scores(evaluation, "patch-box"))
    return [*counts, ("of the scored patches, empty", empty)]


def _base_scores(evaluation: Evaluation, protocol: str) -> list[Score]:
    return [s for s in evaluation.scores if s.protocol == protocol and s.method == "base"]


def _notes(run: Run, parts: list[Part]) -> list[str]:
    notes = split_notes(parts)
    if run.settings.evaluation.max_sections:
        notes.append(f"Only {run.settings.evaluation.max_sections} sections were scored.")
    return notes
