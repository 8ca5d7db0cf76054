"""A run that takes over what another run of the same data has made, instead of making it again."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from mitosam.config import RunSettings
from mitosam.data.prepared import PreparedVolume
from mitosam.data.splits import Split, split_sections
from mitosam.progress import SILENT, Progress
from mitosam.workflows.part_splits import only_test, train_and_validate
from mitosam.workflows.prepare import (
    MIN_SECTIONS_FOR_SLABS,
    Sources,
    record_parts,
)
from mitosam.workflows.runs import Run

VOLUME = "volume"


def share_prepared(run: Run, other: Run, sources: Sources, *, progress: Progress = SILENT) -> bool:
    """Fill a run's `prepared` folder with another's volumes, split as its own settings say.

    Files are shared where the disk can (hard links), else copied. False, and nothing is done, where
    the run's settings want other volumes: halves of a section instead of whole ones.
    """
    volumes = {part.volume.folder.name: part.volume for part in other.parts()}
    splits = _splits({name: volume.shape_zyx[0] for name, volume in volumes.items()}, run.settings)
    if splits is None:
        return False
    shutil.rmtree(run.prepared_folder, ignore_errors=True)  # a killed start's
    parts = {}
    for name, split in splits.items():
        link_files(volumes[name].folder, run.prepared_folder / name)
        parts[name] = (PreparedVolume.open(run.prepared_folder / name), split)
    record_parts(run, sources, parts, progress)
    return True


def _splits(sections: dict[str, int], settings: RunSettings) -> dict[str, Split] | None:
    """The split of volumes with so many sections; None where other volumes would be made."""
    if set(sections) != {VOLUME}:
        first, last = sections
        if settings.split.kind == "given":
            return None
        return {
            first: train_and_validate(sections[first], settings),
            last: only_test(sections[last]),
        }
    count = sections[VOLUME]
    if count < MIN_SECTIONS_FOR_SLABS and settings.split.kind != "given":
        return None
    return {VOLUME: split_sections(count, settings.split, settings.seed)}


def share_base_scores(run: Run, other: Run) -> None:
    """Give a run the base model's scores of another one; `evaluate` takes them if they fit."""
    wanted = other.evaluation_folder.glob("base*")
    if run.evaluation_folder.exists() or not (other.evaluation_folder / "base.json").exists():
        return
    run.evaluation_folder.mkdir()
    for path in sorted(wanted, key=lambda one: one.suffix == ".json"):  # which says it is whole
        _link(path, run.evaluation_folder / path.name)


def link_files(source: Path, target: Path) -> None:
    """Every file of a folder in another, which is made."""
    target.mkdir(parents=True)
    for path in sorted(source.iterdir()):
        if path.is_file():
            _link(path, target / path.name)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a disk without hard links
        shutil.copy2(source, target)
