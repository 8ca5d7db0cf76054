"""The study's figure: each factor a block, each level a dot and the interval of what it changed.

Nothing imports this module before a page is drawn, for it brings Matplotlib with it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from mitosam.evaluation.levels import Metric
from mitosam.reporting import ink
from mitosam.reporting.ablation_content import Ablation, Level, LevelScore, Prompt
from mitosam.reporting.ablation_words import (
    METRIC_TITLES,
    Outcome,
    metrics_of,
    outcome_of,
)
from mitosam.reporting.words import number, signed

ROW_IN, FRAME_IN = 0.235, 0.75
_STYLES: dict[Outcome, tuple[str, str, str]] = {  # colour, marker, face
    "better": (ink.TUNED, "o", ink.TUNED),
    "worse": (ink.BASE, "s", ink.BASE),
    "unclear": (ink.RIVAL, "o", "none"),
    "base": (ink.TEXT, "D", ink.TEXT),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """One line of the figure: a level, or a factor's heading."""

    text: str
    level: Level | None


def levels_svg(content: Ablation, prompt: Prompt, name: str) -> str:
    """Both scores of every level under one prompt, side by side, in the page's colours.

    Ids within the picture begin with `name`, which no other picture of the page has.
    """
    rows = _rows(content, prompt)
    with ink.page_style():
        figure, axes = ink.new_figure(FRAME_IN + ROW_IN * len(rows), 1, 2)
        for axis, metric in zip(axes[0], metrics_of(prompt), strict=True):
            axis.set_title(f"mean {METRIC_TITLES[metric]}")
            _draw(axis, rows, content, prompt, metric)
        _label_rows(axes[0][0], rows)
        axes[0][1].set_yticks([])
        return ink.to_svg(figure, name)


def _rows(content: Ablation, prompt: Prompt) -> list[_Row]:
    rows = [_Row(text="base", level=content.base)]
    if content.untuned and content.untuned.score(prompt, "iou"):
        rows.append(_Row(text=content.untuned.label, level=content.untuned))
    for block in content.blocks:
        levels = [level for level in block.levels if level.score(prompt, "iou")]
        if not all(level.is_base for level in levels):  # of a study that was stopped early
            rows.append(_Row(text=block.name, level=None))
            rows += [_Row(text=level.label, level=level) for level in levels]
    return rows


def _label_rows(axis: Axes, rows: Sequence[_Row]) -> None:
    axis.set_yticks(range(len(rows)), [row.text for row in rows])
    for tick, row in zip(axis.get_yticklabels(), rows, strict=True):
        if row.level is None:
            tick.set(weight="bold", color=ink.TEXT)
        elif row.level.is_base:
            tick.set(color=ink.TEXT)


def _draw(
    axis: Axes, rows: Sequence[_Row], content: Ablation, prompt: Prompt, metric: Metric
) -> None:
    base = content.base.score(prompt, metric)
    assert base is not None
    low, high = _limits(rows, content, prompt, metric)
    axis.axvline(base.mean.mean, color=ink.TEXT, lw=1, ls=(0, (4, 3)))
    for place, row in enumerate(rows):
        score = row.level.score(prompt, metric) if row.level else None
        if row.level and score:
            _draw_level(axis, place, row.level, score, base, (low, high))
    axis.set(xlim=(low, high), ylim=(len(rows) - 0.4, -0.7))
    axis.xaxis.set_major_locator(MaxNLocator(5))
    axis.grid(axis="x")
    axis.spines["left"].set_visible(False)


def _draw_level(
    axis: Axes,
    place: int,
    level: Level,
    score: LevelScore,
    base: LevelScore,
    limits: tuple[float, float],
) -> None:
    colour, marker, face = _STYLES[outcome_of(level, score)]
    mean, change, middle = score.mean.mean, score.difference, base.mean.mean
    text = number(mean) if change is None else f"{number(mean)} ({signed(change.mean)})"
    if not limits[0] <= mean <= limits[1]:  # the untuned model may be far off
        if mean < limits[0]:
            _write(axis, 0.01, place, "\N{LEFTWARDS ARROW} off the scale")
        _write(axis, 0.995, place, text)
        return
    if change is not None and not math.isnan(change.low) and not level.is_base:
        axis.hlines(place, middle + change.low, middle + change.high, colour, lw=2.2)
    axis.plot(mean, place, marker, color=colour, markerfacecolor=face, ms=5.5, mew=1.5)
    _write(axis, 0.995, place, text)


def _write(axis: Axes, x: float, place: int, text: str) -> None:
    """A number at a share of the axis's width, beside what is drawn."""
    axis.text(
        x,
        place,
        text,
        transform=axis.get_yaxis_transform(),
        va="center",
        ha="left" if x < 0.5 else "right",
        fontsize=8,
        color=ink.MUTED,
    )


def _limits(
    rows: Sequence[_Row], content: Ablation, prompt: Prompt, metric: Metric
) -> tuple[float, float]:
    """What holds every level and its interval, and right of them the column of numbers."""
    base = content.base.score(prompt, metric)
    assert base is not None
    ends = [base.mean.mean]
    for row in rows:
        if row.level is not None and row.level is not content.untuned:
            ends += _ends(row.level.score(prompt, metric), base)
    untuned = content.untuned.score(prompt, metric) if content.untuned else None
    reach = max(max(ends) - min(ends), 0.01)
    if untuned and min(ends) - reach <= untuned.mean.mean <= max(ends) + reach:
        ends += _ends(untuned, base)
    width = max(max(ends) - min(ends), 0.01)
    return min(ends) - 0.08 * width, max(ends) + 0.62 * width


def _ends(score: LevelScore | None, base: LevelScore) -> list[float]:
    """What is drawn of a score: its mean, and the interval of its difference from the base's."""
    if score is None:
        return []
    change, middle = score.difference, base.mean.mean
    if change is None or math.isnan(change.low):
        return [score.mean.mean]
    return [score.mean.mean, middle + change.low, middle + change.high]


_LIGHT = {
    "--text": "#1d2125",
    "--muted": "#5d656e",
    "--line": "#dcd8d0",
    "--base": "#c2500a",
    "--tuned": "#0b67b2",
    "--rival": "#878d94",
}


def standalone_svg(svg: str) -> str:
    """A figure of the page as a file of its own, in the page's light colours."""
    for name, colour in _LIGHT.items():
        svg = svg.replace(f"var({name})", colour)
    head = (
        '<svg xmlns="http://www.w3.org/2000/svg" style="background: #fdfcfa; '
        'font-family: sans-serif"'
    )
    return svg.replace("<svg", head, 1) + "\n"
