"""Scores as `evaluate` keeps them, and what they say of the model's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from mitosam.evaluation.scores import Answer, Score, answer_names
from mitosam.evaluation.trust import Trust
from mitosam.io.tables import read_csv, write_json, write_table

CALIBRATION = "iou_calibration"
_COUNTS = {"section", "y", "x", "object_id", "num_objects"} | {
    field.name for field in fields(Score) if field.name.endswith("_px")
}
_ANSWER = tuple(field.name for field in fields(Answer))


def write_scores(path: Path, scores: Sequence[Score]) -> None:
    """A line for each score; the counts of all its masks stand behind its own."""
    write_table(path, [_row(score) for score in scores])


def read_scores(path: Path) -> list[Score]:
    """Scores as `write_scores` wrote them, also from before all masks were kept."""
    return read_csv(path, _score)


def _row(score: Score) -> dict[str, Any]:
    row = asdict(score)
    answers = row.pop("answers")
    for name, answer in zip(answer_names(len(answers)), answers, strict=True):
        row |= {f"{name}_{key}": value for key, value in answer.items()}
    return row


def _score(row: Mapping[str, str]) -> Score:
    count = sum(name.endswith("_predicted_iou") for name in row)
    return Score(
        **{name: int(row[name]) for name in _COUNTS},
        protocol=row["protocol"],  # type: ignore[arg-type]
        method=row["method"],  # type: ignore[arg-type]
        volume=row["volume"],
        predicted_iou=float(row["predicted_iou"] or "nan"),
        answers=tuple(_answer(row, name) for name in answer_names(count)),
    )


def _answer(row: Mapping[str, str], name: str) -> Answer:
    predicted_px, intersection_px, predicted_iou = (row[f"{name}_{key}"] for key in _ANSWER)
    return Answer(
        predicted_px=int(predicted_px),
        intersection_px=int(intersection_px),
        predicted_iou=float(predicted_iou or "nan"),
    )


def write_calibration(folder: Path, rows: Sequence[Trust]) -> None:
    """`iou_calibration.csv` with a line for each row, and `.json` with its bins too."""
    write_table(folder / f"{CALIBRATION}.csv", [_calibration_row(row) for row in rows])
    write_json(folder / f"{CALIBRATION}.json", list(rows))


def _calibration_row(row: Trust) -> dict[str, Any]:
    found, choice = row.calibration, row.choice
    return {
        "protocol": row.protocol,
        "method": row.method,
        "mask": row.mask,
        "is_scored": row.is_scored,
        "count": found.count,
        "mean_predicted_iou": found.mean_predicted,
        "mean_iou": found.mean_true,
        "bias": found.bias,
        "bias_low": found.bias_interval.low,
        "bias_high": found.bias_interval.high,
        "mean_absolute_error": found.mean_absolute_error,
        "expected_calibration_error": found.expected_calibration_error,
        "pearson": found.pearson,
        "spearman": found.spearman,
        "gain_over_single": choice and choice.gain,
        "gain_low": choice and choice.gain_interval.low,
        "gain_high": choice and choice.gain_interval.high,
        "mean_iou_of_candidates": choice and choice.candidates,
        "oracle_iou_of_candidates": choice and choice.oracle,
        "share_best": choice and choice.share_best,
    }
