"""Sizes and shapes of the instances of a label volume, as tables."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mitosam import __version__
from mitosam.data.masks import MaskSurvey
from mitosam.errors import InputError, OutputExistsError
from mitosam.io.open import open_volume
from mitosam.io.place import Place, absolute
from mitosam.io.tables import write_csv, write_json
from mitosam.io.volume import Volume
from mitosam.morphometry.block_counts import check_shapes
from mitosam.morphometry.instances import InstanceRow
from mitosam.morphometry.settings import MeasureSettings
from mitosam.morphometry.summary import VolumeSummary
from mitosam.progress import SILENT, Progress
from mitosam.storage import (
    atomic_folder,
    atomic_path,
    require_free,
    require_new_folder,
    sole_writer,
)
from mitosam.workflows.measure_blocks import (
    DEFAULTS,
    Measured,
    measure_volume,
    survey_grid,
    survey_labels,
)
from mitosam.workflows.voxel_sizes import VoxelSize, choose_voxel_size, readable_voxel_size
from mitosam.workflows.workers import open_workers


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
    settings: MeasureSettings = DEFAULTS,
    num_workers: int = 1,
    scheduler: str | None = None,
    progress: Progress = SILENT,
) -> MeasureResult:
    """Write `mitochondria.csv`, `sections.csv` and `summary.json` into the new folder `out`.

    If `out` ends in .csv it is the first of them, and the others stand beside it. Without a voxel
    size, from the file or given, only what can be counted in voxels and pixels is measured.
    Masks of one value are joined to instances through the volume.

    Memory is bounded by `settings`, whatever the volume's size. `num_workers` are processes of this
    machine, and `scheduler` the address of a Dask cluster that sees the same files; neither changes
    a result. A measurement that was killed goes on where it stopped if it is started again in the
    same way, and counts anew what has changed in the labels.

    Raises
    ------
    InputError, InputNotFoundError
        The labels or probabilities cannot be used.
    SettingsError
        The file's voxel size and the given one differ.
    OutputExistsError
        There are results already.
    OutputInUseError
        Another process is writing them.
    """
    volume = open_volume(labels)
    size = choose_voxel_size(volume, voxel_size_nm)
    if probability:
        check_shapes(volume, open_volume(probability))
    _require_free(out)
    open_labels = partial(open_volume, absolute(labels))
    with ExitStack() as stack:
        workers = stack.enter_context(open_workers(num_workers, scheduler, progress=progress))
        survey = survey_labels(open_labels, settings, workers=workers, progress=progress)
        stack.enter_context(sole_writer(out))
        scratch = stack.enter_context(_scratch(out, progress))
        tables = stack.enter_context(_written(out))
        measured = measure_volume(
            open_labels,
            tables.sections,
            size,
            partial(open_volume, absolute(probability)) if probability else None,
            scratch=scratch,
            binary=survey.coding == "binary",
            settings=settings,
            workers=workers,
            progress=progress,
        )
        remarks = [*_remarks(volume, survey, size), *measured.remarks]
        facts = {
            **_provenance(labels, survey, size, probability),
            "labels_sha256_blocks_zyx": _block_shape(volume, settings),
        }
        write_csv(tables.mitochondria, measured.instances, InstanceRow)
        write_json(tables.summary, {**facts, "remarks": remarks, "volume": measured.volume})
    for remark in remarks:
        progress.say(remark)
    return _result(Tables.at(out), measured)


def _block_shape(volume: Volume, settings: MeasureSettings) -> tuple[int, int, int] | None:
    """The blocks that are hashed one by one; None where the volume is hashed as a whole."""
    blocks = survey_grid(volume, settings)
    return blocks.box(0).shape_zyx if blocks else None


def _result(tables: Tables, measured: Measured) -> MeasureResult:
    return MeasureResult(
        mitochondria=tables.mitochondria,
        sections=tables.sections,
        summary=tables.summary,
        instances=measured.instances,
        volume=measured.volume,
    )


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
def _written(out: Path) -> Iterator[Tables]:
    """Temporary tables that take their names together at the end."""
    if not is_csv(out):
        with atomic_folder(out) as folder:
            yield Tables.at(folder)
        return
    final = Tables.at(out)
    with ExitStack() as stack:
        yield Tables(
            mitochondria=stack.enter_context(atomic_path(final.mitochondria)),
            sections=stack.enter_context(atomic_path(final.sections)),
            summary=stack.enter_context(atomic_path(final.summary)),
        )


@contextmanager
def _scratch(out: Path, progress: Progress) -> Iterator[Path]:
    """The hidden folder beside `out` of what a stop leaves, to go on from; it goes at the end.

    It goes too where the input turns out to be unusable, and where nothing is in it.
    """
    place = out.resolve()  # "." has no name, and so no place beside it
    folder = place.with_name(f".{place.name}.measure")
    left = list(folder.iterdir()) if folder.is_dir() else []
    if folder.is_file() or any(path.suffix != ".npz" for path in left):
        raise OutputExistsError(
            f"{folder} is needed to work in and holds something else; "
            "choose another --out, or remove it if it is not needed"
        )
    if left:
        progress.say("going on with a measurement that was stopped")
    else:
        require_new_folder(folder)
    done = False
    try:
        yield folder
        done = True
    except InputError:
        done = True
        raise
    finally:
        if done or not any(folder.iterdir()):
            shutil.rmtree(folder)


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
