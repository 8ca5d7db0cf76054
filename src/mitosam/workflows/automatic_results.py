"""What automatic methods made of a run's test sections: labels on disk, how they came, scores."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Int
from pydantic import BaseModel, ConfigDict

from mitosam.checksums import checksum_of_file, damaged
from mitosam.errors import DamagedFileError
from mitosam.evaluation.automatic import AutomaticScores, score_automatic
from mitosam.inference.instance_settings import InstanceSettings
from mitosam.io.open import open_volume
from mitosam.io.tables import plain, read_csv, write_json, write_table
from mitosam.models.promptable import hash_weights
from mitosam.progress import SILENT, Progress
from mitosam.storage import write_text
from mitosam.workflows.automatic import Method, Segmenter
from mitosam.workflows.runs import Run, read_object, write_object
from mitosam.workflows.truth import true_instances

log = logging.getLogger(__name__)

MethodTitle = Literal["head", "prompted", "grid", "U-Net"]
# The order of tables: the run's own methods, then the rival.
ORDER: tuple[MethodTitle, ...] = ("head", "prompted", "grid", "U-Net")
IDENTITY, LABELS, RECORD = "identity.json", "labels.tif", "segmented.json"
CONFIDENCE = "confidence.csv"


class Record(BaseModel):
    """How the labels of some sections came about; it is written last, once they are all there."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    method: MethodTitle
    part: str
    """The folder of the prepared volume."""
    sections: tuple[int, int]
    """The first one, and one past the last."""
    instances: InstanceSettings
    """How maps became instances."""
    is_calibrated: bool
    """Whether validation sections chose that."""
    model: str
    """A hash of what the maps depend on beside the images."""
    seconds: float
    segmented: str
    """When."""
    files: dict[str, str] = {}
    """The checksums of what lies beside it; unset in older files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AutomaticScore:
    """One method's scores on consecutive sections of one volume, and where its labels are."""

    method: MethodTitle
    volume: str
    sections: range
    scores: AutomaticScores
    labels: Path
    record: Record


def read_automatic(run: Run, progress: Progress = SILENT) -> list[AutomaticScore]:
    """The scores of what `evaluate_automatic` segmented, the run's own methods first.

    An empty list if it segmented nothing.
    """
    records = sorted(records_of(run), key=lambda one: (one[1].part, one[1].sections))
    if not records:
        return []
    volumes = {part.volume.folder.name: part.volume for part in run.parts()}

    @lru_cache(1)  # the methods of one slab follow each other
    def truth(part: str, start: int, stop: int) -> Int[np.ndarray, "n height width"]:
        return true_instances(volumes[part], range(start, stop))

    found = []
    for folder, record in progress.track(records, "scoring without prompts", unit="method"):
        volume = volumes[record.part]
        scores = score_automatic(
            open_volume(folder / LABELS).sections(),
            truth(record.part, *record.sections),
            volume.voxel_size_nm,
            seed=run.settings.seed,
            confidence=read_confidence(folder),
        )
        found.append(
            AutomaticScore(
                method=record.method,
                volume=volume.name,
                sections=range(*record.sections),
                scores=scores,
                labels=folder / LABELS,
                record=record,
            )
        )
    return sorted(found, key=lambda score: ORDER.index(score.method))


def records_of(run: Run) -> Iterator[tuple[Path, Record]]:
    """The folder of each segmentation that ended, and how it came about.

    Raises
    ------
    InputError
        A record is damaged.
    """
    for folder in recorded_folders(run):
        path = folder / RECORD
        try:
            yield folder, read_record(path)
        except DamagedFileError as error:
            raise damaged(path, error.what, way_out=f"remove {folder} to segment anew") from error


def recorded_folders(run: Run) -> list[Path]:
    """The folders of segmentations that ended."""
    return sorted(path.parent for path in run.automatic_folder("").glob(f"*/{RECORD}"))


def write_record(folder: Path, record: Record) -> None:
    """Say how the labels in a folder came about, and what they and what is beside them hold."""
    files = {name: checksum_of_file(folder / name) for name in (LABELS, CONFIDENCE)}
    write_object(
        folder / RECORD, record.model_copy(update={"files": files}).model_dump(mode="json")
    )


def read_record(path: Path) -> Record:
    """How the labels beside a record came about, if all is as it was written.

    Raises
    ------
    DamagedFileError
        It is not.
    """
    try:
        record = Record.model_validate(read_object(path))
    except DamagedFileError:
        raise
    except ValueError as error:
        raise damaged(path, "it is no record") from error
    for name, expected in record.files.items():
        file = path.with_name(Path(name).name)
        is_there = os.path.isfile(file)  # noqa: PTH113  # of names that are too long, too
        if not is_there or checksum_of_file(file) != expected:
            raise damaged(path, f"{name} is not as it was written")
    return record


def has_record(folder: Path) -> bool:
    """Whether a segmentation ended in this folder; if it is damaged, it is removed and was not."""
    if not (folder / RECORD).exists():
        return False
    try:
        read_record(folder / RECORD)
    except DamagedFileError as error:
        log.warning("%s; segmenting again", error)
        (folder / RECORD).unlink()
        return False
    return True


def write_confidence(folder: Path, confidence: Mapping[int, float]) -> None:
    """How sure the method was of each instance, beside its labels."""
    rows = ({"instance": number, "confidence": confidence[number]} for number in sorted(confidence))
    write_table(folder / CONFIDENCE, rows)


def read_confidence(folder: Path) -> dict[int, float] | None:
    """The same; None where labels were made before it was kept."""
    path = folder / CONFIDENCE
    if not path.exists():
        return None
    return dict(read_csv(path, lambda row: (int(row["instance"]), float(row["confidence"]))))


def write_scores(folder: Path, scores: Sequence[AutomaticScore]) -> None:
    """`automatic.csv` with a line a method, `automatic_sections.csv` with one a section, and JSON.

    Sections count from 0, in their volume. Where several slabs were scored, each has its lines.
    """
    rows = [_row(score) for score in scores]
    write_table(folder / "automatic.csv", rows)
    write_table(folder / "automatic_sections.csv", _section_rows(scores))
    full = [
        {
            **_place(score),
            "labels": score.labels.relative_to(folder).as_posix(),
            "how": score.record.model_dump(mode="json"),
            "scores": plain(score.scores),
        }
        for score in scores
    ]
    write_json(folder / "automatic.json", full)


def _place(score: AutomaticScore) -> dict[str, Any]:
    return {
        "method": score.method,
        "volume": score.volume,
        "first_section": score.sections.start,
        "last_section": score.sections.stop - 1,
    }


def _row(score: AutomaticScore) -> dict[str, Any]:
    return _place(score) | score.scores.to_row()


def _section_rows(scores: Sequence[AutomaticScore]) -> Iterator[dict[str, Any]]:
    for score in scores:
        for section in score.scores.sections:
            place = {"method": score.method, "volume": score.volume}
            yield place | asdict(section) | {"section": score.sections[section.section]}


def hash_model(segmenter: Segmenter, method: Method) -> str:
    """A hash of what a method's maps depend on, beside the images."""
    head = segmenter.head
    facts: list[Any] = [method, segmenter.sam.precision]
    if head is not None and method != "grid":
        facts += [hash_weights(head.network.state_dict().items()), head.shape.model_dump_json()]
        facts.append(segmenter.sam.weights_hash)
    if method == "prompted":
        facts.append(segmenter.info.settings_of("head").model_dump_json())
    if method != "head" or (head is not None and head.shape.embedding_channels):
        sam = segmenter.sam
        facts += [hash_weights(sam.state_dict().items()), segmenter.tile_px, sam.input_px]
    return hash_facts(facts)


def hash_facts(facts: Sequence[object]) -> str:
    """A hash of anything that JSON holds."""
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def claim_folder(folder: Path, identity: str) -> None:
    """Make a folder for results of this identity; what it held of another one is removed."""
    path = folder / IDENTITY
    if folder.exists() and (not path.exists() or path.read_bytes() != identity.encode()):
        shutil.rmtree(folder)
    if not folder.exists():
        folder.mkdir(parents=True)
        write_text(path, identity)
