"""Training curves of a run, with checksums in its record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mitosam.checksums import checksum_of_file, damaged
from mitosam.io.tables import read_csv, write_csv
from mitosam.training.curve import CurvePoint
from mitosam.workflows.runs import Run


def write_curve(run: Run, path: Path, curve: Sequence[CurvePoint]) -> None:
    """Write one of the run's curves, and note its checksum."""
    write_csv(path, curve)
    run.record({fact_of(path): checksum_of_file(path)})


def require_whole_curve(run: Run, path: Path) -> None:
    """See that one of the run's curves, if it is there, is as it was written.

    Raises
    ------
    DamagedFileError
        It is not.
    """
    known = run.provenance().get(fact_of(path))
    if known is not None and path.exists() and checksum_of_file(path) != known:
        raise damaged(
            path,
            "its checksum does not fit",
            way_out=f"remove it to go on without the curve, or {run.tuned_weights.name} too to "
            "train anew",
        )


def whole_curve(run: Run, path: Path) -> list[CurvePoint]:
    """One of the run's curves, empty where there was no training.

    Raises
    ------
    DamagedFileError
        It is not as it was written.
    InputError
        It is no such table.
    """
    require_whole_curve(run, path)
    return read_curve(path)


def read_curve(path: Path) -> list[CurvePoint]:
    """A curve, empty where there was no training."""
    return read_csv(path, _curve_point) if path.exists() else []


def fact_of(path: Path) -> str:
    """Under which a run's record holds a curve's checksum."""
    return f"{path.stem}_curve_checksum"


def _curve_point(row: Mapping[str, str]) -> CurvePoint:
    names = [name for name in CurvePoint.__dataclass_fields__ if name != "step"]
    values = {name: float(row[name] or "nan") for name in names}
    return CurvePoint(step=int(row["step"]), **values)
