"""What a model expected of its masks against what they reached."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from mitosam.evaluation.scores import PROTOCOLS, Method
from mitosam.evaluation.trust import Trust
from mitosam.reporting import ink
from mitosam.reporting.words import PROTOCOL_TITLES

_LOOKS: dict[Method, tuple[str, str]] = {"base": (ink.BASE, "s"), "tuned": (ink.TUNED, "o")}
_LEAST_AREA, _AREA = 12.0, 150.0


def trust_svg(rows: Sequence[Trust]) -> str:
    """True against predicted IoU of the masks that were scored: a column for each protocol."""
    shown = [row for row in rows if row.is_scored]
    protocols = [name for name in PROTOCOLS if any(row.protocol == name for row in shown)]
    figure, axes = ink.new_figure(3.2, 1, max(2, len(protocols)))
    for axis, protocol in zip(axes[0], protocols, strict=False):
        axis.set_title(PROTOCOL_TITLES[protocol])
        _draw_frame(axis)
        for row in shown:
            if row.protocol == protocol:
                _draw_bins(axis, row)
    for axis in axes[0][len(protocols) :]:
        axis.set_axis_off()
    axes[0][0].set_ylabel("true IoU")
    return ink.to_svg(figure, "trust")


def _draw_frame(axis: Axes) -> None:
    axis.plot([0, 1], [0, 1], color=ink.MUTED, lw=1)
    for x, y, text in ((0.15, 0.23, "too modest"), (0.23, 0.15, "too sure")):
        axis.text(x, y, text, rotation=45, ha="center", va="center", color=ink.MUTED)
    axis.set(xlim=(-0.02, 1.04), ylim=(-0.02, 1.04), aspect="equal")
    axis.set_xlabel("predicted IoU")
    axis.set_xticks(np.linspace(0, 1, 6))
    axis.set_yticks(np.linspace(0, 1, 6))
    axis.grid()


def _draw_bins(axis: Axes, row: Trust) -> None:
    colour, marker = _LOOKS[row.method]
    bins = row.calibration.bins
    x = np.clip([one.mean_predicted for one in bins], 0, 1.02)
    true = [one.mean_true for one in bins]
    share = np.array([one.count for one in bins]) / row.calibration.count
    axis.vlines(x, [b.interval.low for b in bins], [b.interval.high for b in bins], colour, lw=2)
    axis.plot(x, true, color=colour, lw=1.2, alpha=0.6)
    axis.scatter(x, true, s=_LEAST_AREA + _AREA * share, color=colour, marker=marker, zorder=3)
