"""Segment every mitochondrion of an image or a volume, without prompts, and measure them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from mitosam import __version__
from mitosam.config import RunSettings, resolve_settings
from mitosam.io.open import open_volume
from mitosam.io.place import Place, absolute
from mitosam.io.tables import write_csv, write_json
from mitosam.models.load import EMBEDDED
from mitosam.models.shipped_head import WORTH
from mitosam.morphometry.instances import InstanceRow
from mitosam.morphometry.settings import LEAST_MEMORY_GB, MeasureSettings
from mitosam.morphometry.summary import VolumeSummary
from mitosam.progress import SILENT, Progress
from mitosam.storage import require_free, sole_writer
from mitosam.workflows.automatic import Method
from mitosam.workflows.measure_blocks import measure_volume
from mitosam.workflows.segment_folder import (
    FACTS,
    INSTANCES,
    LABELS,
    REPORT,
    SECTIONS,
    WorkFolder,
)
from mitosam.workflows.segment_job import Job, Order
from mitosam.workflows.segment_report import Pictures, write_previews, write_segment_report
from mitosam.workflows.segment_volumes import write_volumes
from mitosam.workflows.time_and_machine import now
from mitosam.workflows.tuned_model import tuned_weights
from mitosam.workflows.voxel_sizes import VoxelSize
from mitosam.workflows.workers import Workers, open_workers

MEMORY_GB = 4.0
"""What a process may take unless it is told otherwise."""


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
    images: Place,
    out: Path,
    *,
    model: Path | str,
    method: Method | Literal["auto"] = "auto",
    voxel_size_nm: VoxelSize | None = None,
    tiff: bool = False,
    probability: bool = False,
    num_workers: int = 1,
    scheduler: str | None = None,
    memory_gb: float = MEMORY_GB,
    settings: RunSettings | None = None,
    progress: Progress = SILENT,
) -> SegmentResult:
    """Write `labels.ome.zarr`, `mitochondria.csv`, previews and `report.html` into `out`.

    Parameters
    ----------
    images
        An image, a stack, or a folder of sections; a path or a URL.
    model
        A run, its `model.safetensors`, or a base model. Base models have a point grid only, but
        for the embedded one, whose head was trained on made-up volumes.
    method
        "head", "prompted" or "grid"; "auto" is what validation preferred.
    tiff, probability
        Write the labels as `labels.tif` too; write the foreground's probability too.
    num_workers, scheduler
        Processes of this machine, or the address of a Dask cluster that sees the same files.
    memory_gb
        What a process may take, about. Labels do not depend on it, nor on the workers.
    settings
        Of the model and its methods. The model is shown pixels of `data.common_pixel_nm`, by
        default of the size that it was trained on; labels are on the volume's own.

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
    order = Order(
        images=absolute(images),
        model=_named_alike(model),
        method=method,
        voxel_size_nm=voxel_size_nm,
        settings=settings or resolve_settings(),
    )
    with open_workers(num_workers, scheduler, progress=progress) as workers, sole_writer(out):
        require_free(out)
        job = order.open(progress)
        work = WorkFolder(out, probability=probability)
        work.take(job.identity(progress), progress)
        seconds = write_volumes(
            work, order, job, workers=workers, memory_gb=memory_gb, tiff=tiff, progress=progress
        )
        limits = MeasureSettings(memory_gb=max(memory_gb, LEAST_MEMORY_GB))
        rows, summary = _measure(work, job.voxel_size_nm, limits, workers, seconds, progress)
        _draw(work, order, job, rows, summary, seconds, progress)
        work.hand_over()
    return SegmentResult(
        out=out,
        labels=out / LABELS,
        table=out / INSTANCES,
        report=out / REPORT,
        method=job.method,
        instances=rows,
        volume=summary,
        seconds=time.monotonic() - started,
    )


def _named_alike(model: Path | str) -> Path | str:
    """A file or folder as workers find it, which stand elsewhere; other names stay names."""
    is_file = tuned_weights(Path(model)) is not None or Path(model).exists()
    return Path(model).absolute() if is_file and str(model) != EMBEDDED else model


def _measure(
    work: WorkFolder,
    size: VoxelSize | None,
    limits: MeasureSettings,
    workers: Workers,
    seconds: dict[str, float],
    progress: Progress,
) -> tuple[tuple[InstanceRow, ...], VolumeSummary]:
    """The instances' rows, which go into `mitochondria.csv`, and their summary."""
    before = time.monotonic()
    scratch = work.folder / "measure"
    scratch.mkdir(exist_ok=True)
    measured = measure_volume(
        partial(open_volume, work.labels),
        work.result / SECTIONS,
        size,
        partial(open_volume, work.probability),
        scratch=scratch,
        settings=limits,
        workers=workers,
        progress=progress,
    )
    write_csv(work.result / INSTANCES, measured.instances, InstanceRow)
    for remark in measured.remarks:
        progress.say(remark)
    seconds["measuring"] = time.monotonic() - before
    return measured.instances, measured.volume


def _draw(
    work: WorkFolder,
    order: Order,
    job: Job,
    rows: tuple[InstanceRow, ...],
    summary: VolumeSummary,
    seconds: dict[str, float],
    progress: Progress,
) -> None:
    """The previews, the report, and the facts that it tells."""
    before = time.monotonic()
    pictures = Pictures(job.read_box, work.labels)
    write_previews(work.result / "previews", pictures, len(rows), progress)
    seconds["previews"] = time.monotonic() - before
    facts = _facts(order, job, seconds, summary)
    write_json(work.result / FACTS, facts)
    write_segment_report(
        work.result / REPORT, facts, rows, pictures, title=work.out.name, progress=progress
    )


def _facts(
    order: Order,
    job: Job,
    seconds: dict[str, float],
    summary: VolumeSummary,
) -> dict[str, Any]:
    """How the labels came about."""
    info, usable = job.segmenter.info, job.usable
    return {
        "volume": job.volume.name,
        "shape_zyx": job.volume.shape_zyx,
        "voxel_size_nm": job.voxel_size_nm,
        "model": Path(str(order.model)).name,
        "base_model": usable.info.base_name if usable.info else usable.sam.name,
        "method": job.method,
        "instances": job.instances.model_dump(mode="json"),
        "method_settings": job.segmenter.settings_of(job.method),
        "remarks": [*([WORTH] if order.is_shipped(job.method) else []), *job.remarks],
        "validation_scores": info.scores,
        "validation_sections": info.validation_sections,
        "normalisation": job.normalisation.to_dict(),
        "precision": job.segmenter.sam.precision,
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "summary": summary,
        "segmented": now(),
        "mitosam_version": __version__,
    }
