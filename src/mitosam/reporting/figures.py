"""The report's figures: small multiples, one column or row for each thing compared.

Nothing imports this module before a report is drawn, for it brings Matplotlib with it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from mitosam.evaluation.clicks import STARTS, ClickSummary
from mitosam.evaluation.scores import METHODS, PROTOCOLS, Method, Protocol, Score, pair_scores
from mitosam.evaluation.summary import GROUPS, Group, Statistic, SummaryRow
from mitosam.reporting import ink
from mitosam.reporting.content import Report
from mitosam.reporting.trust_figure import trust_svg
from mitosam.reporting.words import METHOD_TITLES, PROTOCOL_TITLES, number, overall
from mitosam.training.curve import CurvePoint

MAX_POINTS = 1500

_COLOURS: dict[Method, str] = {
    "base": ink.BASE,
    "tuned": ink.TUNED,
    "filled box": ink.RIVAL,
    "inscribed ellipse": ink.RIVAL,
}
_MARKERS: dict[Method, str] = {
    "base": "s",
    "tuned": "o",
    "filled box": "D",
    "inscribed ellipse": "^",
}
_GROUP_LABELS: dict[Group, str] = {
    "none": "none",
    "1": "1",
    "2-3": "2\N{EN DASH}3",
    "4 or more": "4 or more",
}


def draw_figures(report: Report) -> dict[str, str]:
    """Every figure that the report has numbers for, by name."""
    drawn = {}
    with ink.page_style():
        if report.summaries:
            drawn["methods"] = methods_svg(report.summaries)
            drawn["by_count"] = by_count_svg(report.summaries)
        for row in overall(report.differences):
            drawn[f"pairs-{row.protocol}"] = pairs_svg(report.scores, row.protocol)
        if report.clicks:
            drawn["clicks"] = clicks_svg(report.clicks)
        if report.trust:
            drawn["trust"] = trust_svg(report.trust)
        if report.curve:
            drawn["training"] = training_svg(report.curve)
    return drawn


def methods_svg(summaries: Sequence[SummaryRow]) -> str:
    """Mean Dice and IoU with their intervals: a row for each protocol, a line for each method."""
    rows = [row for row in summaries if row.group == "all"]
    protocols = _protocols(rows)
    figure, axes = ink.new_figure(0.3 + 1.4 * len(protocols), len(protocols), 2)
    for pair, protocol in zip(axes, protocols, strict=True):
        own = [row for row in rows if row.protocol == protocol]
        for axis, metric in zip(pair, ("Dice", "IoU"), strict=True):
            axis.set_title(f"{PROTOCOL_TITLES[protocol]}, mean {metric}")
            _draw_methods(axis, own, metric, _axis_start(rows))
        pair[1].set_yticklabels([])
    return ink.to_svg(figure, "methods")


def _draw_methods(axis: Axes, rows: Sequence[SummaryRow], metric: str, low: float) -> None:
    ordered = sorted(rows, key=lambda row: METHODS.index(row.method), reverse=True)
    for height, row in enumerate(ordered):
        statistic = _statistic(row, metric)
        colour = _COLOURS[row.method]
        bounds = (statistic.interval.low, statistic.interval.high)
        axis.plot(bounds, (height, height), color=colour, lw=9, alpha=0.3, solid_capstyle="butt")
        axis.plot(statistic.mean, height, _MARKERS[row.method], color=colour, ms=4.5)
        axis.annotate(
            number(statistic.mean),
            (np.nanmax([statistic.mean, statistic.interval.high]), height),
            (8, 0),
            textcoords="offset points",
            va="center",
            weight="bold" if row.method == "tuned" else "normal",
        )
    axis.set_yticks(range(len(ordered)), [METHOD_TITLES[row.method] for row in ordered])
    axis.set_ylim(-0.6, len(ordered) - 0.4)
    axis.set_xlim(low, 1 + 0.12 * (1 - low))  # room for the last number
    axis.set_xticks([tick for tick in np.arange(0, 11) / 10 if tick >= low])
    axis.grid(axis="x")
    axis.spines["left"].set_visible(False)


def _axis_start(summaries: Sequence[SummaryRow]) -> float:
    """A tenth below everything that is drawn, the same for all panels."""
    ends = [(row.iou.mean, row.iou.interval.low) for row in summaries]  # IoU never exceeds Dice
    return max(0.0, float(np.floor(np.nanmin(ends) * 10 - 0.5) / 10))


def by_count_svg(summaries: Sequence[SummaryRow]) -> str:
    """Mean IoU against the number of mitochondria in the patch, a column for each protocol."""
    protocols = _protocols(summaries)
    figure, axes = ink.new_figure(2.9, 1, max(2, len(protocols)))
    for axis, protocol in zip(axes[0], protocols, strict=False):
        axis.set_title(PROTOCOL_TITLES[protocol])
        _draw_by_count(axis, [s for s in summaries if s.protocol == protocol])
    for axis in axes[0][len(protocols) :]:
        axis.set_axis_off()
    axes[0][0].set_ylabel("mean IoU")
    return ink.to_svg(figure, "by-count")


def _draw_by_count(axis: Axes, rows: Sequence[SummaryRow]) -> None:
    groups = [g for g in GROUPS if g != "all" and any(row.group == g for row in rows)]
    for method in METHODS:
        own = {row.group: row for row in rows if row.method == method}
        places = [place for place, group in enumerate(groups) if group in own]
        if places:
            _draw_line(axis, method, places, [own[groups[place]].iou for place in places])
    counts = [max(row.count for row in rows if row.group == group) for group in groups]
    labels = [f"{_GROUP_LABELS[g]}\nn = {n:,}" for g, n in zip(groups, counts, strict=True)]
    axis.set_xticks(range(len(groups)), labels)
    axis.set_xlim(-0.4, max(len(groups) - 0.6, 0.4))
    axis.set_ylim(0, 1.03)
    axis.set_xlabel("mitochondria in the patch")
    axis.grid(axis="y")


def _draw_line(
    axis: Axes, method: Method, places: Sequence[int], statistics: Sequence[Statistic]
) -> None:
    means = [statistic.mean for statistic in statistics]
    colour = _COLOURS[method]
    if method in ("base", "tuned"):
        shift = -0.04 if method == "base" else 0.04  # so that their intervals stay apart
        x = [place + shift for place in places]
        lows = [statistic.interval.low for statistic in statistics]
        highs = [statistic.interval.high for statistic in statistics]
        axis.vlines(x, lows, highs, colour, lw=2)
        axis.plot(x, means, marker=_MARKERS[method], color=colour, ms=6, lw=1.6)
    else:
        style = ":" if method == "filled box" else "--"
        axis.plot(places, means, marker=_MARKERS[method], color=colour, ms=4, lw=1, ls=style)


def pairs_svg(scores: Sequence[Score], protocol: Protocol) -> str:
    """Base against tuned IoU of every patch or object, and how the differences spread."""
    pairs = pair_scores(scores, protocol, method="tuned", against="base")
    base = np.array([first.iou for first, _ in pairs])
    tuned = np.array([second.iou for _, second in pairs])
    figure, axes = ink.new_figure(3.4, 1, 2, width_ratios=[1.0, 1.35])
    _draw_scatter(axes[0][0], base, tuned)
    _draw_differences(axes[0][1], tuned - base)
    return ink.to_svg(figure, f"pairs-{protocol}")


def _draw_scatter(
    axis: Axes, base: Float[np.ndarray, " n"], tuned: Float[np.ndarray, " n"]
) -> None:
    shown = np.arange(len(base))
    if len(base) > MAX_POINTS:
        shown = np.random.default_rng(0).choice(len(base), MAX_POINTS, replace=False)
    axis.plot([0, 1], [0, 1], color=ink.MUTED, lw=1)
    for better, colour in ((True, ink.TUNED), (False, ink.BASE)):
        chosen = shown[(tuned[shown] >= base[shown]) == better]
        axis.scatter(base[chosen], tuned[chosen], s=13, color=colour, alpha=0.45, lw=0)
    axis.text(0.03, 0.97, "tuned is better", va="top", color=ink.MUTED)
    axis.text(0.97, 0.04, "base is better", ha="right", color=ink.MUTED)
    axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axis.set(xlabel="IoU of the base model", ylabel="IoU of the tuned model")
    axis.set_xticks(np.linspace(0, 1, 6))
    axis.set_yticks(np.linspace(0, 1, 6))
    axis.set_title("Each one, base against tuned")
    axis.grid()


def _draw_differences(axis: Axes, gains: Float[np.ndarray, " n"]) -> None:
    reach = max(0.1, float(np.ceil(np.abs(gains).max() * 10) / 10))
    edges = np.linspace(-reach, reach, 41)
    counts, _ = np.histogram(gains, edges)
    middles = (edges[1:] + edges[:-1]) / 2
    colours = [ink.TUNED if middle > 0 else ink.BASE for middle in middles]
    axis.bar(middles, counts, width=0.88 * np.diff(edges), color=colours)
    axis.axvline(0, color=ink.MUTED, lw=1)
    axis.set(xlabel="change of IoU by tuning", ylabel="how many", xlim=(-reach, reach))
    axis.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    axis.set_title("How far tuning moved them")
    axis.grid(axis="y")


def clicks_svg(rows: Sequence[ClickSummary]) -> str:
    """Mean IoU and mean accuracy of a section against the number of correcting clicks."""
    figure, axes = ink.new_figure(2.9, 1, 2)
    for axis, start in zip(axes[0], STARTS, strict=True):
        axis.set_title(f"First {PROTOCOL_TITLES[start].lower()}")
        for method in ("base", "tuned"):
            own = [row for row in rows if (row.start, row.method) == (start, method)]
            clicks, colour = [row.clicks for row in own], _COLOURS[method]
            lows, highs = ([getattr(row.interval, end) for row in own] for end in ("low", "high"))
            axis.fill_between(clicks, lows, highs, color=colour, alpha=0.2, lw=0)
            axis.plot(clicks, [row.mean_iou for row in own], color=colour, marker=_MARKERS[method])
            axis.plot(clicks, [row.msa for row in own], color=colour, lw=1, ls="--")
        axis.set_ylim(0, 1.03)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set_xlabel("correcting clicks")
        axis.grid(axis="y")
    axes[0][0].set_ylabel("mean IoU")
    return ink.to_svg(figure, "clicks")


def training_svg(curve: Sequence[CurvePoint]) -> str:
    """Loss, validation scores and learning rate, against epochs."""
    figure, axes = ink.new_figure(2.6, 1, 3)
    loss, validation, rate = axes[0]
    epochs = np.array([point.epoch for point in curve])
    _draw_loss(loss, epochs, np.array([point.loss for point in curve]))
    _draw_validation(validation, curve)
    rate.plot(epochs, [point.learning_rate for point in curve], color=ink.TEXT, lw=1.4)
    rate.set_title("Learning rate")
    rate.yaxis.set_major_formatter("{x:g}")
    rate.set_ylim(bottom=0)
    for axis in axes[0]:
        axis.set_xlabel("epoch")
        axis.grid(axis="y")
    return ink.to_svg(figure, "training")


def _draw_loss(axis: Axes, epochs: Float[np.ndarray, " n"], loss: Float[np.ndarray, " n"]) -> None:
    window = max(1, len(loss) // 50)
    thinned = np.unique(np.linspace(0, len(loss) - 1, MAX_POINTS // 2).astype(int))
    if window > 1:
        axis.plot(epochs[thinned], loss[thinned], color=ink.RIVAL, lw=0.6, alpha=0.6)
    means = running_mean(loss, window)
    axis.plot(epochs[thinned], means[thinned], color=ink.TEXT, lw=1.6, marker=_dot(len(loss)))
    axis.set_title("Training loss")


def _draw_validation(axis: Axes, curve: Sequence[CurvePoint]) -> None:
    axis.set_title("Validation scores")
    axis.set_ylim(0, 1.03)
    for name, style, above in (("Dice", "-", 7), ("IoU", "--", -15)):
        attribute = f"validation_{name.lower()}"
        measured = [
            (point.epoch, getattr(point, attribute))
            for point in curve
            if getattr(point, attribute) is not None
        ]
        if measured:
            x, y = zip(*measured, strict=True)
            axis.plot(x, y, color=ink.TUNED, lw=1.6, ls=style, marker=_dot(len(x)), ms=4)
            axis.annotate(name, (x[-1], y[-1]), (0, above), textcoords="offset points", ha="right")


def running_mean(values: Float[np.ndarray, " n"], window: int) -> Float[np.ndarray, " n"]:
    """The mean of up to `window` values that end at each place.

    >>> running_mean(np.array([4.0, 2.0, 0.0]), 2)
    array([4., 3., 1.])
    """
    sums = np.cumsum(values)
    sums[window:] = sums[window:] - sums[:-window]
    return sums / np.minimum(np.arange(1, len(values) + 1), window)


def _dot(num_points: int) -> str:
    """Dots where points are few enough to be told apart, and nothing otherwise."""
    return "o" if num_points <= 40 else ""


def _statistic(row: SummaryRow, metric: str) -> Statistic:
    return row.dice if metric == "Dice" else row.iou


def _protocols(rows: Sequence[SummaryRow]) -> list[Protocol]:
    found = {row.protocol for row in rows}
    return [protocol for protocol in PROTOCOLS if protocol in found]
