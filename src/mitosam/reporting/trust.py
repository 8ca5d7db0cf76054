"""Sentences that say how far a model's own scores can be believed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from mitosam.evaluation.iou_calibration import Calibration
from mitosam.evaluation.scores import Protocol
from mitosam.evaluation.trust import Trust
from mitosam.reporting import words

MAX_ERROR: Final = 0.1
"""Expected calibration error up to which scores are right on average."""
MIN_ORDER: Final = 0.5
"""Rank correlation from which scores tell the better masks from the worse."""
ROUGH_ORDER: Final = 0.3
"""Rank correlation below which they hardly do."""

Verdict = Literal["trusted", "order", "level", "neither"]


def verdict_of(found: Calibration) -> Verdict:
    """Whether the scores have the right level, the right order, both or neither.

    The levels are a convention: `MAX_ERROR` and `MIN_ORDER`.
    """
    level = found.expected_calibration_error <= MAX_ERROR
    order = found.spearman >= MIN_ORDER  # False for NaN
    if level and order:
        return "trusted"
    return "order" if order else "level" if level else "neither"


def sentences(rows: Sequence[Trust]) -> list[str]:
    """One for each protocol about the masks that were scored, and one about choosing masks."""
    said = []
    for protocol in dict.fromkeys(row.protocol for row in rows):
        own = {row.method: row for row in rows if row.protocol == protocol and row.is_scored}
        if own:
            said.append(_sentence(own.get("tuned") or own["base"], own.get("base")))
    return said + _of_choosing(rows)


def _sentence(row: Trust, base: Trust | None) -> str:
    found = row.calibration
    off = f"a score is off by {words.number(found.mean_absolute_error, 2)} on average"
    if base and base is not row:
        before = base.calibration.mean_absolute_error
        off += f" (base model: {words.number(before, 2)})"
    return f"{_given(row.protocol)}, the scores of the {row.method} model {_judged(found)}; {off}."


def _judged(found: Calibration) -> str:
    verdict, biased = verdict_of(found), _biased(found)
    if verdict == "trusted":
        return "can be trusted: they are about right, and better masks get the higher ones"
    if verdict == "order":
        return f"are {biased}, but better masks get the higher ones"
    rough = found.spearman >= ROUGH_ORDER
    told = "only roughly tell better masks from worse" if rough else "hardly tell good from bad"
    if verdict == "level":
        return f"are about right on average, but {told}"
    return f"cannot be trusted: they are {biased}, and {told}"


def _biased(found: Calibration) -> str:
    """How the scores are wrong, where they are."""
    if abs(found.bias) < MAX_ERROR / 2:
        return "too high for some and too low for others"
    by = words.number(abs(found.bias), 2)
    return f"too {'high' if found.bias > 0 else 'low'} by {by}"


def _of_choosing(rows: Sequence[Trust]) -> list[str]:
    """What it is worth to take the candidate with the highest score, for a point."""
    points = [row for row in rows if row.protocol == "object-point" and row.choice]
    said = []
    for row in points[-1:]:  # the tuned model's, where there is one
        choice = row.choice
        assert choice is not None
        bounds = words.interval(choice.gain_interval)
        said.append(
            f"{_given(row.protocol)}, taking the candidate that the {row.method} model scores "
            f"highest gives a mean IoU of {words.number(choice.chosen)}, and its single mask "
            f"{words.number(choice.single)} ({words.signed(choice.gain)}, 95 % interval {bounds})."
            f" Choosing blindly would give {words.number(choice.candidates)}, and never erring, "
            f"for which one needs the annotation, {words.number(choice.oracle)}."
        )
    return said


def _given(protocol: Protocol) -> str:
    return f"With {words.PROTOCOL_TITLES[protocol].lower()}"
