"""What must be the same whatever happened on the way: pixels, weights, tables and scores."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from mitosam.checksums import checksum

Result = dict[str, str]
"""The checksum of each part of a result."""
TIMES = {"seconds", "created", "evaluated", "segmented", "trained", "files", "checksum"}


def prepared(run: Path) -> Result:
    """The prepared volumes and their split."""
    return _files(run / "prepared", ("*.npy", "*.json"))


def trained(run: Path) -> Result:
    """The tuned weights with what is said of them, and the training curves but for their times."""
    from safetensors import safe_open

    found = {}
    with safe_open(run / "model.safetensors", "np") as file:
        for name in file.keys():  # noqa: SIM118
            found[name] = checksum(file.get_tensor(name).tobytes())
        found["info"] = _object_sum(json.loads(file.metadata()["mitosam_tuned"]))
    for path in sorted(run.glob("*training.csv")):
        with path.open(newline="") as table:
            rows = [{k: v for k, v in r.items() if k not in TIMES} for r in csv.DictReader(table)]
        found[path.name] = checksum(json.dumps(rows).encode())
    return found


def scored(run: Path) -> Result:
    """Scores of each method, and the masks that they are of."""
    return _files(run / "evaluation", ("*.csv", "*.npy", "iou_calibration.json"))


def segmented(out: Path) -> Result:
    """Labels and tables."""
    tables = _files(out, ("*.csv",))
    return tables | _files(out / "labels.ome.zarr", ("*",))


def measured(out: Path) -> Result:
    """All tables."""
    return _files(out, ("*.csv", "*.json"))


def _files(folder: Path, patterns: tuple[str, ...]) -> Result:
    paths = {path for pattern in patterns for path in folder.rglob(pattern) if path.is_file()}
    found = {
        path.relative_to(folder).as_posix(): checksum(path.read_bytes())
        for path in sorted(paths)
        if not path.name.startswith(".")
    }
    return found or {"": "nothing"}


def _object_sum(values: dict[str, object]) -> str:
    kept = {name: value for name, value in values.items() if name not in TIMES}
    return checksum(json.dumps(kept, sort_keys=True).encode())
