"""Matplotlib figures that take the page's own colours and type, in light, dark and on paper.

Matplotlib draws with stand-in colours that nothing else uses; in the finished SVG each becomes
the CSS variable it stands for, and text stays text.
"""

from __future__ import annotations

import io
import re
from contextlib import AbstractContextManager
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

TEXT: Final = "#000001"
MUTED: Final = "#000002"
LINE: Final = "#000003"
BASE: Final = "#000004"
TUNED: Final = "#000005"
RIVAL: Final = "#000006"
PROMPTED: Final = "#000007"
GRID: Final = "#000008"
_VARIABLES: Final = {
    TEXT: "var(--text)",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    BASE: "var(--base)",
    TUNED: "var(--tuned)",
    RIVAL: "var(--rival)",
    PROMPTED: "var(--prompted)",
    GRID: "var(--grid)",
}

WIDTH_IN: Final = 8.6  # the page's column; with 9.5 pt the type matches the text around it

_STYLE: Final[Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "mitosam",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "text.color": TEXT,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.titlecolor": TEXT,
    "axes.titlepad": 8,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.wspace": 0.05,
    "figure.constrained_layout.hspace": 0.06,
    "figure.constrained_layout.h_pad": 0.09,
}


def page_style() -> AbstractContextManager[None]:
    """While it is open, figures are made and drawn in the page's style."""
    return mpl.rc_context(_STYLE)


def new_figure(
    height_in: float, rows: int, columns: int, **ratios: list[float]
) -> tuple[Figure, list[list[Axes]]]:
    """An empty figure as wide as the page's column, and its axes by row and column."""
    figure = Figure(figsize=(WIDTH_IN, height_in), facecolor="none")
    axes = figure.subplots(rows, columns, squeeze=False, gridspec_kw=dict(ratios))
    for axis in axes.flat:
        axis.set_facecolor("none")
    return figure, [list(row) for row in axes]


def to_svg(figure: Figure, name: str) -> str:
    """The figure as one <svg> element without addresses; `name` keeps its ids apart from others.

    Its type is left to the page's style sheet.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    for pattern, replacement in (
        (r"\A.*?(?=<svg)", ""),  # the XML and DTD lines
        (r"<metadata>.*?</metadata>", ""),
        (r"<style.*?</style>", ""),  # its selector is *, which would reach the whole page
        (r' xmlns(:\w+)?="[^"]*"', ""),
        (r'<g id="[^"]*"', "<g"),
        (r'\bid="', f'id="{name}-'),
        (r"url\(#", f"url(#{name}-"),
        (r'xlink:href="#', f'href="#{name}-'),
    ):
        text = re.sub(pattern, replacement, text, flags=re.DOTALL)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, variable)
    return text
