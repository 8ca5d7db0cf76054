"""Prompts in CSV and JSON files.

A CSV file has the columns section, object, x, y, label, x0, y0, x1, y1; each row is a point
(x, y, label) or a box (x0, y0, x1, y1), and the rows of one section with the same object form one
prompt. A JSON file is a list of prompts such as
`{"section": 0, "box": [10, 20, 60, 80], "points": [[30, 40, 1]]}`. Sections count from 0, and
coordinates are pixels from the section's upper left corner.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mitosam.errors import InputError, InputNotFoundError
from mitosam.io.limits import read_text
from mitosam.prompts import PADDING_LABEL, Prompts
from mitosam.storage import write_text

POINT_COLUMNS = ("x", "y", "label")
BOX_COLUMNS = ("x0", "y0", "x1", "y1")
COLUMNS = ("section", "object", *POINT_COLUMNS, *BOX_COLUMNS)


@dataclass(slots=True)
class _Prompt:
    """One prompt on its way between a file and `Prompts`."""

    section: int
    box: list[float] | None = None
    points: list[tuple[float, float, int]] = field(default_factory=list)


def read_prompts(path: Path) -> dict[int, Prompts]:
    """The prompts of each section that has any, in the order of the file.

    Raises
    ------
    InputError
        A row or column is missing, is no number, or does not make sense; the message names it.
    """
    readers: dict[str, Callable[[Path, str], list[_Prompt]]] = {
        ".csv": _read_csv,
        ".json": _read_json,
    }
    reader = _by_suffix(path, readers)
    prompts = reader(path, _read_text(path))
    if not prompts:
        raise InputError(f"{path} holds no prompts; give at least one box or point")
    by_section: dict[int, list[_Prompt]] = {}
    for prompt in prompts:
        by_section.setdefault(prompt.section, []).append(prompt)
    return {z: _gathered(path, z, by_section[z]) for z in sorted(by_section)}


def write_prompts(path: Path, prompts: Mapping[int, Prompts]) -> None:
    """Write what `read_prompts` reads; the suffix, .csv or .json, decides the form."""
    writers: dict[str, Callable[[Iterable[_Prompt]], str]] = {
        ".csv": _csv_text,
        ".json": _json_text,
    }
    write_text(path, _by_suffix(path, writers)(_scattered(prompts)))


def _by_suffix(path: Path, choices: Mapping[str, Any]) -> Any:  # noqa: ANN401
    try:
        return choices[path.suffix.lower()]
    except KeyError:
        raise InputError(f"prompt files end in .csv or .json, got {path}") from None


def _read_text(path: Path) -> str:
    if not path.is_file():
        raise InputNotFoundError(f"{path} does not exist; check the spelling of the path")
    try:
        return read_text(path, encoding="utf-8-sig")  # spreadsheets put a mark in front
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text ({error.reason}); save it as UTF-8") from error


def _read_csv(path: Path, text: str) -> list[_Prompt]:
    try:
        return _prompts_of(path, csv.DictReader(io.StringIO(text), skipinitialspace=True))
    except csv.Error as error:
        raise InputError(f"{path} is no CSV file ({error}); save it as CSV again") from error


def _prompts_of(path: Path, rows: csv.DictReader[str]) -> list[_Prompt]:
    _check_columns(path, [name.strip() for name in rows.fieldnames or []])
    found: dict[tuple[int, str], _Prompt] = {}
    for number, row in enumerate(rows, start=2):  # row 1 holds the names of the columns
        where = f"{path}, row {number}"
        if None in row:
            raise InputError(f"{where}: more cells than columns, {len(rows.fieldnames or [])}")
        cells = {key.strip(): (value or "").strip() for key, value in row.items()}
        if any(cells.values()):
            _add_row(where, cells, found)
    return list(found.values())


def _check_columns(path: Path, names: list[str]) -> None:
    unknown = [name for name in names if name not in COLUMNS]
    if "section" not in names or unknown:
        wrong = f"unknown column {unknown[0]!r}" if unknown else "no column 'section'"
        raise InputError(f"{path}, row 1: {wrong}; the columns are {','.join(COLUMNS)}")


def _add_row(where: str, cells: dict[str, str], found: dict[tuple[int, str], _Prompt]) -> None:
    section = _section(where, "column section", cells["section"])
    name = cells.get("object") or where  # a row without an object is a prompt of its own
    prompt = found.setdefault((section, name), _Prompt(section))
    has_box = any(cells.get(column) for column in BOX_COLUMNS)
    has_point = any(cells.get(column) for column in ("x", "y"))
    if has_box == has_point:
        got = "both" if has_box else "neither"
        raise InputError(f"{where}: a row is a point (x, y) or a box (x0, y0, x1, y1), got {got}")
    if has_point:
        x, y = (_number(where, f"column {c}", cells.get(c, "")) for c in ("x", "y"))
        label = _label(where, "column label", cells.get("label") or "1")
        prompt.points.append((x, y, label))
        return
    if prompt.box is not None:
        raise InputError(f"{where}: object {name} has a second box; an object has one")
    corners = [_number(where, f"column {c}", cells.get(c, "")) for c in BOX_COLUMNS]
    prompt.box = _box(where, corners)


def _read_json(path: Path, text: str) -> list[_Prompt]:
    try:
        items = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, line {error.lineno}: not JSON ({error.msg})") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; nested lists
        raise InputError(f"{path} is no list of prompts ({error}); write it again") from error
    if not isinstance(items, list):
        raise InputError(f"{path} must hold a list of prompts, got {type(items).__name__}")
    return [_json_prompt(f"{path}, prompt {n}", item) for n, item in enumerate(items, start=1)]


def _json_prompt(where: str, item: object) -> _Prompt:
    if not isinstance(item, dict) or not set(item) <= {"section", "object", "box", "points"}:
        raise InputError(f'{where}: a prompt looks like {{"section": 0, "box": [x0, y0, x1, y1]}}')
    prompt = _Prompt(_section(where, "section", item.get("section")))
    if item.get("box") is not None:
        box = _list(where, "box", item["box"], 4)
        prompt.box = _box(where, [_number(where, "box", value) for value in box])
    points = item.get("points") or []
    for point in points if isinstance(points, list) else [points]:
        x, y, label = _list(where, "points", point, 3)
        prompt.points.append(
            (
                _number(where, "points", x),
                _number(where, "points", y),
                _label(where, "points", label),
            )
        )
    if prompt.box is None and not prompt.points:
        raise InputError(f"{where}: a prompt needs a box or points, got neither")
    return prompt


def _list(where: str, what: str, value: object, length: int) -> list[Any]:
    if not isinstance(value, list) or len(value) != length:
        raise InputError(f"{where}: {what} needs {length} numbers, got {value!r}")
    return value


def _number(where: str, what: str, value: object) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):  # JSON's whole numbers have no end
        number = math.nan
    if not math.isfinite(number) or isinstance(value, bool):
        raise InputError(f"{where}: {what} must be a number, got {value!r}")
    return number


def _section(where: str, what: str, value: object) -> int:
    number = _number(where, what, value)
    if number < 0 or number != int(number):
        raise InputError(f"{where}: {what} must be a whole number from 0, got {value!r}")
    return int(number)


def _label(where: str, what: str, value: object) -> int:
    number = _number(where, what, value)
    if number not in (0, 1):
        raise InputError(f"{where}: {what} must be 1 (object) or 0 (background), got {value!r}")
    return int(number)


def _box(where: str, corners: list[float]) -> list[float]:
    x0, y0, x1, y1 = corners
    if not (x0 < x1 and y0 < y1):
        raise InputError(
            f"{where}: a box needs x0 < x1 and y0 < y1, "
            f"got x0={x0:g}, y0={y0:g}, x1={x1:g}, y1={y1:g}"
        )
    return corners


def _gathered(path: Path, section: int, prompts: list[_Prompt]) -> Prompts:
    """Prompts of one section as arrays; shorter sets of points are padded."""
    boxes = [prompt.box for prompt in prompts if prompt.box is not None]
    if boxes and len(boxes) != len(prompts):
        raise InputError(
            f"{path}: section {section} mixes prompts with and without a box; "
            "give each a box, or put them in two files"
        )
    most = max(len(prompt.points) for prompt in prompts)
    padding = (0.0, 0.0, PADDING_LABEL)
    rows = np.array([p.points + [padding] * (most - len(p.points)) for p in prompts], np.float64)
    return Prompts(
        boxes_xyxy=np.array(boxes, np.float64) if boxes else None,
        points_xy=rows[..., :2] if most else None,
        point_labels=rows[..., 2].astype(np.int64) if most else None,
    )


def _scattered(prompts: Mapping[int, Prompts]) -> list[_Prompt]:
    """One item a prompt; the inverse of `_gathered`."""
    items = []
    for section, group in sorted(prompts.items()):
        for index in range(len(group)):
            item = _Prompt(section)
            if group.boxes_xyxy is not None:
                item.box = [float(value) for value in group.boxes_xyxy[index]]
            if group.points_xy is not None and group.point_labels is not None:
                item.points = [
                    (float(x), float(y), int(label))
                    for (x, y), label in zip(
                        group.points_xy[index], group.point_labels[index], strict=True
                    )
                    if label != PADDING_LABEL
                ]
            items.append(item)
    return items


def _csv_text(prompts: Iterable[_Prompt]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for number, prompt in enumerate(prompts, start=1):
        owner: dict[str, float] = {"section": prompt.section, "object": number}
        if prompt.box is not None:
            writer.writerow(owner | dict(zip(BOX_COLUMNS, prompt.box, strict=True)))
        for point in prompt.points:
            writer.writerow(owner | dict(zip(POINT_COLUMNS, point, strict=True)))
    return text.getvalue()


def _json_text(prompts: Iterable[_Prompt]) -> str:
    items = []
    for prompt in prompts:
        item: dict[str, Any] = {"section": prompt.section}
        if prompt.box is not None:
            item["box"] = prompt.box
        if prompt.points:
            item["points"] = [list(point) for point in prompt.points]
        items.append(item)
    return json.dumps(items, indent=1) + "\n"
