from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from mitosam.io.tables import write_csv, write_json


@dataclass(frozen=True)
class Span:
    low: float
    high: float


@dataclass(frozen=True)
class Row:
    name: str
    dice: float
    span: Span | None = None


def test_rows_become_lines_and_nested_fields_become_columns(tmp_path):
    write_csv(
        tmp_path / "a.csv", [Row("x, y", 0.5, Span(0.25, 1.0)), Row("b", float("nan"), Span(0, 1))]
    )
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {"name": "x, y", "dice": "0.5", "span_low": "0.25", "span_high": "1.0"}
    assert rows[1]["dice"] == ""


def test_no_rows_make_an_empty_file(tmp_path):
    write_csv(tmp_path / "a.csv", [])
    assert (tmp_path / "a.csv").read_text() == ""


def test_no_rows_of_a_known_type_make_a_header(tmp_path):
    write_csv(tmp_path / "a.csv", [], Span)
    assert (tmp_path / "a.csv").read_text().split() == ["low,high"]


def test_json_has_null_for_nan_and_takes_what_results_are_made_of(tmp_path):
    write_json(
        tmp_path / "a.json",
        {
            "rows": [Row("b", float("nan"))],
            "n": np.int64(3),
            "a": np.array([1.5, np.inf]),
            4: Path("p"),
        },
    )
    found = json.loads((tmp_path / "a.json").read_text())
    assert found["rows"] == [{"name": "b", "dice": None, "span": None}]
    assert (found["n"], found["a"], found["4"]) == (3, [1.5, None], "p")


def test_a_failed_write_leaves_the_old_file(tmp_path):
    write_json(tmp_path / "a.json", 1)
    with pytest.raises(TypeError, match="object has no form in JSON"):
        write_json(tmp_path / "a.json", object())
    assert (tmp_path / "a.json").read_text() == "1\n"
    assert len(list(tmp_path.iterdir())) == 1
