"""Choose on validation sections how maps become instances, and which method is best."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from mitosam.evaluation.sections import score_sections
from mitosam.evaluation.thresholds import BestThreshold, ThresholdCounter
from mitosam.inference.instances import InstanceSettings
from mitosam.inference.map_store import MapStore
from mitosam.progress import SILENT, Progress
from mitosam.workflows.automatic import AutomaticInfo, Method, Segmenter
from mitosam.workflows.head import spacing_px
from mitosam.workflows.runs import Part, Run
from mitosam.workflows.truth import runs_of, smallest_sizes, true_instances

log = logging.getLogger(__name__)

BOUNDARY_THRESHOLDS = (0.3, 0.5, 0.7, 1.0)
LOWEST_THRESHOLD, HIGHEST_THRESHOLD = 0.2, 0.8
MAX_SECTIONS = 8


def calibrate(
    run: Run,
    segmenter: Segmenter,
    methods: Sequence[Method],
    name: str,
    progress: Progress = SILENT,
) -> AutomaticInfo:
    """What the run's validation sections choose for each method; the maps stay in the run.

    Without validation sections everything keeps its default, and the head is preferred.
    `name` tells the maps of a rival from those of the run's own model.
    """
    info = segmenter.info
    part = run.parts()[0]
    sections = _validation_sections(part)
    for method in methods if len(sections) else ():
        store = validation_maps(run, segmenter, method, name, progress)
        chosen, score = choose_settings(store, part, sections, progress)
        info = info.model_copy(
            update={
                "instances": info.instances | {method: chosen},
                "scores": info.scores | {method: score},
                "validation_sections": len(sections),
            }
        )
        segmenter = segmenter.with_info(info)
    if info.scores:
        best = max(info.scores, key=lambda method: info.scores[method])
        info = info.model_copy(update={"preferred": best})
    return info


def _validation_sections(part: Part) -> range:
    """The first validation sections that follow each other."""
    runs = runs_of(part.split.validation)
    return runs[0][:MAX_SECTIONS] if runs else range(0)


def validation_maps(
    run: Run, segmenter: Segmenter, method: Method, name: str, progress: Progress
) -> MapStore:
    """The maps of the validation sections, computed where they are not there yet."""
    part = run.parts()[0]
    sections = _validation_sections(part)
    store = MapStore(run.automatic_folder(f"{name}-{method}-validation"), len(sections))
    read, depth = part.volume.images.__getitem__, part.volume.shape_zyx[0]
    compute = segmenter.mapper(method, read, depth)
    store.fill(
        lambda z: compute(sections[z]), title=f"choosing thresholds ({method})", progress=progress
    )
    return store


def choose_settings(
    store: MapStore, part: Part, sections: range, progress: Progress = SILENT
) -> tuple[InstanceSettings, float]:
    """The settings with the highest mean mSA of a section, and that score."""
    truth = true_instances(part.volume, sections)
    sizes = smallest_sizes(part.volume, part.split.train)
    radius = z_radius(spacing_px(part), len(sections))
    best = best_threshold(store, truth, radius)
    threshold = float(np.clip(best.threshold / 255, LOWEST_THRESHOLD, HIGHEST_THRESHOLD))
    scored = []
    for boundary in BOUNDARY_THRESHOLDS:
        settings = InstanceSettings(
            foreground_threshold=threshold,
            boundary_threshold=boundary,
            z_radius=radius,
            min_area_px=sizes.area_px,
            min_volume_voxels=sizes.volume_voxels if len(sections) > 1 else sizes.area_px,
            min_sections=2,
        )
        # The few validation sections hold slices of instances, so no volume is too small here.
        here = settings.model_copy(update={"min_volume_voxels": sizes.area_px, "min_sections": 1})
        labels = np.stack(list(store.label(here)))
        scores = score_sections(labels, truth)
        scored.append((float(np.mean([score.msa for score in scores])), boundary, settings))
        log.info("boundary %.1f: mSA %.4f", boundary, scored[-1][0])
    score, _, settings = max(scored, key=lambda one: one[:2])
    progress.say(
        f"validation chose foreground {threshold:.2f}, boundary {settings.boundary_threshold}"
        f" (IoU {best.iou:.3f}, mSA {score:.3f})"
    )
    return settings, score


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
