"""The report's numbers as files: every score, and the summary.

Sections count from 0 here, as in Python. What is not a number is empty in CSV and null in JSON.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mitosam.errors import InputError, InputNotFoundError
from mitosam.evaluation.scores import METHODS, PROTOCOLS, Answer, Score, answer_names
from mitosam.evaluation.summary import PairedDifference, Statistic, SummaryRow
from mitosam.io.limits import read_json
from mitosam.storage import atomic_path

Cell = str | int | float
SCORE_FIELDS = tuple(field.name for field in dataclasses.fields(Score) if field.name != "answers")


def write_scores_csv(path: Path, scores: Sequence[Score]) -> None:
    """A row for every score, with its Dice and IoU, and those of all masks that were given."""
    names = answer_names(max((len(score.answers) for score in scores), default=0))
    columns = [*SCORE_FIELDS, "dice", "iou"]
    columns += [f"{name}_{metric}" for name in names for metric in ("predicted_iou", "iou")]
    _write_csv(path, columns, [_score_row(score) | _answer_cells(score) for score in scores])


def write_scores_json(path: Path, scores: Sequence[Score]) -> None:
    """The same rows under the key "scores", as `read_scores` takes them."""
    rows = [
        {name: _null_for_nan(value) for name, value in _score_row(score).items()}
        | {"answers": [_answer_object(answer) for answer in score.answers]}
        for score in scores
    ]
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps({"scores": rows}, indent=1) + "\n", encoding="utf-8")


def read_scores(path: Path) -> list[Score]:
    """The scores that `write_scores_json` wrote.

    Raises
    ------
    InputNotFoundError
        The file is not there.
    InputError
        It is damaged or is another file.
    """
    try:
        rows = read_json(path)["scores"]
        return [_score_of(row) for row in rows]
    except FileNotFoundError as error:
        raise InputNotFoundError(f"{path} is not there; run the evaluation again") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} does not hold scores ({error}); run the evaluation again"
        ) from error


def write_summary_csv(
    path: Path, summaries: Sequence[SummaryRow], differences: Sequence[PairedDifference]
) -> None:
    """A row for every protocol, method and group, then the paired differences."""
    rows = [_summary_row(row) for row in summaries] + [_difference_row(row) for row in differences]
    _write_csv(path, _SUMMARY_COLUMNS, rows)


_METRIC_COLUMNS = ("mean", "low", "high", "median", "pooled", "share_improved")
_SUMMARY_COLUMNS = [
    *("protocol", "method", "mitochondria_per_patch", "count", "resampled"),
    *(f"{metric}_{column}" for metric in ("dice", "iou") for column in _METRIC_COLUMNS),
]


def _score_row(score: Score) -> dict[str, Cell]:
    own = {name: getattr(score, name) for name in SCORE_FIELDS}
    return own | {"dice": score.dice, "iou": score.iou}


def _answer_cells(score: Score) -> dict[str, Cell]:
    cells: dict[str, Cell] = {}
    for name, answer in zip(answer_names(len(score.answers)), score.answers, strict=True):
        cells[f"{name}_predicted_iou"] = answer.predicted_iou
        cells[f"{name}_iou"] = answer.iou(score.truth_px)
    return cells


def _score_of(row: Mapping[str, Any]) -> Score:
    fields = {name: row[name] for name in SCORE_FIELDS}
    if fields["predicted_iou"] is None:
        fields["predicted_iou"] = math.nan
    if fields["protocol"] not in PROTOCOLS or fields["method"] not in METHODS:
        raise InputError(f"unknown protocol {fields['protocol']!r} or method {fields['method']!r}")
    return Score(**fields, answers=tuple(_answer_of(one) for one in row.get("answers", ())))


def _answer_object(answer: Answer) -> dict[str, Cell | None]:
    return {name: _null_for_nan(value) for name, value in dataclasses.asdict(answer).items()}


def _answer_of(row: Mapping[str, Any]) -> Answer:
    expected = math.nan if row["predicted_iou"] is None else row["predicted_iou"]
    return Answer(**{**row, "predicted_iou": expected})


def _summary_row(row: SummaryRow) -> dict[str, Cell]:
    return {
        "protocol": row.protocol,
        "method": row.method,
        "mitochondria_per_patch": row.group,
        "count": row.count,
        "resampled": row.dice.interval.resampled,
        **_statistic_cells("dice", row.dice),
        **_statistic_cells("iou", row.iou),
    }


def _statistic_cells(metric: str, statistic: Statistic) -> dict[str, Cell]:
    return {
        f"{metric}_mean": statistic.mean,
        f"{metric}_low": statistic.interval.low,
        f"{metric}_high": statistic.interval.high,
        f"{metric}_median": statistic.median,
        f"{metric}_pooled": statistic.pooled,
    }


def _difference_row(row: PairedDifference) -> dict[str, Cell]:
    cells: dict[str, Cell] = {
        "protocol": row.protocol,
        "method": f"{row.method} minus {row.against}",
        "mitochondria_per_patch": row.group,
        "count": row.num_pairs,
        "resampled": row.dice.interval.resampled,
    }
    for metric, difference in (("dice", row.dice), ("iou", row.iou)):
        cells[f"{metric}_mean"] = difference.mean
        cells[f"{metric}_low"] = difference.interval.low
        cells[f"{metric}_high"] = difference.interval.high
        cells[f"{metric}_share_improved"] = difference.share_improved
    return cells


def _write_csv(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Cell]]) -> None:
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        for row in rows:
            writer.writerow({name: _empty_for_nan(value) for name, value in row.items()})


def _empty_for_nan(value: Cell) -> Cell:
    return "" if isinstance(value, float) and math.isnan(value) else value


def _null_for_nan(value: Cell) -> Cell | None:
    return None if isinstance(value, float) and math.isnan(value) else value
