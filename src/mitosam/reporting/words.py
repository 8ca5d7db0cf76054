"""Numbers as text, and the sentences that say in plain words what tuning gained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mitosam.evaluation.bootstrap import Interval
from mitosam.evaluation.cases import Why
from mitosam.evaluation.scores import Method, Protocol
from mitosam.evaluation.summary import Difference, PairedDifference, SummaryRow
from mitosam.reporting.content import Report

MINUS = "\N{MINUS SIGN}"
MISSING = "\N{EN DASH}"

PROTOCOL_TITLES: dict[Protocol, str] = {
    "patch-box": "One box per patch",
    "object-box": "One box per mitochondrion",
    "object-point": "One point per mitochondrion",
}
METHOD_TITLES: dict[Method, str] = {
    "base": "Base model",
    "tuned": "Tuned model",
    "filled box": "Filled box",
    "inscribed ellipse": "Inscribed ellipse",
}
WHY_TITLES: dict[Why, str] = {
    "best": "Best after tuning",
    "median": "Typical",
    "worst": "Worst after tuning",
    "most crowded": "Most mitochondria",
    "lost": "Where the tuned model lost",
}

Outcome = Literal["helped", "hurt", "unclear"]
_SHORT: dict[Outcome, str] = {
    "helped": "tuning helped",
    "hurt": "tuning made it worse",
    "unclear": "tuning made no clear difference",
}
_MODELS: tuple[Method, ...] = ("base", "tuned")
_RIVALS: tuple[Method, ...] = ("filled box", "inscribed ellipse")


def number(value: float, digits: int = 3) -> str:
    """A score with a true minus sign, or a dash where there is none.

    >>> number(0.5), number(0.25, 2), number(-0.0001)
    ('0.500', '0.25', '0.000')
    """
    if math.isnan(value):
        return MISSING
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", MINUS)


def signed(value: float, digits: int = 3) -> str:
    """A difference, with its sign where it has one.

    >>> signed(0.5), signed(0.0)
    ('+0.500', '0.000')
    """
    text = number(value, digits)
    return f"+{text}" if value > 0 and float(text) > 0 else text


def interval(bounds: Interval) -> str:
    """Both ends, or a dash where there are none.

    >>> interval(Interval(low=0.01, high=0.2, resampled="sections"))
    '0.010 to 0.200'
    """
    return MISSING if math.isnan(bounds.low) else f"{number(bounds.low)} to {number(bounds.high)}"


def percent(share: float) -> str:
    """A share in whole percent, where only all is 100 % and only none is 0 %.

    >>> percent(0.256), percent(0.999), percent(0.001), percent(1.0)
    ('26 %', 'over 99 %', 'under 1 %', '100 %')
    """
    if math.isnan(share):
        return MISSING
    if 0 < share < 0.01:
        return "under 1 %"
    return "over 99 %" if 0.99 < share < 1 else f"{100 * share:.0f} %"


def three_figures(value: float | None) -> str:
    """A measure with three significant digits, or a dash where there is none.

    >>> three_figures(1234.5), three_figures(0.01234)
    ('1,230', '0.0123')
    """
    if value is None or not math.isfinite(value):
        return MISSING
    if value == 0:
        return "0"
    digits = 2 - math.floor(math.log10(abs(value)))
    return f"{round(value, digits):,.{max(0, digits)}f}".replace("-", MINUS)


def plural(count: int, noun: str) -> str:
    """A number with its noun.

    >>> plural(1, "patch"), plural(1640, "patch"), plural(2, "mitochondrion")
    ('1 patch', '1,640 patches', '2 mitochondria')
    """
    plurals = {"patch": "patches", "mitochondrion": "mitochondria"}
    return f"{count:,} {noun if count == 1 else plurals.get(noun, noun + 's')}"


def outcome_of(difference: Difference) -> Outcome:
    """What the interval allows to say: it leaves out zero, or it does not."""
    if not difference.is_clear:
        return "unclear"
    return "helped" if difference.mean > 0 else "hurt"


def headline(report: Report) -> str:
    """One short sentence: whether tuning helped, and where protocols disagree, with which."""
    outcomes = {row.protocol: outcome_of(row.dice) for row in overall(report.differences)}
    if not outcomes:
        return "What was scored" if report.summaries else "Nothing was scored"
    if len(set(outcomes.values())) == 1:
        return _sentence(_SHORT[next(iter(outcomes.values()))])
    parts = [
        f"with {PROTOCOL_TITLES[protocol].lower()} {_SHORT[outcome]}"
        for protocol, outcome in outcomes.items()
    ]
    return _sentence("; ".join(parts))


def lead(report: Report) -> str:
    """What tuning gained, with its interval, in a sentence for each protocol."""
    changes = [_change(row, _means(report, row.protocol)) for row in overall(report.differences)]
    if changes:
        return " ".join(changes)
    alone = [row for row in report.summaries if row.group == "all" and row.method in _MODELS]
    return " ".join(_alone(row) for row in alone)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One protocol at a glance."""

    title: str
    base: float
    tuned: float
    """Mean Dice of both models."""
    dice: Difference
    sentences: tuple[str, ...]


def verdicts(report: Report) -> list[Verdict]:
    """One for each protocol in which both models were scored."""
    return [_verdict(row, _means(report, row.protocol)) for row in overall(report.differences)]


def overall(rows: Sequence[PairedDifference]) -> list[PairedDifference]:
    """The rows over all patches, one a protocol."""
    return [row for row in rows if row.group == "all"]


def noun_of(protocol: Protocol) -> str:
    """What one score of this protocol is about."""
    return "patch" if protocol == "patch-box" else "mitochondrion"


def _means(report: Report, protocol: Protocol) -> dict[Method, SummaryRow]:
    return {
        row.method: row
        for row in report.summaries
        if row.protocol == protocol and row.group == "all"
    }


def _change(row: PairedDifference, means: dict[Method, SummaryRow]) -> str:
    base, tuned = means["base"].dice.mean, means["tuned"].dice.mean
    given = f"With {PROTOCOL_TITLES[row.protocol].lower()},"
    came = f"from {number(base)} to {number(tuned)}"
    bounds = _interval_words(row.dice.interval)
    outcome = outcome_of(row.dice)
    if outcome == "unclear":
        return f"{given} mean Dice went {came}, a change of {signed(row.dice.mean)} ({bounds})."
    verb = "rose" if outcome == "helped" else "fell"
    return f"{given} mean Dice {verb} {came}, by {number(abs(row.dice.mean))} ({bounds})."


def _verdict(row: PairedDifference, means: dict[Method, SummaryRow]) -> Verdict:
    return Verdict(
        title=PROTOCOL_TITLES[row.protocol],
        base=means["base"].dice.mean,
        tuned=means["tuned"].dice.mean,
        dice=row.dice,
        sentences=(
            f"IoU went from {number(means['base'].iou.mean)} to "
            f"{number(means['tuned'].iou.mean)} ({signed(row.iou.mean)}, "
            f"{_interval_words(row.iou.interval)}).",
            f"Of {plural(row.num_pairs, noun_of(row.protocol))}, "
            f"{percent(row.dice.share_improved)} improved and "
            f"{percent(row.dice.num_worse / row.num_pairs)} got worse.",
            *_beside_rivals(means),
        ),
    )


def _interval_words(bounds: Interval) -> str:
    if math.isnan(bounds.low):
        return "too few scores for an interval"
    caution = "" if bounds.resampled == "sections" else ", from fewer than five sections"
    return f"95 % interval {interval(bounds)}{caution}"


def _beside_rivals(means: dict[Method, SummaryRow]) -> list[str]:
    """Whether the tuned model beats what the prompt is worth without any model."""
    rivals = [means[method] for method in _RIVALS if method in means]
    if not rivals:
        return []
    named = " and ".join(f"the {row.method} {number(row.dice.mean)}" for row in rivals)
    best = max(rivals, key=lambda row: row.dice.mean)
    if means["tuned"].dice.mean > best.dice.mean:
        return [f"Dice without any model: {named}; the tuned model is above."]
    return [
        f"Dice without any model: {named}; the tuned model does not pass the {best.method}, "
        "so here the prompt does most of the work."
    ]


def _alone(row: SummaryRow) -> str:
    return (
        f"With {PROTOCOL_TITLES[row.protocol].lower()}, the {row.method} model reached a mean "
        f"Dice of {number(row.dice.mean)} ({_interval_words(row.dice.interval)}) on "
        f"{plural(row.count, noun_of(row.protocol))}."
    )


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]
