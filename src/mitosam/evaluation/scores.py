"""One score: how well one predicted mask meets one true mask, and where that was."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from mitosam.errors import InputError
from mitosam.evaluation.metrics import Overlap, measure_overlap

Protocol = Literal["patch-box", "object-box", "object-point"]
Method = Literal["base", "tuned", "filled box", "inscribed ellipse"]

PROTOCOLS: tuple[Protocol, ...] = ("patch-box", "object-box", "object-point")
METHODS: tuple[Method, ...] = ("base", "tuned", "filled box", "inscribed ellipse")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One of the masks that a model gave for a prompt, beside what it expected of it."""

    predicted_px: int
    intersection_px: int
    predicted_iou: float

    def iou(self, truth_px: int) -> float:
        """|P & T| / |P | T|; two empty masks score 1."""
        union = truth_px + self.predicted_px - self.intersection_px
        return self.intersection_px / union if union else 1.0


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Subject:
    """What was asked for: one patch, or one object of a patch, under one protocol.

    Scores of several methods on the same subject form a pair.
    """

    protocol: Protocol
    volume: str
    section: int
    """Index of the section in its volume, from 0."""
    y: int
    """Top of the patch or tile in its section, in pixels."""
    x: int
    """Left of the patch or tile in its section, in pixels."""
    object_id: int = 0
    """The object within its patch, from 1; 0 in the patch protocol."""
    num_objects: int
    """Mitochondria in its patch."""

    def score(
        self,
        method: Method,
        predicted: Bool[np.ndarray, "height width"],
        truth: Bool[np.ndarray, "height width"],
        *,
        predicted_iou: float = math.nan,
        answers: tuple[Answer, ...] = (),
    ) -> Score:
        """The score of one method's mask on this subject."""
        overlap = measure_overlap(predicted, truth)
        return Score(
            protocol=self.protocol,
            method=method,
            volume=self.volume,
            section=self.section,
            y=self.y,
            x=self.x,
            object_id=self.object_id,
            num_objects=self.num_objects,
            truth_px=int(overlap.truth_px),
            predicted_px=int(overlap.predicted_px),
            intersection_px=int(overlap.intersection_px),
            predicted_iou=predicted_iou,
            answers=answers,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """The pixel counts of one method's mask on one subject; Dice and IoU follow from them."""

    protocol: Protocol
    method: Method
    volume: str
    section: int
    y: int
    x: int
    object_id: int
    num_objects: int
    truth_px: int
    predicted_px: int
    intersection_px: int
    predicted_iou: float
    """The IoU that the model itself expected; NaN for the rivals, which expect nothing."""
    answers: tuple[Answer, ...] = ()
    """All masks that the model gave: its single one, then its candidates. None for the rivals, nor
    in runs that were scored before they were kept."""

    def __post_init__(self) -> None:
        counted: tuple[Score | Answer, ...] = (self, *self.answers)
        for one in counted:
            if not 0 <= one.intersection_px <= min(self.truth_px, one.predicted_px):
                raise InputError(
                    "an intersection must lie between 0 and the smaller mask, "
                    f"got intersection_px={one.intersection_px} with truth_px={self.truth_px} "
                    f"and predicted_px={one.predicted_px}"
                )

    @property
    def subject(self) -> Subject:
        """What was scored, the same for every method."""
        return Subject(
            protocol=self.protocol,
            volume=self.volume,
            section=self.section,
            y=self.y,
            x=self.x,
            object_id=self.object_id,
            num_objects=self.num_objects,
        )

    @property
    def dice(self) -> float:
        """2 |P & T| / (|P| + |T|); two empty masks score 1."""
        total = self.truth_px + self.predicted_px
        return 2 * self.intersection_px / total if total else 1.0

    @property
    def iou(self) -> float:
        """|P & T| / |P | T|; two empty masks score 1."""
        union = self.truth_px + self.predicted_px - self.intersection_px
        return self.intersection_px / union if union else 1.0


def answers_of(
    masks: Bool[np.ndarray, "m height width"],
    truth: Bool[np.ndarray, "height width"],
    predicted_ious: Float[np.ndarray, " m"],
) -> tuple[Answer, ...]:
    """The counts of several masks for one prompt."""
    overlap = measure_overlap(masks, np.broadcast_to(truth, masks.shape))
    counts = zip(overlap.predicted_px, overlap.intersection_px, predicted_ious, strict=True)
    return tuple(
        Answer(predicted_px=int(px), intersection_px=int(both), predicted_iou=float(iou))
        for px, both, iou in counts
    )


def answer_names(count: int) -> list[str]:
    """What the columns of a prompt's masks begin with.

    >>> answer_names(3)
    ['single', 'candidate_1', 'candidate_2']
    """
    return ["single", *(f"candidate_{number}" for number in range(1, count))][:count]


def overlap_of(scores: Sequence[Score]) -> Overlap:
    """The scores' pixel counts as arrays, for means and pooling."""
    return Overlap(
        truth_px=np.array([score.truth_px for score in scores], np.int64),
        predicted_px=np.array([score.predicted_px for score in scores], np.int64),
        intersection_px=np.array([score.intersection_px for score in scores], np.int64),
    )


def pair_scores(
    scores: Sequence[Score], protocol: Protocol, *, method: Method, against: Method
) -> list[tuple[Score, Score]]:
    """(`against`, `method`) for every subject that both have scored, in the subjects' order.

    Raises
    ------
    InputError
        A method has scored one subject twice.
    """
    first = _by_subject(scores, protocol, against)
    second = _by_subject(scores, protocol, method)
    return [(first[subject], second[subject]) for subject in sorted(first.keys() & second.keys())]


def _by_subject(
    scores: Sequence[Score], protocol: Protocol, method: Method
) -> dict[Subject, Score]:
    chosen = [score for score in scores if (score.protocol, score.method) == (protocol, method)]
    found = {score.subject: score for score in chosen}
    if len(found) != len(chosen):
        raise InputError(
            f"a method scores each subject once, got {len(chosen)} scores of {method!r} "
            f"on {len(found)} subjects of {protocol!r}"
        )
    return found
