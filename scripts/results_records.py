"""What docs/results keeps of each finished experiment: records/NAME.json, which the pages show."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from mitosam.evaluation.bootstrap import Interval
from mitosam.evaluation.scores import Method, Protocol
from mitosam.evaluation.summary import Group
from mitosam.storage import write_text
from mitosam.workflows.prepare import describe_split
from mitosam.workflows.runs import Part, Run

Metric = Literal["dice", "iou"]
Row = Mapping[str, str]
FACTS = (
    *("created", "base_model", "base_model_hash", "precision", "device", "steps", "best_step"),
    *("head_steps", "processor", "cores", "seconds"),
)


@dataclass(frozen=True, slots=True)
class Scores:
    """One row of a run's summary.csv: a method, or a paired difference, in a group of patches."""

    cells: Row

    @property
    def protocol(self) -> str:
        """What was asked."""
        return self.cells["protocol"]

    @property
    def method(self) -> str:
        """Who answered."""
        return self.cells["method"]

    @property
    def count(self) -> str:
        """Patches, objects or pairs."""
        return self.cells["count"]

    @property
    def group(self) -> str:
        """Mitochondria per patch."""
        return self.cells["mitochondria_per_patch"]

    @property
    def is_difference(self) -> bool:
        """Whether it says how much better one method is than another."""
        return bool(self.cells["iou_share_improved"])

    def of(self, metric: Metric, statistic: str) -> float:
        """A number; NaN where there is none."""
        return float(self.cells[f"{metric}_{statistic}"] or "nan")

    def interval(self, metric: Metric) -> Interval:
        """That of the mean, 95 %."""
        low, high = self.of(metric, "low"), self.of(metric, "high")
        return Interval(low=low, high=high, resampled="sections")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One finished experiment."""

    name: str
    command: str
    facts: dict[str, Any]
    """Of run.json: date, model, steps, machine, seconds; `seed` and `version` beside them."""
    parts: list[dict[str, str]]
    """Name, shape, checksums and split of each volume."""
    num_sections: int
    """Annotated sections that the model has seen, those of validation included."""
    summary: list[dict[str, str]]
    """Rows of summary.csv."""
    automatic: list[dict[str, str]]
    """Rows of automatic.csv; none if nothing was segmented without prompts."""

    @classmethod
    def of(cls, name: str, command: str, run: Run) -> Record:
        """What is worth keeping of a run that is scored."""
        facts, parts = run.provenance(), run.parts()
        kept = {key: facts[key] for key in FACTS if key in facts}
        version = facts["packages"]["mitosam"]
        return cls(
            name=name,
            command=command,
            facts={**kept, "version": version, "seed": run.settings.seed},
            parts=[_part(part) for part in parts],
            num_sections=sum(len(p.split.train) + len(p.split.validation) for p in parts),
            summary=_table(run.folder / "summary.csv"),
            automatic=_table(run.folder / "automatic.csv"),
        )

    def rows(self, *, differences: bool = False) -> list[Scores]:
        """Scores of methods, or paired differences."""
        rows = [Scores(row) for row in self.summary]
        return [row for row in rows if row.is_difference == differences]

    def row(self, protocol: Protocol, method: Method, group: Group = "all") -> Scores | None:
        """One method's scores."""
        key = (protocol, method, group)
        rows = self.rows()
        return next((r for r in rows if (r.protocol, r.method, r.group) == key), None)


def write_record(folder: Path, record: Record) -> None:
    """Write records/NAME.json in `folder`."""
    write_text(_path(folder, record.name), json.dumps(asdict(record), indent=1) + "\n")


def read_records(folder: Path, names: Sequence[str]) -> list[Record]:
    """Those of `names` that there are."""
    paths = [path for name in names if (path := _path(folder, name)).exists()]
    return [Record(**json.loads(path.read_text(encoding="utf-8"))) for path in paths]


def _path(folder: Path, name: str) -> Path:
    return folder / "records" / f"{name}.json"


def _part(part: Part) -> dict[str, str]:
    z, y, x = part.volume.shape_zyx
    return {
        "data": f"{part.volume.name}, {z} sections of {y} x {x}",
        "images, SHA-256": part.volume.images_sha256[:16],
        "masks, SHA-256": part.volume.masks_sha256[:16],
        "split": describe_split(part.split),
    }


def _table(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
