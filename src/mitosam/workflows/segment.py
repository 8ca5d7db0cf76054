"""Segment every mitochondrion of an image or a volume, without prompts, and measure them."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mitosam import __version__
from mitosam.config import RunSettings, resolve_settings
from mitosam.data.intensity import (
    Normalisation,
    adopt_normalisation,
    measure_normalisation,
    read_normalised,
)
from mitosam.inference.instances import InstanceSettings
from mitosam.inference.map_store import MapStore
from mitosam.io.ome_zarr_spec import VolumeSpec
from mitosam.io.ome_zarr_writer import ZarrDraft
from mitosam.io.open import open_volume
from mitosam.io.tables import write_csv, write_json
from mitosam.io.volume import Volume
from mitosam.io.write import write_sections_tiff
from mitosam.models.sam import hash_weights
from mitosam.morphometry.instances import InstanceRow
from mitosam.morphometry.summary import VolumeSummary
from mitosam.progress import SILENT, Progress
from mitosam.storage import require_free, write_text
from mitosam.workflows.automatic import Method, Segmenter
from mitosam.workflows.automatic_model import segmenter_of
from mitosam.workflows.measure import measure_volume
from mitosam.workflows.runs import now
from mitosam.workflows.segment_report import write_previews, write_segment_report
from mitosam.workflows.tuned_model import UsableModel, load_tuned_model
from mitosam.workflows.voxel_sizes import VoxelSize, choose_voxel_size

LABELS, PROBABILITY = "labels.ome.zarr", "probability.ome.zarr"
FACTS, IDENTITY = "segmentation.json", "identity.json"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """One volume, how it is read, and what segments it."""

    volume: Volume
    voxel_size_nm: VoxelSize | None
    normalisation: Normalisation
    segmenter: Segmenter
    method: Method
    instances: InstanceSettings

    def read(self, z: int) -> np.ndarray:
        """Section `z` in 0 to 255."""
        return read_normalised(self.volume, z, self.normalisation)

    def identity(self) -> str:
        """A hash of what the labels depend on; of the volume, its first and its last section."""
        head = self.segmenter.head
        ends = [self.read(z).tobytes() for z in (0, len(self.volume) - 1)]
        facts = [
            self.volume.shape_zyx,
            self.voxel_size_nm,
            [hashlib.sha256(pixels).hexdigest() for pixels in ends],
            hash_weights(self.segmenter.sam.state_dict().items()),
            hash_weights(head.network.state_dict().items()) if head else "",
            self.segmenter.sam.precision,
            self.segmenter.info.model_dump_json(),
            self.method,
        ]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


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
        A run, its `model.safetensors`, or a base model (which has a point grid only).
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
    """
    started = time.monotonic()
    require_free(out)
    volume = open_volume(images)
    size = choose_voxel_size(volume, voxel_size_nm)
    usable = load_tuned_model(model, (settings or resolve_settings()).model)
    job = _job(volume, size, usable, segmenter_of(usable, model), method, progress)
    work = _work_folder(out, job, progress)
    seconds = _write_volumes(work, job, tiff=tiff, probability=probability, progress=progress)
    result = work / "result"
    labels = open_volume(result / LABELS)
    trust = open_volume(work / PROBABILITY)
    before = time.monotonic()
    rows, summary = measure_volume(labels, result / "sections.csv", size, trust, progress=progress)
    write_csv(result / "mitochondria.csv", rows, InstanceRow)
    seconds["measuring"] = time.monotonic() - before
    before = time.monotonic()
    write_previews(result / "previews", job.read, labels, len(rows), progress)
    seconds["previews"] = time.monotonic() - before
    facts = _facts(job, model, usable, seconds, summary)
    write_json(result / FACTS, facts)
    write_segment_report(
        result / "report.html", facts, rows, labels, job.read, title=out.name, progress=progress
    )
    if probability:
        (work / PROBABILITY).rename(result / PROBABILITY)
    if out.exists():
        out.rmdir()  # empty: require_free() saw to that
    result.rename(out)
    shutil.rmtree(work)
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


def _job(
    volume: Volume,
    voxel_size_nm: VoxelSize | None,
    usable: UsableModel,
    segmenter: Segmenter,
    method: Method | Literal["auto"],
    progress: Progress,
) -> _Job:
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
    return _Job(
        volume=volume,
        voxel_size_nm=voxel_size_nm,
        normalisation=normalisation,
        segmenter=segmenter,
        method=chosen,
        instances=_suited(segmenter.info.settings_of(chosen), volume),
    )


def _suited(settings: InstanceSettings, volume: Volume) -> InstanceSettings:
    """The settings for this volume: an image of one section holds areas and no volumes."""
    if len(volume) > 1:
        return settings
    return settings.model_copy(update={"min_volume_voxels": settings.min_area_px, "z_radius": 0})


def _work_folder(out: Path, job: _Job, progress: Progress) -> Path:
    """The hidden folder beside `out` that a killed segmentation left, or a new one."""
    work = out.with_name(f".{out.name}.work")
    identity = job.identity()
    if work.exists():
        known = work / IDENTITY
        if known.exists() and known.read_text("utf-8") == identity:
            progress.say("going on with a segmentation that was stopped")
        else:
            progress.say("starting anew: a segmentation that was stopped had other settings")
            shutil.rmtree(work)
    if not work.exists():
        (work / "result").mkdir(parents=True)
        write_text(work / IDENTITY, identity)
    return work


def _write_volumes(
    work: Path, job: _Job, *, tiff: bool, probability: bool, progress: Progress
) -> dict[str, float]:
    """Labels and probabilities; the seconds that each stage took."""
    store = MapStore(work / "maps", len(job.volume))
    seconds = {}
    started = time.monotonic()
    compute = job.segmenter.mapper(job.method, job.read, len(job.volume))
    store.fill(compute, title=f"segmenting ({job.method})", progress=progress)
    seconds["segmenting"] = time.monotonic() - started
    started = time.monotonic()
    labels = work / "result" / LABELS
    if not labels.exists():
        sections = store.label(job.instances, progress)
        _write_zarr(work / "labels.draft", labels, job, sections, "labels", progress)
    if not (work / PROBABILITY).exists():
        maps = (store.section(z)[0] for z in range(len(job.volume)))
        _write_zarr(work / "probability.draft", work / PROBABILITY, job, maps, "image", progress)
    if tiff:
        _write_tiff(work / "result" / "labels.tif", labels, np.uint32)
    if tiff and probability:
        _write_tiff(work / "result" / "probability.tif", work / PROBABILITY, np.uint8)
    seconds["labels"] = time.monotonic() - started
    return seconds


def _write_zarr(
    draft_folder: Path,
    path: Path,
    job: _Job,
    sections: Iterator[np.ndarray],
    kind: Literal["labels", "image"],
    progress: Progress,
) -> None:
    dtype = np.dtype(np.uint32 if kind == "labels" else np.uint8)
    spec = VolumeSpec(
        shape_zyx=job.volume.shape_zyx,
        dtype=dtype,
        kind=kind,
        voxel_size_nm=job.voxel_size_nm,
        name="mitochondria" if kind == "labels" else "probability",
    )
    draft = ZarrDraft.open_or_create(draft_folder, spec)
    depth = spec.chunk_zyx[0]
    slab: list[np.ndarray] = []
    titled = progress.track(sections, f"writing {kind}", total=len(job.volume), unit="section")
    for z, section in enumerate(titled):
        slab.append(section.astype(dtype))
        if len(slab) == depth or z == len(job.volume) - 1:
            draft.write_sections(z + 1 - len(slab), np.stack(slab))
            slab = []
    draft.finish(path, progress)


def _write_tiff(path: Path, source: Path, dtype: type[np.generic]) -> None:
    volume = open_volume(source)
    write_sections_tiff(
        path,
        volume.sections(),
        shape_zyx=volume.shape_zyx,
        dtype=dtype,
        voxel_size_nm=volume.voxel_size_nm,
    )


def _facts(
    job: _Job,
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
        "instances": job.instances.model_dump(),
        "validation_scores": info.scores,
        "validation_sections": info.validation_sections,
        "normalisation": job.normalisation.to_dict(),
        "precision": job.segmenter.sam.precision,
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "summary": summary,
        "segmented": now(),
        "mitosam_version": __version__,
    }
