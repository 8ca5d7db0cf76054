"""A sheet of small pictures: what training sees of the sections.

Nothing imports this module before a sheet is drawn, for it brings Matplotlib with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill

import numpy as np
from jaxtyping import Integer, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mitosam.storage import atomic_path

PANEL_IN = 2.1
DPI = 150
TITLE_LETTERS = 32
OUTLINE = "#ffd400"


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewPanel:
    """One view of a tile with its labels, and what it shows."""

    title: str
    pixels: UInt8[np.ndarray, "t t"]
    labels: Integer[np.ndarray, "t t"]


def write_view_sheet(path: Path, title: str, rows: Sequence[Sequence[ViewPanel]]) -> None:
    """A PNG of the panels, row by row; mitochondria are outlined."""
    columns = max(map(len, rows))
    figure = Figure(
        figsize=(PANEL_IN * columns, (PANEL_IN + 0.4) * len(rows) + 0.4), layout="constrained"
    )
    figure.suptitle(title, fontsize=10, ha="left", x=0.01)
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for row, own in zip(axes, rows, strict=True):
        for axis, panel in zip(row, own, strict=False):
            _draw(axis, panel)
        for axis in row[len(own) :]:
            axis.set_axis_off()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=DPI, format="png")


def _draw(axis: Axes, panel: ViewPanel) -> None:
    axis.imshow(panel.pixels, cmap="gray", vmin=0, vmax=255)
    # Each object by itself, as contours between touching ones would else be one.
    for number in np.unique(panel.labels[panel.labels > 0]):
        axis.contour(panel.labels == number, levels=[0.5], colors=OUTLINE, linewidths=0.7)
    axis.set_title(fill(panel.title, TITLE_LETTERS), fontsize=8, loc="left")
    axis.set_xticks([])
    axis.set_yticks([])
