"""The volumes of a segmentation: maps, then labels and probabilities, as OME-Zarr and TIFF."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from mitosam import __version__
from mitosam.data.intensity import Normalisation, read_normalised
from mitosam.inference.instances import InstanceSettings
from mitosam.inference.map_store import MapStore, sections_per_block
from mitosam.io.ome_zarr_spec import CHUNK_ZYX, VolumeSpec
from mitosam.io.ome_zarr_writer import ZarrDraft
from mitosam.io.open import open_volume
from mitosam.io.volume import Volume
from mitosam.io.write import write_sections_tiff
from mitosam.models.promptable import hash_weights
from mitosam.progress import Progress
from mitosam.workflows.automatic import Method, Segmenter
from mitosam.workflows.segment_folder import WorkFolder
from mitosam.workflows.voxel_sizes import VoxelSize

SLAB_PX = 1 << 26
"""Pixels that are written at once at most, unless a single section has more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
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

    def identity(self, progress: Progress) -> str:
        """A hash of what the labels depend on.

        All sections are read for it, which is quick beside segmenting them, and shows what is
        damaged in one of the last before the first is segmented.
        """
        digest = hashlib.sha256()
        for z in progress.track(range(len(self.volume)), "checking images", unit="section"):
            digest.update(self.read(z).tobytes())
        head = self.segmenter.head
        facts = [
            __version__,
            digest.hexdigest(),
            self.volume.shape_zyx,
            self.voxel_size_nm,
            hash_weights(self.segmenter.sam.state_dict().items()),
            hash_weights(head.network.state_dict().items()) if head else "",
            self.segmenter.tile_px,
            self.segmenter.sam.input_px,
            self.segmenter.sam.precision,
            self.segmenter.info.model_dump_json(),
            self.method,
            self.segmenter.settings_of(self.method),
        ]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def write_volumes(
    work: WorkFolder, job: Job, *, tiff: bool, progress: Progress
) -> dict[str, float]:
    """Labels and probabilities; the seconds that each stage took."""
    num_sections, height, width = job.volume.shape_zyx
    store = MapStore(
        work.folder / "maps", num_sections, sections_per_block=sections_per_block((height, width))
    )
    seconds = {}
    started = time.monotonic()
    if not (work.labels.exists() and work.probability.exists()):
        compute = job.segmenter.mapper(job.method, job.read, num_sections)
        store.fill(compute, title=f"segmenting ({job.method})", progress=progress)
    seconds["segmenting"] = time.monotonic() - started
    started = time.monotonic()
    if not work.labels.exists():
        sections = store.label(job.instances, progress)
        _write_zarr(work.folder / "labels.draft", work.labels, job, sections, "labels", progress)
    if not work.probability.exists():
        maps = (store.section(z)[0] for z in range(num_sections))
        draft = work.folder / "probability.draft"
        _write_zarr(draft, work.probability, job, maps, "image", progress)
    _write_tiffs(work, tiff=tiff)
    seconds["labels"] = time.monotonic() - started
    return seconds


def _write_tiffs(work: WorkFolder, *, tiff: bool) -> None:
    """The TIFF files that are wanted beside those of OME-Zarr, and no other."""
    files = {
        work.result / "labels.tif": (work.labels, tiff),
        work.result / "probability.tif": (
            work.probability, tiff and work.probability.parent == work.result,
        ),
    }  # fmt: skip
    for path, (source, wanted) in files.items():
        if wanted:
            _write_tiff(path, source)
        else:
            path.unlink(missing_ok=True)


def _write_zarr(
    draft_folder: Path,
    path: Path,
    job: Job,
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
        chunk_zyx=_chunk_of(job.volume.shape_zyx),
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


def _chunk_of(shape_zyx: tuple[int, int, int]) -> tuple[int, int, int]:
    """Chunks as they usually are, but flatter where as many whole sections are large."""
    depth, height, width = CHUNK_ZYX
    return max(1, min(depth, SLAB_PX // (shape_zyx[1] * shape_zyx[2]))), height, width


def _write_tiff(path: Path, source: Path) -> None:
    volume = open_volume(source)
    write_sections_tiff(
        path,
        volume.sections(),
        shape_zyx=volume.shape_zyx,
        dtype=volume.dtype,
        voxel_size_nm=volume.voxel_size_nm,
    )
