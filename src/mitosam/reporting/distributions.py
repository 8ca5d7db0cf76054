"""How sizes and shapes of instances are distributed, as small multiples.

Nothing imports this module before a page is drawn, for it brings Matplotlib with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from mitosam.reporting import ink
from mitosam.reporting.instances import InstanceRow
from mitosam.reporting.words import three_figures

_COLUMNS = 3
_HATCH = "//////"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One thing that was measured of each instance."""

    name: str
    title: str
    unit_um: str
    unit_px: str
    logarithmic: bool = False


MEASURES = (
    Measure(name="volume", title="Volume", unit_um="µm³", unit_px="voxels", logarithmic=True),
    Measure(name="length", title="Length", unit_um="µm", unit_px="px"),
    Measure(name="section_area", title="Largest section", unit_um="µm²", unit_px="px²"),
    Measure(name="sphericity", title="Sphericity", unit_um="", unit_px=""),
    Measure(name="nearest_distance", title="Nearest neighbour", unit_um="µm", unit_px="px"),
)


def distributions_svg(rows: Sequence[InstanceRow], *, calibrated: bool) -> str:
    """A histogram of each measure that any instance has, and how many touch the border.

    Instances that touch the volume's border were not seen whole: they stand on top of the others,
    hatched, and the median marked is that of the others. `calibrated` says that lengths are in µm.
    """
    measures = [m for m in MEASURES if any(_is_measured(row, m) for row in rows)]
    num_rows = -(-(len(measures) + 1) // _COLUMNS)
    with ink.page_style():
        figure, axes = ink.new_figure(0.2 + 2.1 * num_rows, num_rows, _COLUMNS)
        places = [axis for line in axes for axis in line]
        for axis, measure in zip(places, measures, strict=False):
            _draw_measure(axis, rows, measure, calibrated=calibrated)
        _draw_counts(places[len(measures)], rows)
        for axis in places[len(measures) + 1 :]:
            axis.set_axis_off()
        return ink.to_svg(figure, "distributions")


def _is_measured(row: InstanceRow, measure: Measure) -> bool:
    value = getattr(row, measure.name)
    return value is not None and bool(np.isfinite(value)) and (value > 0 or not measure.logarithmic)


def _values(
    rows: Sequence[InstanceRow], measure: Measure, *, at_border: bool
) -> Float[np.ndarray, " n"]:
    chosen = [row for row in rows if row.at_border == at_border and _is_measured(row, measure)]
    return np.array([getattr(row, measure.name) for row in chosen], np.float64)


def _draw_measure(
    axis: Axes, rows: Sequence[InstanceRow], measure: Measure, *, calibrated: bool
) -> None:
    whole = _values(rows, measure, at_border=False)
    cut = _values(rows, measure, at_border=True)
    edges = _edges(np.concatenate([whole, cut]), logarithmic=measure.logarithmic)
    below, _ = np.histogram(whole, edges)
    above, _ = np.histogram(cut, edges)
    place: dict[str, Any] = {"x": edges[:-1], "width": np.diff(edges), "align": "edge", "lw": 0.7}
    axis.bar(height=below, color=ink.TUNED, edgecolor=ink.TUNED, alpha=0.75, **place)
    axis.bar(height=above, bottom=below, color="none", edgecolor=ink.RIVAL, hatch=_HATCH, **place)
    unit = measure.unit_um if calibrated else measure.unit_px
    axis.set_title(measure.title)
    axis.set_xlabel(unit or "1 is a ball")
    _set_scale(axis, edges, logarithmic=measure.logarithmic)
    axis.set_ylim(0, max(1, (below + above).max()) * 1.28)  # room for the median's number
    if len(whole):
        _mark_median(axis, float(np.median(whole)), unit)


def _edges(values: Float[np.ndarray, " n"], *, logarithmic: bool) -> Float[np.ndarray, " edges"]:
    """Bin edges, as many as the values carry, that reach from the least to the greatest."""
    num = int(np.clip(np.ceil(2 * np.cbrt(len(values))), 4, 24))
    low, high = float(values.min()), float(values.max())
    if low == high:
        margin = abs(low) * 0.2 or 0.5
        low, high = low - margin, high + margin
    return np.geomspace(low, high, num + 1) if logarithmic else np.linspace(low, high, num + 1)


def _set_scale(axis: Axes, edges: Float[np.ndarray, " edges"], *, logarithmic: bool) -> None:
    if logarithmic:
        axis.set_xscale("log")
        few = np.log10(edges[-1] / edges[0]) < 1.5
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,)))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.xaxis.set_major_formatter("{x:g}")
    else:
        axis.xaxis.set_major_locator(MaxNLocator(5))
        axis.xaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axis.grid(axis="y")


def _mark_median(axis: Axes, median: float, unit: str) -> None:
    axis.axvline(median, color=ink.TEXT, lw=1.3, ls="--")
    right = axis.transData.transform((median, 0))[0] < np.mean(axis.bbox.intervalx)
    axis.annotate(
        f"median {three_figures(median)}{f' {unit}' if unit else ''}",
        (median, 1),
        (5 if right else -5, -2),
        xycoords=axis.get_xaxis_transform(),
        textcoords="offset points",
        ha="left" if right else "right",
        va="top",
    )


def _draw_counts(axis: Axes, rows: Sequence[InstanceRow]) -> None:
    num_cut = sum(row.at_border for row in rows)
    num_whole = len(rows) - num_cut
    axis.barh(1, num_whole, 0.62, color=ink.TUNED, edgecolor=ink.TUNED, alpha=0.75, lw=0.7)
    axis.barh(0, num_cut, 0.62, color="none", edgecolor=ink.RIVAL, hatch=_HATCH, lw=0.7)
    for height, num in ((1, num_whole), (0, num_cut)):
        axis.annotate(f"{num:,}", (num, height), (5, 0), textcoords="offset points", va="center")
    axis.set_yticks([0, 1], ["at the border", "whole"])
    axis.set_ylim(-0.7, 1.7)
    axis.set_xlim(0, max(1, num_cut, num_whole) * 1.25)
    axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axis.set_title("Instances")
    axis.grid(axis="x")
