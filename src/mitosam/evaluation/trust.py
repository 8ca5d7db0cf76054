"""The scores of a run as pairs of predicted and true IoU, protocol by protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mitosam.evaluation.iou_calibration import (
    Calibration,
    Choice,
    calibrate_iou,
    value_of_choosing,
)
from mitosam.evaluation.scores import PROTOCOLS, Answer, Method, Protocol, Score

MaskKind = Literal["single", "chosen"]
MODELS: tuple[Method, ...] = ("base", "tuned")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """How far one model's predicted IoU can be believed, under one protocol.

    `mask` is which of its masks this is about: the single one, or of the candidates that with the
    highest predicted IoU.
    """

    protocol: Protocol
    method: Method
    mask: MaskKind
    is_scored: bool
    """Whether the run's scores are of these masks."""
    calibration: Calibration
    choice: Choice | None
    """What choosing is worth; only beside the chosen mask."""


def measure_trust(scores: Sequence[Score], seed: int) -> list[Trust]:
    """A row for each protocol, model and kind of mask that was kept.

    Subjects without true pixels have no IoU worth predicting and are left out.
    """
    rows = []
    for protocol in PROTOCOLS:
        for method in MODELS:
            own = [s for s in scores if (s.protocol, s.method) == (protocol, method)]
            usable = [s for s in own if s.truth_px and np.isfinite(s.predicted_iou)]
            rows += _rows(usable, seed) if usable else []
    return rows


def _rows(scores: Sequence[Score], seed: int) -> list[Trust]:
    rows = [_row(scores, "single", [_single(score) for score in scores], None, seed)]
    if all(len(score.answers) > 1 for score in scores):
        picked = [max(score.answers[1:], key=_expected) for score in scores]
        rows.append(_row(scores, "chosen", picked, _choice(scores, seed), seed))
    return rows


def _row(
    scores: Sequence[Score],
    mask: MaskKind,
    answers: Sequence[Answer],
    choice: Choice | None,
    seed: int,
) -> Trust:
    pairs = list(zip(scores, answers, strict=True))
    return Trust(
        protocol=scores[0].protocol,
        method=scores[0].method,
        mask=mask,
        is_scored=all(one.predicted_iou == score.predicted_iou for score, one in pairs),
        calibration=calibrate_iou(
            np.array([one.predicted_iou for one in answers]),
            np.array([one.iou(score.truth_px) for score, one in pairs]),
            _sections(scores),
            seed=seed,
        ),
        choice=choice,
    )


def _choice(scores: Sequence[Score], seed: int) -> Choice:
    candidates = [score.answers[1:] for score in scores]
    return value_of_choosing(
        np.array([score.answers[0].iou(score.truth_px) for score in scores]),
        np.array([[one.predicted_iou for one in row] for row in candidates]),
        np.array(
            [
                [one.iou(score.truth_px) for one in row]
                for score, row in zip(scores, candidates, strict=True)
            ]
        ),
        _sections(scores),
        seed=seed,
    )


def _single(score: Score) -> Answer:
    """The single mask; where no others were kept, the one that was scored."""
    if score.answers:
        return score.answers[0]
    return Answer(
        predicted_px=score.predicted_px,
        intersection_px=score.intersection_px,
        predicted_iou=score.predicted_iou,
    )


def _expected(answer: Answer) -> float:
    return answer.predicted_iou


def _sections(scores: Sequence[Score]) -> list[tuple[str, int]]:
    return [(score.volume, score.section) for score in scores]
