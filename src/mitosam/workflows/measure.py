"""Sizes and shapes of the instances of a label volume, as tables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from mitosam import __version__
from mitosam.data.masks import MaskSurvey, survey_masks
from mitosam.errors import OutputExistsError
from mitosam.io.open import open_volume
from mitosam.io.place import Place
from mitosam.io.tables import write_csv, write_json
from mitosam.io.volume import Volume
from mitosam.morphometry.census import Census
from mitosam.morphometry.components import connect
from mitosam.morphometry.crops import check_shapes
from mitosam.morphometry.instances import InstanceRow, measure_instances
from mitosam.morphometry.sections import SectionRow, measure_sections
from mitosam.morphometry.summary import VolumeSummary, summarise
from mitosam.progress import SILENT, Progress
from mitosam.storage import atomic_folder, atomic_path, require_free
from mitosam.workflows.voxel_sizes import VoxelSize, choose_voxel_size, readable_voxel_size


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureResult:
    """What `measure` wrote, and found."""

    mitochondria: Path
    sections: Path
    summary: Path
    instances: tuple[InstanceRow, ...]
    volume: VolumeSummary


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """The files of one measurement."""

    mitochondria: Path
    sections: Path
    summary: Path

    @classmethod
    def at(cls, out: Path) -> Tables:
        """In the folder `out`, or, if `out` is a .csv, that and two files beside it."""
        if not is_csv(out):
            return cls(
                mitochondria=out / "mitochondria.csv",
                sections=out / "sections.csv",
                summary=out / "summary.json",
            )
        return cls(
            mitochondria=out,
            sections=out.with_name(f"{out.stem}_sections.csv"),
            summary=out.with_name(f"{out.stem}_summary.json"),
        )


def measure(
    labels: Place,
    out: Path,
    *,
    voxel_size_nm: VoxelSize | None = None,
    probability: Place | None = None,
    progress: Progress = SILENT,
) -> MeasureResult:
    """Write `mitochondria.csv`, `sections.csv` and `summary.json` into the new folder `out`.

    If `out` ends in .csv it is the first of them, and the others stand beside it. Without a voxel
    size, from the file or given, only what can be counted in voxels and pixels is measured.
    Masks of one value are joined to instances through the volume.

    Raises
    ------
    InputError, InputNotFoundError
        The labels or probabilities cannot be used.
    SettingsError
        The file's voxel size and the given one differ.
    OutputExistsError
        There are results already.
    """
    volume = open_volume(labels)
    size = choose_voxel_size(volume, voxel_size_nm)
    trust = open_volume(probability) if probability else None
    if trust is not None:
        check_shapes(volume, trust)
    _require_free(out)
    survey = survey_masks(volume, progress, empty_ok=True)
    remarks = _remarks(volume, survey, size)
    instances_of = connect(volume, progress=progress) if survey.coding == "binary" else volume
    with _written(out) as (tables, scratch):
        rows, summary = measure_volume(
            instances_of, tables.sections, size, trust, scratch=scratch, progress=progress
        )
        write_csv(tables.mitochondria, rows, InstanceRow)
        facts = _provenance(labels, survey, size, probability)
        write_json(tables.summary, {**facts, "remarks": remarks, "volume": summary})
    for remark in remarks:
        progress.say(remark)
    final = Tables.at(out)
    return MeasureResult(
        mitochondria=final.mitochondria,
        sections=final.sections,
        summary=final.summary,
        instances=rows,
        volume=summary,
    )


def measure_volume(
    labels: Volume,
    section_table: Path,
    voxel_size_nm: VoxelSize | None,
    probability: Volume | None = None,
    *,
    scratch: Path | None = None,
    progress: Progress = SILENT,
) -> tuple[tuple[InstanceRow, ...], VolumeSummary]:
    """The rows of all instances and their summary; the sections' rows go into `section_table`.

    `labels` hold instance ids. The sections' rows are written as they come, as they may be many.
    """
    census = Census()
    section_rows = measure_sections(labels, voxel_size_nm, progress=progress)
    write_csv(section_table, census.counted(section_rows), SectionRow)
    rows = measure_instances(
        labels, census, voxel_size_nm, probability=probability, scratch=scratch, progress=progress
    )
    return rows, summarise(rows, labels.shape_zyx, voxel_size_nm)


def is_csv(out: Path) -> bool:
    """Whether `out` names a table and not a folder."""
    return out.suffix.lower() == ".csv"


def _require_free(out: Path) -> None:
    if not is_csv(out):
        require_free(out)
        return
    tables = Tables.at(out)
    for path in (tables.mitochondria, tables.sections, tables.summary):
        if path.exists():
            raise OutputExistsError(
                f"{path} exists already; choose another --out, or remove it if it is not needed"
            )


@contextmanager
def _written(out: Path) -> Iterator[tuple[Tables, Path]]:
    """Temporary tables that take their names together at the end, and a folder for scratch."""
    if not is_csv(out):
        with atomic_folder(out) as folder:
            yield Tables.at(folder), folder
        return
    final = Tables.at(out)
    with ExitStack() as stack:
        yield (
            Tables(
                mitochondria=stack.enter_context(atomic_path(final.mitochondria)),
                sections=stack.enter_context(atomic_path(final.sections)),
                summary=stack.enter_context(atomic_path(final.summary)),
            ),
            out.parent,
        )


def _remarks(volume: Volume, survey: MaskSurvey, size: VoxelSize | None) -> list[str]:
    """What a user should know of how these labels were understood."""
    remarks = []
    if not survey.values.size:
        remarks.append(f"{volume.name} holds no instance: all voxels are 0")
    if survey.coding == "binary":
        remarks.append(
            f"{volume.name} holds one value beside 0 ({survey.values[0]}), so it was taken as a "
            "binary mask: voxels that share a face, an edge or a corner are one instance"
        )
    if len(volume) == 1:
        remarks.append(
            f"{volume.name} is a single section: volume, surface, sphericity, skeleton, neighbour "
            "distance and density per volume are left out; sections.csv has areas and axes"
        )
    if size is None:
        remarks.append(
            f"{volume.name} has no voxel size (z, y and x are all needed): what is in nm, um2 and "
            "um3 is left out; pass --voxel-size z,y,x in nm to get it"
        )
    else:
        remarks.append(f"voxel size {readable_voxel_size(size)}")
    return remarks


def _provenance(
    labels: Place, survey: MaskSurvey, size: VoxelSize | None, probability: Place | None
) -> dict[str, object]:
    return {
        "mitosam": __version__,
        "labels": str(labels),
        "labels_sha256": survey.sha256,
        "coding": survey.coding,
        "voxel_size_nm": size,
        "probability": str(probability) if probability else None,
    }
