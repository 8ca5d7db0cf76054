"""The page of an automatic evaluation, and its section in the report of a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mitosam.reporting import words
from mitosam.reporting.automatic_content import (
    AUTOMATIC_METHODS,
    AutomaticContent,
    AutomaticMethod,
    MethodScores,
)
from mitosam.reporting.pages import render_page
from mitosam.storage import write_text

METHOD_TITLES: dict[AutomaticMethod, str] = {
    "head": "Instance head",
    "prompted": "Self-prompted SAM",
    "grid": "Grid of points",
    "U-Net": "U-Net from scratch",
}
METHOD_MEANINGS: dict[AutomaticMethod, str] = {
    "head": "Foreground, boundaries and centres from a small network on SAM's image embedding, "
    "grown into instances.",
    "prompted": "Each instance of the head becomes a prompt for SAM's mask decoder; none "
    "comes from the annotation.",
    "grid": "SAM's own way: a grid of points as prompts, of whose masks the surest are kept.",
    "U-Net": "The rival: a network without SAM, trained on the same pixels in the same run.",
}


def write_automatic_page(path: Path, content: AutomaticContent) -> Path:
    """Write the page, in the place of an earlier one once it is complete, and return its path."""
    write_text(path, render_automatic(content))
    return path


def render_automatic(content: AutomaticContent) -> str:
    """The page that stands by itself, as one HTML text."""
    return render_page(
        "automatic_page.html.j2",
        content=content,
        headline=headline(content),
        automatic=automatic_values(content),
    )


def headline(content: AutomaticContent) -> str:
    """Which method found the mitochondria best, by F1 in 3D and, of equal ones, mSA in 3D."""
    scored = [row for row in content.methods if not math.isnan(row.f1)]
    if not scored:
        return "Nothing was scored"
    places = {row.place for row in scored}
    if len(places) > 1:
        return f"Scored in {len(places)} places, each by itself"
    best = max(scored, key=lambda row: (row.f1, row.msa))
    score = f"F1 {words.number(best.f1, 2)}"
    if len(scored) == 1:
        return f"{METHOD_TITLES[best.method]}: {score} in 3D"
    return f"{METHOD_TITLES[best.method]} finds them best: {score} in 3D"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A score as text, and whether no other method's is better."""

    text: str
    is_best: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A score of all methods: its name on the page and how it is read."""

    title: str
    value: Callable[[MethodScores], float]
    show: Callable[[float], str]
    rank: Callable[[float], float]
    """The greater, the better."""


def _share(title: str, name: str) -> Column:
    return Column(title=title, value=lambda row: getattr(row, name), show=words.number, rank=float)


def _error(
    title: str, value: Callable[[MethodScores], float], show: Callable[[float], str]
) -> Column:
    return Column(title=title, value=value, show=show, rank=lambda error: -abs(error))


VOLUME_COLUMNS = (
    _share("IoU", "foreground_iou"),
    _share("Dice", "foreground_dice"),
    _share("mSA", "msa"),
    _share("AP50", "ap50"),
    _share("AP75", "ap75"),
    _share("F1", "f1"),
    _share("PQ", "panoptic_quality"),
    _error("ASD, nm", lambda row: row.asd_nm, words.three_figures),
    _error("HD95, nm", lambda row: row.hd95_nm, words.three_figures),
    _error("count", lambda row: row.count_error, lambda error: words.signed(error, 0)),
    _error("volume", lambda row: row.relative_volume_error, lambda error: _signed_percent(error)),
)
SECTION_COLUMNS = (
    _share("IoU", "section_iou"),
    _share("mSA", "section_msa"),
    _share("AP50", "section_ap50"),
    _share("AP75", "section_ap75"),
    _share("F1", "section_f1"),
    _share("PQ", "section_panoptic_quality"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceTables:
    """The tables and the figure of one place."""

    title: str
    rows: Sequence[MethodScores]
    num_sections: int
    volume_cells: list[list[Cell]]
    section_columns: list[Column]
    section_cells: list[list[Cell]]
    figure: str
    """As SVG; empty without scores of sections."""


def automatic_values(content: AutomaticContent) -> dict[str, Any]:
    """What the template's section takes."""
    used = {row.method for row in content.methods}
    titles = dict.fromkeys(row.place for row in content.methods)
    return {
        "content": content,
        "places": [
            _place_tables(title, [row for row in content.methods if row.place == title], number)
            for number, title in enumerate(titles)
        ],
        "methods": [method for method in AUTOMATIC_METHODS if method in used],
        "titles": METHOD_TITLES,
        "meanings": METHOD_MEANINGS,
        "volume_columns": VOLUME_COLUMNS,
    }


def _place_tables(title: str, methods: Sequence[MethodScores], number: int) -> PlaceTables:
    from markupsafe import Markup

    # Imported here: Matplotlib comes with it, and the command line must answer without.
    from mitosam.reporting.automatic_figures import sections_svg

    rows = sorted(methods, key=lambda row: AUTOMATIC_METHODS.index(row.method))
    columns = _filled(rows, SECTION_COLUMNS)
    has_figure = any(row.sections for row in rows)
    return PlaceTables(
        title=title,
        rows=rows,
        num_sections=max(len(row.sections) for row in rows),
        volume_cells=score_cells(rows, VOLUME_COLUMNS),
        section_columns=columns,
        section_cells=score_cells(rows, columns),
        figure=Markup(sections_svg(rows, f"automatic-sections-{number}")) if has_figure else "",
    )


def score_cells(rows: Sequence[MethodScores], columns: Sequence[Column]) -> list[list[Cell]]:
    """A row for each method; the best of a column is told where there are several."""
    ranks = [
        [column.rank(column.value(row)) for row in rows if not math.isnan(column.value(row))]
        for column in columns
    ]
    return [
        [
            Cell(
                text=column.show(column.value(row)),
                is_best=len(rank) > 1 and column.rank(column.value(row)) == max(rank),
            )
            for column, rank in zip(columns, ranks, strict=True)
        ]
        for row in rows
    ]


def _filled(rows: Sequence[MethodScores], columns: Sequence[Column]) -> list[Column]:
    return [c for c in columns if any(not math.isnan(c.value(row)) for row in rows)]


def _signed_percent(share: float) -> str:
    return (
        words.MISSING
        if math.isnan(share)
        else f"{words.signed(100 * share, 1)}\N{NARROW NO-BREAK SPACE}%"
    )
