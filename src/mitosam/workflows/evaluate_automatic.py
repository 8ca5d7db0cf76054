"""Score automatic segmentation, without any prompt, beside a U-Net of the same sections."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from jaxtyping import Int

from mitosam.errors import InputError, ModelError, SettingsError
from mitosam.inference.confidence import ConfidenceCounter
from mitosam.inference.instance_settings import InstanceSettings
from mitosam.inference.map_store import MapStore
from mitosam.io.write import write_sections_tiff
from mitosam.models.tuned import read_tuned_info
from mitosam.progress import SILENT, Progress
from mitosam.storage import sole_writer
from mitosam.workflows.automatic import METHODS, AutomaticInfo, Method, Segmenter
from mitosam.workflows.automatic_model import save_info, segmenter_of_run
from mitosam.workflows.automatic_report import write_automatic_report
from mitosam.workflows.automatic_results import (
    LABELS,
    RECORD,
    AutomaticScore,
    MethodTitle,
    Record,
    claim_folder,
    has_record,
    hash_facts,
    hash_model,
    read_automatic,
    read_record,
    recorded_folders,
    write_confidence,
    write_record,
    write_scores,
)
from mitosam.workflows.calibrate import calibrate
from mitosam.workflows.models import LoadedModel, load_base
from mitosam.workflows.rival import (
    RIVAL,
    has_rival,
    read_rival_info,
    rival_model,
    save_rival_info,
)
from mitosam.workflows.runs import Part, Run
from mitosam.workflows.time_and_machine import now
from mitosam.workflows.truth import runs_of
from mitosam.workflows.tuned_model import tuned_weights

Rival = Literal["unet", "none"]
OWN = "mitosam"
DEFAULT_METHODS: tuple[Method, ...] = ("head", "prompted")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Competitor:
    """A segmenter with its thresholds chosen, and one of its methods."""

    name: str
    method: Method
    segmenter: Segmenter

    @property
    def title(self) -> MethodTitle:
        """What tables call it."""
        return "U-Net" if self.name == RIVAL else self.method


def evaluate_automatic(
    run: Run,
    model: LoadedModel | None = None,
    *,
    methods: Sequence[Method] = DEFAULT_METHODS,
    rival: Rival = "unet",
    seconds_left: float = math.inf,
    progress: Progress = SILENT,
) -> list[AutomaticScore]:
    """Segment the run's test sections by each method, score the instances, and write all down.

    Thresholds come from the validation sections, and so does the method that the model then
    prefers. The rival is trained if it is not there yet. What was segmented before, with the same
    weights and thresholds, is not segmented again. A run that scores the model of another one
    (see `Run.derive`, `transfer`) takes thresholds and rival from there, and chooses nothing.

    Returns
    -------
    A score for each method and each stretch of consecutive test sections, also of methods that
    were asked for before; `automatic.html` and the tables hold the same.

    Raises
    ------
    InputNotFoundError
        The run is not trained.
    ModelError
        It has no head, which a method needs.
    InputError
        It has no test sections.
    OutputInUseError
        Another process is working on the run.
    """
    with sole_writer(run.folder):
        return _evaluate(run, model, methods, rival, seconds_left, progress)


def _evaluate(
    run: Run,
    model: LoadedModel | None,
    methods: Sequence[Method],
    rival: Rival,
    seconds_left: float,
    progress: Progress,
) -> list[AutomaticScore]:
    started = time.monotonic()
    check_automatic(run.folder, methods, rival)
    slabs = [(part, sections) for part in run.parts() for sections in runs_of(part.split.test)]
    if not slabs:
        raise InputError(f"{run.folder} has no sections to report on; choose some with [split]")
    model = model or load_base(run.settings)
    own = _own_segmenter(run, model, methods, progress)
    competitors = [
        _Competitor(name=OWN, method=method, segmenter=own)
        for method in METHODS
        if method in methods
    ]
    if rival == "unet":
        left = seconds_left - (time.monotonic() - started)
        competitors += _rivals(run, model, own, left, progress)
    _remove_outdated(run, own)
    for competitor in competitors:
        for part, sections in slabs:
            _segment(run, competitor, part, sections, progress)
    scores = read_automatic(run, progress)
    write_scores(run.folder, scores)
    write_automatic_report(run, scores, progress)
    return scores


def check_automatic(model: Path, methods: Sequence[str], rival: str) -> None:
    """Raise what stands against an automatic evaluation of a run or a tuned model's file."""
    unknown = [method for method in methods if method not in METHODS]
    if unknown or not methods:
        raise SettingsError(
            f"methods must be some of {', '.join(METHODS)}, got {unknown[0] if unknown else ''!r}"
        )
    if rival not in get_args(Rival):
        raise SettingsError(f"rival must be one of {', '.join(get_args(Rival))}, got {rival!r}")
    weights = tuned_weights(model)
    if weights is None:
        raise SettingsError(f"{model} is not a tuned model; give a run or its model.safetensors")
    if read_tuned_info(weights).head is None and set(methods) != {"grid"}:
        raise ModelError(
            f"{model} has no prompt-free head, which the methods head and prompted need; train "
            "one with `mitosam finetune`, or take --methods grid"
        )


def _own_segmenter(
    run: Run, model: LoadedModel, methods: Sequence[Method], progress: Progress
) -> Segmenter:
    """The run's model with its thresholds, chosen now if the run trained it."""
    own = segmenter_of_run(run, model)
    if not run.trains:
        progress.say("thresholds stay as they were chosen where the model was trained")
        return own
    chosen = own.with_info(calibrate(run, own, methods, OWN, progress))
    if chosen.info != own.info:
        save_info(run, chosen.info)
    return chosen


def calibrate_own(run: Run, model: LoadedModel, progress: Progress = SILENT) -> AutomaticInfo:
    """Choose the thresholds of the run's own methods on its validation sections, and keep them."""
    return _own_segmenter(run, model, DEFAULT_METHODS, progress).info


def _rivals(
    run: Run, model: LoadedModel, own: Segmenter, seconds_left: float, progress: Progress
) -> list[_Competitor]:
    """The U-Net with its thresholds; none for a model that comes from where none was trained."""
    if not run.trains and not has_rival(run):
        progress.say("no U-Net stands beside the model: none was trained where it comes from")
        return []
    network = rival_model(run, model, seconds_left=seconds_left, progress=progress)
    unet = replace(own, head=network, info=read_rival_info(run))
    if run.trains:
        unet = unet.with_info(calibrate(run, unet, ["head"], RIVAL, progress))
        save_rival_info(run, unet.info)
    return [_Competitor(name=RIVAL, method="head", segmenter=unet)]


def _remove_outdated(run: Run, own: Segmenter) -> None:
    """Remove labels of methods that are not asked for now, if other weights made them."""
    for folder in recorded_folders(run):
        if not has_record(folder):
            continue
        record = read_record(folder / RECORD)
        if record.method == "U-Net" or (own.head is None and record.method != "grid"):
            continue
        if record.model != hash_model(own, record.method):
            shutil.rmtree(folder)


def _segment(
    run: Run, competitor: _Competitor, part: Part, sections: range, progress: Progress
) -> None:
    """Write the labels of some sections, unless they are there."""
    segmenter, method, volume = competitor.segmenter, competitor.method, part.volume
    settings = segmenter.info.settings_of(method)
    model = hash_model(segmenter, method)
    folder = run.automatic_folder(
        f"{competitor.name}-{method}-{volume.folder.name}-{sections.start}"
    )
    facts = [model, settings.model_dump_json(), volume.images_sha256, list(sections)]
    claim_folder(folder, hash_facts(facts))
    if has_record(folder):
        return
    store = MapStore(folder, (len(sections), *volume.shape_zyx[1:]))
    compute = segmenter.mapper(method, volume.images.__getitem__, volume.shape_zyx[0])
    started = time.monotonic()
    title, counter = f"segmenting ({competitor.title})", ConfidenceCounter()
    store.fill(lambda z: compute(sections[z]), title=title, progress=progress)
    write_sections_tiff(
        folder / LABELS,
        _counted(store, settings, counter, progress),
        shape_zyx=(len(sections), *volume.shape_zyx[1:]),
        dtype=np.uint32,
        voxel_size_nm=volume.voxel_size_nm,
    )
    write_confidence(folder, counter.result())
    record = Record(
        method=competitor.title,
        part=volume.folder.name,
        sections=(sections.start, sections.stop),
        instances=settings,
        is_calibrated=segmenter.info.validation_sections > 0 and method in segmenter.info.instances,
        model=model,
        seconds=round(time.monotonic() - started, 1),
        segmented=now(),
    )
    write_record(folder, record)
    store.clear()


def _counted(
    store: MapStore, settings: InstanceSettings, counter: ConfidenceCounter, progress: Progress
) -> Iterator[Int[np.ndarray, "height width"]]:
    """The sections' instances; on their way, how sure each is is counted."""
    for place, labels in enumerate(store.label(settings, progress)):
        counter.add(labels, store.foreground(place, settings.z_radius))
        yield labels
