"""The report's page and tables, written to a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mitosam.evaluation.cases import WHYS
from mitosam.evaluation.scores import METHODS, PROTOCOLS, Method, Protocol
from mitosam.evaluation.summary import GROUPS, PairedDifference, SummaryRow
from mitosam.evaluation.volumes import VolumeRow
from mitosam.io.tables import write_csv
from mitosam.reporting import trust, words
from mitosam.reporting.automatic import automatic_values
from mitosam.reporting.content import Report
from mitosam.reporting.overlays import Picture, draw_case
from mitosam.reporting.pages import render_page
from mitosam.reporting.tables import write_scores_csv, write_scores_json, write_summary_csv
from mitosam.storage import write_text


def write_report(folder: Path, report: Report) -> Path:
    """Write report.html, scores.csv, scores.json and summary.csv, and return the page's path.

    Where several volumes were scored, volumes.csv stands beside them.

    The page needs no other file and no network. Each file takes the place of an earlier one only
    once it is complete.
    """
    page = folder / "report.html"
    write_scores_csv(folder / "scores.csv", report.scores)
    write_scores_json(folder / "scores.json", report.scores)
    write_summary_csv(folder / "summary.csv", report.summaries, report.differences)
    if report.volumes:
        write_csv(folder / "volumes.csv", report.volumes)
    write_text(page, render(report))
    return page


def render(report: Report) -> str:
    """The page as one HTML text."""
    from markupsafe import Markup

    # Imported here: Matplotlib comes with it, and the command line must answer without.
    from mitosam.reporting.figures import MAX_POINTS, draw_figures

    paired = words.overall(report.differences)
    return render_page(
        "report.html.j2",
        report=report,
        headline=words.headline(report),
        lead=words.lead(report),
        verdicts=words.verdicts(report),
        tables=_tables(report),
        by_volume=_by_volume(report),
        groups=_tables(report, all_patches=False),
        figures={name: Markup(svg) for name, svg in draw_figures(report).items()},
        max_points=MAX_POINTS,
        methods=[m for m in METHODS if any(row.method == m for row in report.summaries)],
        few_sections=any(r.dice.interval.resampled != "sections" for r in report.summaries),
        paired=paired,
        gallery=_gallery(report),
        trust=trust.sentences(report.trust),
        lost=[draw_case(case) for case in report.cases if case.why == "lost"],
        num_lost=sum(row.iou.num_worse for row in paired),
        automatic=automatic_values(report.automatic) if report.automatic else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One protocol's rows, as the page shows them."""

    title: str
    noun: str
    rows: tuple[SummaryRow, ...]
    differences: tuple[PairedDifference, ...]


def _tables(report: Report, *, all_patches: bool = True) -> list[Table]:
    """The rows over all patches, or those of the groups, protocol by protocol."""
    tables = []
    for protocol in PROTOCOLS:
        rows = [
            row
            for row in report.summaries
            if row.protocol == protocol and (row.group == "all") == all_patches
        ]
        rows.sort(key=lambda row: (GROUPS.index(row.group), METHODS.index(row.method)))
        differences = [
            row
            for row in report.differences
            if row.protocol == protocol and (row.group == "all") == all_patches
        ]
        if rows:
            tables.append(_table(protocol, rows, differences))
    return tables


def _table(
    protocol: Protocol, rows: Sequence[SummaryRow], differences: Sequence[PairedDifference]
) -> Table:
    return Table(
        title=words.PROTOCOL_TITLES[protocol],
        noun=words.noun_of(protocol),
        rows=tuple(rows),
        differences=tuple(differences),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeTable:
    """One protocol's rows volume by volume: the volume, then each method's row in it."""

    title: str
    noun: str
    methods: tuple[Method, ...]
    rows: tuple[tuple[VolumeRow, ...], ...]


def _by_volume(report: Report) -> list[VolumeTable]:
    """The rows of each protocol, a line a volume, the mean of volumes last."""
    tables = []
    for protocol in PROTOCOLS:
        own = [row for row in report.volumes if row.protocol == protocol]
        names = dict.fromkeys(row.volume for row in own)
        if own:
            tables.append(
                VolumeTable(
                    title=words.PROTOCOL_TITLES[protocol],
                    noun=words.noun_of(protocol),
                    methods=tuple(dict.fromkeys(row.method for row in own)),
                    rows=tuple(tuple(row for row in own if row.volume == name) for name in names),
                )
            )
    return tables


def _gallery(report: Report) -> list[tuple[str, list[Picture]]]:
    """The pictures under their headings, those that were lost left to their own section."""
    found = []
    for why in WHYS:
        pictures = [draw_case(case) for case in report.cases if case.why == why]
        if pictures and why != "lost":
            found.append((words.WHY_TITLES[why], pictures))
    return found
