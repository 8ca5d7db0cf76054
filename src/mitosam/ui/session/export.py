"""Taking the labels of a session elsewhere."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from mitosam.errors import SettingsError
from mitosam.io.coco import write_coco
from mitosam.io.ome_zarr_spec import VolumeSpec
from mitosam.io.ome_zarr_writer import write_ome_zarr
from mitosam.io.volume import Volume
from mitosam.io.write import write_sections_tiff
from mitosam.progress import SILENT, Progress
from mitosam.storage import require_free
from mitosam.workflows.measure import measure

ExportFormat = Literal["tiff", "ome-zarr", "coco", "measurements"]


def export_labels(
    labels: Volume, out: Path, export_format: ExportFormat, progress: Progress = SILENT
) -> Path:
    """Write labels of ids into the new file or folder `out`.

    "tiff" is one OME-TIFF stack, "ome-zarr" a pyramid, "coco" a JSON file of masks, "measurements"
    a folder of tables.

    Raises
    ------
    OutputExistsError
        `out` is there already.
    """
    if export_format not in get_args(ExportFormat):
        raise SettingsError(
            f"format must be {', '.join(get_args(ExportFormat))}, got {export_format!r}"
        )
    require_free(out)
    if export_format == "measurements":
        _measure(labels, out, progress)
        return out
    sections = progress.track(labels.sections(), "exporting", total=len(labels), unit="section")
    if export_format == "tiff":
        write_sections_tiff(
            out,
            sections,
            shape_zyx=labels.shape_zyx,
            dtype=labels.dtype,
            voxel_size_nm=labels.voxel_size_nm,
        )
    elif export_format == "ome-zarr":
        write_ome_zarr(out, sections, _spec(labels), progress)
    else:
        write_coco(out, zip(labels.section_names, sections, strict=True))
    return out


def _spec(labels: Volume) -> VolumeSpec:
    return VolumeSpec(
        shape_zyx=labels.shape_zyx,
        dtype=labels.dtype,
        kind="labels",
        voxel_size_nm=labels.voxel_size_nm,
        name="mitochondria",
    )


def _measure(labels: Volume, out: Path, progress: Progress) -> None:
    """Measure a copy, as measuring reads the labels several times while users go on."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
        copy = Path(folder) / "labels.tif"
        export_labels(labels, copy, "tiff", progress)
        measure(copy, out, progress=progress)


def only_ids(labels: Volume, wanted: frozenset[int]) -> Volume:
    """The labels without the objects that are not wanted."""
    ids = np.array(sorted(wanted), labels.dtype)

    def read(z: int) -> np.ndarray:
        section = labels.section(z)
        return np.where(np.isin(section, ids), section, 0).astype(labels.dtype)

    return replace(labels, read_section=read)
