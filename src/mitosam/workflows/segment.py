"""Segment every mitochondrion of an image or a volume, without prompts, and measure them."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from mitosam import __version__
from mitosam.config import RunSettings, resolve_settings
from mitosam.data.intensity import (
    adopt_normalisation,
    measure_normalisation,
)
from mitosam.data.spacing import section_spacing_px
from mitosam.inference.instances import InstanceSettings
from mitosam.io.open import open_volume
from mitosam.io.tables import write_csv, write_json
from mitosam.io.volume import Volume
from mitosam.models.shipped_head import WORTH
from mitosam.morphometry.instances import InstanceRow
from mitosam.morphometry.summary import VolumeSummary
from mitosam.progress import SILENT, Progress
from mitosam.storage import require_free, sole_writer
from mitosam.workflows.automatic import Method, Segmenter
from mitosam.workflows.automatic_model import has_shipped_head, segmenter_of, suit_shipped_head
from mitosam.workflows.calibrate import z_radius
from mitosam.workflows.measure import measure_volume
from mitosam.workflows.runs import now
from mitosam.workflows.segment_folder import FACTS, LABELS, WorkFolder
from mitosam.workflows.segment_report import write_previews, write_segment_report
from mitosam.workflows.segment_volumes import Job, write_volumes
from mitosam.workflows.tuned_model import UsableModel, load_tuned_model
from mitosam.workflows.voxel_sizes import VoxelSize, choose_voxel_size


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentResult:
    """What `segment` wrote."""

    out: Path
    labels: Path
    table: Path
    report: Path
    method: Method
    instances: tuple[InstanceRow, ...]
    volume: VolumeSummary
    seconds: float


def segment(
    images: Path,
    out: Path,
    *,
    model: Path | str,
    method: Method | Literal["auto"] = "auto",
    voxel_size_nm: VoxelSize | None = None,
    tiff: bool = False,
    probability: bool = False,
    settings: RunSettings | None = None,
    progress: Progress = SILENT,
) -> SegmentResult:
    """Write `labels.ome.zarr`, `mitochondria.csv`, previews and `report.html` into `out`.

    Parameters
    ----------
    images
        An image, a stack, or a folder of sections.
    model
        A run, its `model.safetensors`, or a base model. Base models have a point grid only, but
        for the embedded one, whose head was trained on made-up volumes.
    method
        "head", "prompted" or "grid"; "auto" is what validation preferred.
    tiff, probability
        Write the labels as `labels.tif` too; write the foreground's probability too.

    A segmentation that was killed goes on where it stopped, and ends at the same labels, if it is
    started again in the same way.

    Raises
    ------
    ModelError
        The model has no head, and the method needs one.
    SettingsError
        The voxel size contradicts the file's.
    OutputExistsError
        `out` holds something already.
    OutputInUseError
        Another process is writing it.
    """
    started = time.monotonic()
    with sole_writer(out):
        require_free(out)
        volume = open_volume(images)
        size = choose_voxel_size(volume, voxel_size_nm)
        settings = settings or resolve_settings()
        usable = load_tuned_model(model, settings.model)
        job = _job(volume, size, usable, segmenter_of(usable, model, settings), method, progress)
        if job.method != "grid" and has_shipped_head(model):
            progress.say(WORTH)
            job = _suited_to_volume(job)
        work = WorkFolder(out, probability=probability)
        work.take(job.identity(progress), progress)
        seconds = write_volumes(work, job, tiff=tiff, progress=progress)
        rows, summary = _measure(work, size, seconds, progress)
        labels = open_volume(work.labels)
        before = time.monotonic()
        write_previews(work.result / "previews", job.read, labels, len(rows), progress)
        seconds["previews"] = time.monotonic() - before
        facts = _facts(job, model, usable, seconds, summary)
        write_json(work.result / FACTS, facts)
        write_segment_report(
            work.result / "report.html", facts, rows, labels, job.read, title=out.name,
            progress=progress,
        )  # fmt: skip
        work.hand_over()
    return SegmentResult(
        out=out,
        labels=out / LABELS,
        table=out / "mitochondria.csv",
        report=out / "report.html",
        method=job.method,
        instances=rows,
        volume=summary,
        seconds=time.monotonic() - started,
    )


def _measure(
    work: WorkFolder, size: VoxelSize | None, seconds: dict[str, float], progress: Progress
) -> tuple[tuple[InstanceRow, ...], VolumeSummary]:
    """The instances' rows, which go into `mitochondria.csv`, and their summary."""
    before = time.monotonic()
    labels, trust = open_volume(work.labels), open_volume(work.probability)
    sections = work.result / "sections.csv"
    rows, summary = measure_volume(labels, sections, size, trust, progress=progress)
    write_csv(work.result / "mitochondria.csv", rows, InstanceRow)
    seconds["measuring"] = time.monotonic() - before
    return rows, summary


def _job(
    volume: Volume,
    voxel_size_nm: VoxelSize | None,
    usable: UsableModel,
    segmenter: Segmenter,
    method: Method | Literal["auto"],
    progress: Progress,
) -> Job:
    chosen = segmenter.choose(method)
    if method == "auto":
        progress.say(f"method: {chosen}")
    if voxel_size_nm is None:
        progress.say(
            f"{volume.name} has no voxel size, so sizes are in px and voxels; "
            "pass --voxel-size z,y,x (nm) for µm"
        )
    normalisation = (
        adopt_normalisation(usable.normalisation, volume)
        if usable.normalisation
        else measure_normalisation(volume)
    )
    return Job(
        volume=volume,
        voxel_size_nm=voxel_size_nm,
        normalisation=normalisation,
        segmenter=segmenter,
        method=chosen,
        instances=_suited(segmenter.info.settings_of(chosen), volume),
    )


def _suited_to_volume(job: Job) -> Job:
    """The job with the shipped head brought to the volume's grey values and sections."""
    depth = len(job.volume)
    spacing = section_spacing_px(job.read, depth, job.voxel_size_nm)
    segmenter = suit_shipped_head(
        job.segmenter, job.volume, job.normalisation, z_radius(spacing, depth)
    )
    instances = _suited(segmenter.info.settings_of(job.method), job.volume)
    return replace(job, segmenter=segmenter, instances=instances)


def _suited(settings: InstanceSettings, volume: Volume) -> InstanceSettings:
    """The settings for this volume: an image of one section holds areas and no volumes."""
    return settings if len(volume) > 1 else settings.for_one_section()


def _facts(
    job: Job,
    model: Path | str,
    usable: UsableModel,
    seconds: dict[str, float],
    summary: VolumeSummary,
) -> dict[str, Any]:
    """How the labels came about."""
    info = job.segmenter.info
    return {
        "volume": job.volume.name,
        "shape_zyx": job.volume.shape_zyx,
        "voxel_size_nm": job.voxel_size_nm,
        "model": Path(str(model)).name,
        "base_model": usable.info.base_name if usable.info else usable.sam.name,
        "method": job.method,
        "instances": job.instances.model_dump(mode="json"),
        "method_settings": job.segmenter.settings_of(job.method),
        "remarks": [WORTH] if job.method != "grid" and has_shipped_head(model) else [],
        "validation_scores": info.scores,
        "validation_sections": info.validation_sections,
        "normalisation": job.normalisation.to_dict(),
        "precision": job.segmenter.sam.precision,
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "summary": summary,
        "segmented": now(),
        "mitosam_version": __version__,
    }
