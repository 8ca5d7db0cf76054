"""The page of what a run's methods found without prompts, and that section of its report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from mitosam.data.splits import describe_sections
from mitosam.evaluation.instances import section_instances
from mitosam.evaluation.outlines import classify_outlines
from mitosam.evaluation.sections import SectionScore
from mitosam.io.open import open_volume
from mitosam.models.tuned import read_tuned_info
from mitosam.progress import SILENT, Progress
from mitosam.reporting.automatic import METHOD_TITLES, write_automatic_page
from mitosam.reporting.automatic_content import (
    AutomaticContent,
    AutomaticMethod,
    MethodScores,
    SectionPoint,
    choose_examples,
)
from mitosam.reporting.outlines import OutlinedSection, draw_finds
from mitosam.workflows.automatic import AutomaticInfo
from mitosam.workflows.automatic_results import ORDER, AutomaticScore
from mitosam.workflows.calibrate import calibration_part, validation_sections
from mitosam.workflows.provenance import provenance_rows, split_notes
from mitosam.workflows.runs import Part, Run
from mitosam.workflows.truth import true_section

PAGE = "automatic.html"


def write_automatic_report(
    run: Run, scores: Sequence[AutomaticScore], progress: Progress = SILENT
) -> Path:
    """Write `automatic.html` into the run's folder, and return its path."""
    progress.say("drawing the page of automatic results")
    return write_automatic_page(run.folder / PAGE, automatic_content(run, scores))


def automatic_content(run: Run, scores: Sequence[AutomaticScore]) -> AutomaticContent:
    """Tables, figures and pictures of the scores, and all that a reader must know of them."""
    shown = preferred_method(run, scores)
    return AutomaticContent(
        title=f"mitosam: {run.folder.resolve().name}",
        methods=[_method(score, place=_place(score, scores)) for score in scores],
        thresholds_from=_thresholds_from(run, scores),
        thresholds=_thresholds(scores),
        pictures=_pictures(run, [score for score in scores if score.method == shown], scores),
        pictures_of=shown,
        messages=messages_of(run, scores),
        provenance=provenance_rows(run) + _seconds(scores),
    )


def preferred_method(run: Run, scores: Sequence[AutomaticScore]) -> AutomaticMethod:
    """The method that validation preferred, or else the first that was scored."""
    info = AutomaticInfo.parse(read_tuned_info(run.tuned_weights).automatic_json)
    scored = [method for method in ORDER if any(score.method == method for score in scores)]
    return info.preferred if info.preferred in scored else scored[0]


def messages_of(run: Run, scores: Sequence[AutomaticScore]) -> list[str]:
    """What a reader must know before any number."""
    parts = run.parts()
    messages = split_notes(parts)
    slabs = _slabs(scores)
    if len(slabs) > 1:
        messages.append(
            f"{len(slabs)} stretches of consecutive sections were scored, each by itself: "
            "nothing is pooled over them."
        )
    if any(sections[1] - sections[0] == 1 for _, sections in slabs):
        messages.append("Where one section was scored, its 3D scores are those of its 2D objects.")
    scored = {part for part, _ in slabs}
    if any(p.volume.folder.name in scored and p.volume.info.coding == "binary" for p in parts):
        messages.append(
            "The masks are binary, so that the true instances in 3D are the connected pieces of "
            "the scored sections: mitochondria that touch there count as one."
        )
    if any(score.scores.surfaces is None for score in scores):
        messages.append("The voxel size is unknown, so that no distance between surfaces is given.")
    return messages + _threshold_messages(run, scores)


def _threshold_messages(run: Run, scores: Sequence[AutomaticScore]) -> list[str]:
    messages = []
    if not run.trains:
        messages.append(
            "The model comes from another run. Its thresholds stay as they were chosen there."
        )
    defaults = sorted(
        {score.method for score in scores if not score.record.is_calibrated}, key=ORDER.index
    )
    if defaults:
        named = ", ".join(METHOD_TITLES[method] for method in defaults)
        remedy = (
            "prepare the run with --validation to have some"
            if run.trains
            else "`mitosam evaluate --automatic` of the run that trained the model chooses them"
        )
        messages.append(f"No validation sections chose the thresholds of {named}; {remedy}.")
    if all(score.method != "U-Net" for score in scores):
        messages.append("No U-Net stands beside these methods: none was trained, or asked for.")
    return messages


def _slabs(scores: Sequence[AutomaticScore]) -> set[tuple[str, tuple[int, int]]]:
    return {(score.record.part, score.record.sections) for score in scores}


def describe_place(score: AutomaticScore) -> str:
    """The volume and its sections, counted from 1."""
    return f"{score.volume}, {describe_sections(score.sections)}"


def _place(score: AutomaticScore, scores: Sequence[AutomaticScore]) -> str:
    return describe_place(score) if len(_slabs(scores)) > 1 else ""


def _method(score: AutomaticScore, *, place: str) -> MethodScores:
    scores, means = score.scores, score.scores.section_means
    everywhere, surfaces = scores.foreground.everywhere, scores.surfaces
    return MethodScores(
        method=score.method,
        place=place,
        foreground_iou=float(everywhere.iou),
        foreground_dice=float(everywhere.dice),
        msa=scores.instances.msa,
        ap50=scores.instances.ap50,
        ap75=scores.instances.ap75,
        f1=scores.instances.f1,
        panoptic_quality=scores.instances.panoptic_quality,
        num_true=scores.instances.num_true,
        num_predicted=scores.instances.num_predicted,
        relative_volume_error=scores.quantities.relative_volume_error,
        section_iou=means.iou.mean,
        section_msa=means.msa.mean,
        section_ap50=means.ap50.mean,
        section_f1=means.f1.mean,
        asd_nm=surfaces.asd_nm if surfaces else math.nan,
        hd95_nm=surfaces.hd95_nm if surfaces else math.nan,
        sections=[_point(score, section) for section in scores.sections],
        confidence=scores.confidence,
    )


def _point(score: AutomaticScore, section: SectionScore) -> SectionPoint:
    return SectionPoint(section=score.sections[section.section], f1=section.f1, iou=section.iou)


def _thresholds_from(run: Run, scores: Sequence[AutomaticScore]) -> str:
    if not any(score.record.is_calibrated for score in scores):
        return ""
    part = calibration_part(run)
    sections = validation_sections(part)
    if not sections:
        return "on validation sections of the volume that the model was trained on"
    return f"on validation {describe_sections(sections)} of {part.volume.name}"


def _thresholds(scores: Sequence[AutomaticScore]) -> list[tuple[str, str]]:
    """Of each method once, as they are the same everywhere."""
    found = {}
    for score in scores:
        chosen = score.record.instances
        title = METHOD_TITLES[score.method]
        found[f"{title}, foreground"] = f"{chosen.foreground_threshold:.2f}"
        found[f"{title}, boundary"] = f"{chosen.boundary_threshold:.2f}"
    return list(found.items())


def _seconds(scores: Sequence[AutomaticScore]) -> list[tuple[str, str]]:
    return [
        (
            f"segmented by {METHOD_TITLES[score.method]}",
            f"{describe_place(score)}: {score.record.seconds:g} s, {score.record.segmented}",
        )
        for score in scores
    ]


def _pictures(
    run: Run, of_method: Sequence[AutomaticScore], scores: Sequence[AutomaticScore]
) -> list[OutlinedSection]:
    """The best, the median and the worst section of one method that hold anything, drawn."""
    parts = {part.volume.folder.name: part for part in run.parts()}
    candidates = [
        (score, section)
        for score in of_method
        for section in score.scores.sections
        if not section.is_empty
    ]
    points = [
        SectionPoint(section=number, f1=section.f1, iou=section.iou)
        for number, (_, section) in enumerate(candidates)
    ]
    pictures = []
    for example in choose_examples(points):
        score, section = candidates[example.point.section]
        place = f"section {score.sections[section.section] + 1}"
        if _place(score, scores):
            place = f"{score.volume}, {place}"
        title = f"{example.why.capitalize()}: {place}"
        pictures.append(_draw(parts[score.record.part], score, section, title))
    return pictures


def _draw(part: Part, score: AutomaticScore, section: SectionScore, title: str) -> OutlinedSection:
    z, size = score.sections[section.section], part.volume.voxel_size_nm
    predicted = section_instances(open_volume(score.labels).section(section.section))
    truth = true_section(part.volume, z)
    classes = classify_outlines(predicted, truth)
    return draw_finds(
        part.volume.images[z],
        predicted,
        truth,
        hits=set(classes.hits.tolist()),
        false_finds=set(classes.false_finds.tolist()),
        misses=set(classes.missed.tolist()),
        title=title,
        caption=f"F1 {section.f1:.2f}, foreground IoU {section.iou:.2f}",
        pixel_nm=size[2] if size and math.isclose(size[1], size[2]) else None,
    )
