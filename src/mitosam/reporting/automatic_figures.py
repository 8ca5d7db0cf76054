"""How the scores of automatic methods go from section to section.

Nothing imports this module before a page is drawn, for it brings Matplotlib with it.
"""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from mitosam.reporting import ink
from mitosam.reporting.automatic_content import AutomaticMethod, MethodScores

_STYLES: dict[AutomaticMethod, tuple[str, str, str]] = {
    "head": (ink.TUNED, "o", "-"),
    "prompted": (ink.PROMPTED, "^", "--"),
    "grid": (ink.GRID, "D", "-."),
    "U-Net": (ink.RIVAL, "s", ":"),
}
_MAX_MARKERS = 25


def sections_svg(rows: Sequence[MethodScores], name: str = "automatic-sections") -> str:
    """F1 and the foreground's IoU of each section, a line for each method.

    Ids within the picture begin with `name`, which no other picture of the page has.
    """
    with ink.page_style():
        figure, axes = ink.new_figure(2.9, 1, 2)
        for axis, score, title in (
            (axes[0][0], "f1", "F1 of the instances"),
            (axes[0][1], "iou", "IoU of the foreground"),
        ):
            axis.set_title(title)
            for row in rows:
                _draw_method(axis, row, score)
            axis.set(ylim=(0, 1.03), xlabel="section")
            axis.xaxis.set_major_locator(MaxNLocator(8, integer=True))
            axis.grid(axis="y")
        return ink.to_svg(figure, name)


def _draw_method(axis: Axes, row: MethodScores, score: str) -> None:
    colour, marker, dashes = _STYLES[row.method]
    points = sorted(row.sections, key=lambda point: point.section)
    axis.plot(
        [point.section + 1 for point in points],
        [getattr(point, score) for point in points],
        color=colour,
        marker=marker,
        ls=dashes,
        lw=1.6,
        ms=3.6,
        markevery=max(1, len(points) // _MAX_MARKERS),
    )
