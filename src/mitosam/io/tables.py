"""Rows of results as CSV, and anything as JSON: whole files or none."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from mitosam.errors import InputError, MitosamError
from mitosam.io.limits import TABLE
from mitosam.io.place import Url
from mitosam.storage import atomic_path, write_text

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Row = TypeVar("Row")


def write_csv(
    path: Path,
    rows: Iterable[DataclassInstance],
    row_type: type[DataclassInstance] | None = None,
) -> None:
    """One line for each dataclass; a dataclass inside becomes columns `outer_inner`.

    NaN and None are empty cells. Without rows the file is empty, but for the header where
    `row_type`, whose fields are plain values, says what the rows would be. Rows are written as
    they come, so that they may be more than memory holds.
    """
    names = [field.name for field in fields(row_type)] if row_type else []
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        if names:
            writer.writeheader()
        for row in rows:
            cells = _flat(row)
            if not writer.fieldnames:
                writer.fieldnames = list(cells)
                writer.writeheader()
            writer.writerow(cells)


def read_csv(path: Path, read: Callable[[dict[str, str]], Row]) -> list[Row]:
    """What `read` makes of each row of a table that mitosam wrote.

    Raises
    ------
    InputError
        The file is damaged, or is another table.
    """
    TABLE.check(path, path.stat().st_size)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [read(_whole_row(row)) for row in csv.DictReader(file)]
    except _TABLE_ERRORS as error:
        if isinstance(error, MitosamError):
            raise
        raise InputError(
            f"{path} is damaged or another table ({type(error).__name__}: {str(error)[:200]}); "
            "make it anew"
        ) from error


_TABLE_ERRORS = (csv.Error, LookupError, ValueError, TypeError, ArithmeticError, AttributeError)


def _whole_row(row: dict[str, Any]) -> dict[str, str]:
    if None in row or None in row.values():
        raise ValueError("a row has more or fewer cells than the header")
    return row


def _flat(row: DataclassInstance, prefix: str = "") -> dict[str, Any]:
    """Cells by column, in the order of the fields."""
    cells: dict[str, Any] = {}
    for field in fields(row):
        value = getattr(row, field.name)
        if is_dataclass(value) and not isinstance(value, type):
            cells |= _flat(value, f"{prefix}{field.name}_")
        else:
            missing = value is None or (isinstance(value, float) and math.isnan(value))
            cells[prefix + field.name] = "" if missing else value
    return cells


def write_json(path: Path, obj: object) -> None:
    """`obj` as JSON; dataclasses become objects, and NaN and infinities become null."""
    text = json.dumps(plain(obj), indent=1, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def plain(obj: object) -> Any:  # noqa: ANN401
    """`obj` made of what JSON knows.

    >>> plain({"dice": float("nan"), "shape": (2, 3)})
    {'dice': None, 'shape': [2, 3]}
    """
    if obj is None or isinstance(obj, str | bool | int):
        return obj
    if isinstance(obj, float | np.floating):
        return float(obj) if math.isfinite(obj) else None
    if isinstance(obj, np.generic | np.ndarray):
        return plain(obj.tolist())
    if isinstance(obj, Path | Url):
        return str(obj)  # a URL without what opens its store
    if is_dataclass(obj) and not isinstance(obj, type):
        return {field.name: plain(getattr(obj, field.name)) for field in fields(obj)}
    if isinstance(obj, Mapping):
        return {str(key): plain(value) for key, value in obj.items()}
    if isinstance(obj, list | tuple | range | set | frozenset):
        return [
            plain(value) for value in (sorted(obj) if isinstance(obj, set | frozenset) else obj)
        ]
    raise TypeError(f"{type(obj).__name__} has no form in JSON")


def write_table(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """One line for each row, with the columns of the first; NaN and None are empty cells."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer: csv.DictWriter[str] | None = None
        for row in rows:
            if writer is None:
                writer = csv.DictWriter(file, list(row))
                writer.writeheader()
            writer.writerow({name: plain(value) for name, value in row.items()})
