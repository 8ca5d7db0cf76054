"""Choose on validation sections how maps become instances, and which method is best."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int
from pydantic import BaseModel, ConfigDict

from mitosam.evaluation.metrics import measure_overlap
from mitosam.evaluation.sections import score_sections
from mitosam.evaluation.thresholds import BestThreshold, ThresholdCounter
from mitosam.inference.instance_settings import InstanceSettings
from mitosam.inference.map_store import MapStore
from mitosam.progress import SILENT, Progress
from mitosam.workflows.automatic import METHODS, AutomaticInfo, Method, Segmenter
from mitosam.workflows.automatic_results import claim_folder, hash_facts, hash_model
from mitosam.workflows.head import spacing_px
from mitosam.workflows.runs import Part, Run, read_object, write_object
from mitosam.workflows.truth import runs_of, smallest_sizes, true_instances

log = logging.getLogger(__name__)

# One after the other; of values that are equally good the highest is taken.
CANDIDATES = {
    "boundary_threshold": (0.3, 0.5, 0.7, 1.0),
    "min_confidence": (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95),
}
LOWEST_THRESHOLD, HIGHEST_THRESHOLD = 0.2, 0.8
MAX_SECTIONS = 8
CHOICE = "choice.json"


class Choice(BaseModel):
    """What validation sections chose for one method."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    instances: InstanceSettings
    score: float
    """Mean of two: the mSA of a section, itself a mean over sections, and the foreground's IoU."""


def calibrate(
    run: Run,
    segmenter: Segmenter,
    methods: Sequence[Method],
    name: str,
    progress: Progress = SILENT,
) -> AutomaticInfo:
    """What the run's validation sections choose for each method; the maps stay in the run.

    Without validation sections thresholds keep their defaults, sizes come from the training
    sections alone, and the head is preferred. What was chosen before, for the same weights, is read
    back. `name` tells the maps of a rival from those
    of the run's own model. The prompted method starts from the head's instances, so that the head's
    thresholds are chosen with it.
    """
    info = segmenter.info
    part = calibration_part(run)
    num_sections = len(validation_sections(part))
    needed = {*methods, "head"} if "prompted" in methods else set(methods)
    if not num_sections:
        progress.say("there are no validation sections, so that thresholds keep their defaults")
        sizes = training_sizes(part)
        return info.model_copy(update={"instances": dict.fromkeys(needed, sizes)})
    for method in (method for method in METHODS if method in needed):
        choice = _choose(run, segmenter, method, name, progress)
        info = info.model_copy(
            update={
                "instances": info.instances | {method: choice.instances},
                "scores": info.scores | {method: choice.score},
                "validation_sections": num_sections,
            }
        )
        segmenter = segmenter.with_info(info)
    best = max(info.scores, key=lambda method: info.scores[method])
    return info.model_copy(update={"preferred": best})


def calibration_part(run: Run) -> Part:
    """The volume whose validation sections choose thresholds: the first that has some."""
    parts = run.parts()
    return next((part for part in parts if part.split.validation), parts[0])


def validation_sections(part: Part) -> range:
    """The first validation sections that follow each other: those that choose thresholds."""
    runs = runs_of(part.split.validation)
    return runs[0][:MAX_SECTIONS] if runs else range(0)


def _choose(
    run: Run, segmenter: Segmenter, method: Method, name: str, progress: Progress
) -> Choice:
    """What the validation sections choose, or chose before for the same weights."""
    path = _validation_folder(run, segmenter, method, name) / CHOICE
    if path.exists():
        try:
            return Choice.model_validate(read_object(path))
        except ValueError:
            log.warning("%s is damaged; choosing anew", path)
    store = validation_maps(run, segmenter, method, name, progress)
    part = calibration_part(run)
    settings, score = choose_settings(store, part, validation_sections(part), progress)
    choice = Choice(instances=settings, score=score)
    write_object(path, choice.model_dump(mode="json"))
    return choice


def _validation_folder(run: Run, segmenter: Segmenter, method: Method, name: str) -> Path:
    """Where maps and choice are; those of other weights are removed."""
    part = calibration_part(run)
    sections, volume = validation_sections(part), part.volume
    facts = [hash_model(segmenter, method), volume.images_sha256, volume.masks_sha256]
    folder = run.automatic_folder(f"{name}-{method}-validation")
    claim_folder(folder, hash_facts([*facts, list(sections)]))
    return folder


def validation_maps(
    run: Run, segmenter: Segmenter, method: Method, name: str, progress: Progress
) -> MapStore:
    """The maps of the validation sections, computed where they are not there yet."""
    part = calibration_part(run)
    sections = validation_sections(part)
    shape_zyx = (len(sections), *part.volume.shape_zyx[1:])
    store = MapStore(_validation_folder(run, segmenter, method, name), shape_zyx)
    read, depth = part.volume.images.__getitem__, part.volume.shape_zyx[0]
    compute = segmenter.mapper(method, read, depth)
    store.fill(
        lambda z: compute(sections[z]), title=f"choosing thresholds ({method})", progress=progress
    )
    return store


def training_sizes(part: Part) -> InstanceSettings:
    """The defaults, with what the training sections and the voxel size tell: how small is small."""
    sizes = smallest_sizes(part.volume, part.split.train or part.split.validation)
    depth = part.volume.shape_zyx[0]
    return InstanceSettings(
        z_radius=z_radius(spacing_px(part), depth),
        min_area_px=sizes.area_px,
        min_volume_voxels=sizes.volume_voxels if depth > 1 else sizes.area_px,
        min_whole_voxels=sizes.whole_voxels if depth > 1 else 0,
        min_sections=2,
    )


def choose_settings(
    store: MapStore, part: Part, sections: range, progress: Progress = SILENT
) -> tuple[InstanceSettings, float]:
    """The settings with the highest score (see `Choice.score`), and that score.

    The foreground's threshold comes first, by its IoU alone. mSA alone would pay for fewer false
    finds with foreground: few pixels make many instances.
    """
    truth = true_instances(part.volume, sections)
    sizes = training_sizes(part)
    best = best_threshold(store, truth, sizes.z_radius)
    threshold = float(np.clip(best.threshold / 255, LOWEST_THRESHOLD, HIGHEST_THRESHOLD))
    chosen = sizes.model_copy(update={"foreground_threshold": threshold, "min_confidence": 0.0})
    score = -math.inf
    for name, values in CANDIDATES.items():
        score, best_value = max(
            (_validation_score(store, truth, chosen.model_copy(update={name: value})), value)
            for value in values
        )
        chosen = chosen.model_copy(update={name: best_value})
    progress.say(
        f"validation chose foreground {threshold:.2f}, boundary {chosen.boundary_threshold}, "
        f"confidence {chosen.min_confidence} (IoU {best.iou:.3f}, score {score:.3f})"
    )
    return chosen, score


def _validation_score(
    store: MapStore, truth: Int[np.ndarray, "n height width"], settings: InstanceSettings
) -> float:
    """See `Choice.score`. The few sections hold slices of instances: none is too small."""
    slices = settings.model_copy(
        update={
            "min_volume_voxels": settings.min_area_px,
            "min_whole_voxels": 0,
            "min_sections": 1,
        }
    )
    labels = np.stack(list(store.label(slices)))
    msa = float(np.mean([one.msa for one in score_sections(labels, truth)]))
    width = truth.shape[2]  # all sections below each other: pooled
    iou = measure_overlap((labels > 0).reshape(-1, width), (truth > 0).reshape(-1, width)).iou
    log.info("%s: mSA %.4f, foreground IoU %.4f", settings, msa, float(iou))
    return (msa + float(iou)) / 2


def z_radius(spacing_px: float, num_sections: int) -> int:
    """How many sections to either side are alike enough for their median to be one of them."""
    radius = 2 if spacing_px <= 2 else 1 if spacing_px <= 4 else 0
    return radius if num_sections > 1 else 0


def best_threshold(store: MapStore, truth: np.ndarray, radius: int) -> BestThreshold:
    """Where to cut the foreground."""
    counter = ThresholdCounter()
    for z, section in enumerate(truth):
        counter.add(store.foreground(z, radius), section > 0)
    return counter.curve().best()
