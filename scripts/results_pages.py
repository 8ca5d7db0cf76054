"""The pages, figures and table of docs/results, written from the records of experiments."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from mitosam.evaluation.scores import METHODS, PROTOCOLS, Method, Protocol
from mitosam.reporting.words import (
    METHOD_TITLES,
    PROTOCOL_TITLES,
    interval,
    number,
    percent,
    signed,
)
from mitosam.storage import atomic_path, write_text
from results_automatic import (
    FILE,
    OVERVIEW_HEADER,
    TEXT,
    TITLE,
    automatic_parts,
    overview_rows,
)
from results_experiments import Experiment
from results_records import Metric, Record, Scores

COLOURS: dict[Method, str] = {
    "base": "#8a6d3b",
    "tuned": "#1f6fb2",
    "filled box": "#9a9a9a",
    "inscribed ellipse": "#9a9a9a",
}
METRICS: tuple[Metric, ...] = ("dice", "iou")
LEVELS: tuple[tuple[Method, str], ...] = (("base", "--"), ("inscribed ellipse", ":"))
MARKERS: dict[Method, str] = {
    "base": "s",
    "tuned": "o",
    "filled box": "D",
    "inscribed ellipse": "^",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page of docs/results: the experiments whose names begin with one of `prefixes`."""

    file: str
    title: str
    prefixes: tuple[str, ...]
    text: str


PAGES = (
    Page(
        file="epfl.md",
        title="EPFL: unseen sections of the volume that was trained on",
        prefixes=("epfl-paper", "epfl-default"),
        text="""\
FIB-SEM of mouse hippocampus, 5 x 5 x 5 nm. Four sections are left out between those that were
trained or validated on and those reported here. `epfl-default-patch` scores the model of
`epfl-default` on the pieces of mitochondria within each patch, as `epfl-paper` is scored, so that
the two compare under every prompt; under one box per patch all three compare.""",
    ),
    Page(
        file="sbem.md",
        title="SBEM: ten sections to train on",
        prefixes=("sbem-",),
        text="""\
Serial block-face SEM of cortex. Two sections are left out before those reported here, and these are
few: the intervals say more than the means.""",
    ),
    Page(
        file="transfer.md",
        title="From EPFL to SBEM without training there",
        prefixes=("epfl-to-sbem",),
        text="""\
The models of [the EPFL page](epfl.md), scored on the sections of [the SBEM page](sbem.md): another
microscope, tissue and voxel size.""",
    ),
    Page(
        file="learning-curve.md",
        title="How the score grows with annotated sections",
        prefixes=("curve-",),
        text="""\
The default preset, trained on sections of EPFL spread evenly in 1-128, without validation, and
scored on 8 of the sections 133-165. `curve-all` is the model of `epfl-default`, which trained
on 124 and validated on 4, scored on the same 8.""",
    ),
)


def write_pages(folder: Path, results: Sequence[Record], planned: Sequence[Experiment]) -> None:
    """Write README.md, a page for each group of experiments, their figures, and summary.csv."""
    for page in PAGES:
        members = [one for one in results if one.name.startswith(page.prefixes)]
        if members:
            write_text(folder / page.file, _page(page, members, folder))
    automatic = [one for one in results if one.automatic]
    if automatic:
        write_text(folder / FILE, _automatic_page(automatic))
    _draw_overview(results, folder / "overview.svg")
    write_text(folder / "summary.csv", _csv(results))
    write_text(folder / "README.md", _overview(results, planned))


def _automatic_page(members: Sequence[Record]) -> str:
    parts = [f"# {TITLE}", WRITTEN, TEXT]
    for one in members:
        parts += automatic_parts(one.name, one.command, one.facts, one.automatic)
    return "\n\n".join(parts) + "\n"


def _page(page: Page, members: Sequence[Record], folder: Path) -> str:
    parts = [f"# {page.title}", WRITTEN, page.text]
    if page.file == "learning-curve.md":
        _draw_curve(members, folder / "learning-curve.svg")
        parts += ["![Mean IoU against the number of sections](learning-curve.svg)", _curve(members)]
    parts += [part for one in members for part in _experiment(one)]
    return "\n\n".join(parts) + "\n"


WRITTEN = "<!-- Written by `make results`; do not edit. -->"
HOW = """\
All prompts are taken from the truth, so these scores tell how well a mitochondrion is outlined once
it was pointed at, not how many would be found; see [Concepts](../concepts.md). Means stand with
their 95 % bootstrap intervals over sections. Nothing here was chosen by its score on the sections
reported.

`DATA` in a command is the folder that holds `epfl/` (the Electron Microscopy Dataset of EPFL's
CVLab, `training.tif` and `training_groundtruth.tif`) and `sbem/` (`mito_testsample` of CDeep3M,
`images/` and `labels/`). `make results` runs all of this anew. Durations include whatever was not
encoded by an earlier experiment, on a machine that was shared with other work."""


def _overview(results: Sequence[Record], planned: Sequence[Experiment]) -> str:
    commands = {one.name: one.command for one in results}
    missing = [one.name for one in planned if one.name not in commands]
    earlier = [one.name for one in planned if commands.get(one.name) not in (None, one.command())]
    rows = [
        [
            f"`{one.name}`",
            protocol,
            tuned.count,
            *(_mean(one.row(protocol, method)) for method in ("base", "inscribed ellipse")),
            _with_interval(tuned),
        ]
        for one in _without_curve(results)
        for protocol in PROTOCOLS
        if (tuned := one.row(protocol, "tuned"))
    ]
    header = ("experiment", "prompt", "number", "base", "inscribed ellipse", "tuned")
    links = "\n".join(f"- [{page.title}]({page.file})" for page in PAGES if _has(page, results))
    parts = [
        "# Results",
        WRITTEN,
        HOW,
        links,
        "Mean Dice / mean IoU, in parentheses its 95 % interval:",
        _table(header, rows),
    ]
    parts += ["![Mean IoU of base and tuned model and rivals](overview.svg)"]
    without = [row for one in results for row in overview_rows(one.name, one.automatic)]
    if without:
        parts += [f"Without prompts, see [{TITLE}]({FILE}):", _table(OVERVIEW_HEADER, without)]
    parts += ["All rows, with medians, pooled scores and groups: [summary.csv](summary.csv)."]
    if earlier:
        parts += [
            f"Trained with earlier settings, which their commands name: {', '.join(earlier)}."
        ]
    if missing:
        parts += [f"Not run yet: {', '.join(missing)}."]
    return "\n\n".join(part for part in parts if part) + "\n"


def _without_curve(results: Sequence[Record]) -> list[Record]:
    return [one for one in results if not one.name.startswith("curve-")]


def _has(page: Page, results: Sequence[Record]) -> bool:
    return any(one.name.startswith(page.prefixes) for one in results)


def _experiment(one: Record) -> Iterator[str]:
    """The section of a page on one experiment."""
    yield f"## `{one.name}`"
    yield f"```console\n$ {one.command}\n```"
    yield _table(("", ""), [[name, text] for name, text in _facts(one)])
    rows = [row for row in one.rows() if row.group == "all"]
    yield _table(SCORE_HEADER, [_score_cells(row) for row in rows])
    differences = one.rows(differences=True)
    yield _table(DIFFERENCE_HEADER, [_difference_cells(row) for row in differences])


SCORE_HEADER = (
    *("prompt", "method", "number", "Dice", "IoU"),
    *("median Dice / IoU", "pooled Dice / IoU"),
)
DIFFERENCE_HEADER = (
    *("tuned minus base", "mitochondria in the patch", "pairs", "Dice", "IoU"),
    "IoU improved",
)


def _difference_cells(row: Scores) -> list[str]:
    return [
        row.protocol,
        row.group,
        row.count,
        *(f"{signed(row.of(m, 'mean'))} ({interval(row.interval(m))})" for m in METRICS),
        percent(row.of("iou", "share_improved")),
    ]


def _facts(one: Record) -> list[tuple[str, str]]:
    facts = one.facts
    model = f"{facts['base_model']}, weights {facts['base_model_hash'][:12]}"
    rows = [
        ("date", str(facts["created"])[:10]),
        ("mitosam", facts["version"]),
        ("model", ", ".join([model, *(facts[k] for k in ("precision", "device") if k in facts)])),
        ("seed", str(facts["seed"])),
        ("training", f"{facts['steps']} steps, best at {facts['best_step']}")
        if "steps" in facts
        else ("training", "none here"),
        ("machine", f"{facts.get('processor', 'unknown')}, {facts['cores']} cores"),
        ("duration", f"{float(facts['seconds']) / 60:.1f} min"),
    ]
    return rows + [row for part in one.parts for row in part.items()]


def _score_cells(row: Scores) -> list[str]:
    return [
        row.protocol,
        METHOD_TITLES[cast("Method", row.method)],
        row.count,
        *(f"{number(row.of(m, 'mean'))} ({interval(row.interval(m))})" for m in METRICS),
        *(" / ".join(number(row.of(m, s)) for m in METRICS) for s in ("median", "pooled")),
    ]


def _mean(row: Scores | None) -> str:
    return " / ".join(number(row.of(m, "mean")) for m in METRICS) if row else ""


def _with_interval(row: Scores) -> str:
    return " / ".join(
        f"**{number(row.of(m, 'mean'))}** ({interval(row.interval(m))})" for m in METRICS
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _csv(results: Sequence[Record]) -> str:
    """The runs' summary.csv one after the other, with the experiment's name in front."""
    text = io.StringIO()
    writer = None
    for one in results:
        for row in one.summary:
            named = {"experiment": one.name, **row}
            if writer is None:
                writer = csv.DictWriter(text, list(named), lineterminator="\n")
                writer.writeheader()
            writer.writerow(named)
    return text.getvalue()


def _by_sections(one: Record) -> int:
    return one.num_sections


def _curve(members: Sequence[Record]) -> str:
    header = ["sections", *(f"{protocol}, Dice / IoU" for protocol in PROTOCOLS)]
    base = [["0 (base)", *(_mean(members[0].row(p, "base")) for p in PROTOCOLS)]]
    tuned = [
        [str(one.num_sections), *(_mean(one.row(p, "tuned")) for p in PROTOCOLS)]
        for one in sorted(members, key=_by_sections)
    ]
    return _table(header, base + tuned)


def _draw_curve(members: Sequence[Record], path: Path) -> None:
    """Mean IoU against the number of sections, a panel for each protocol."""
    ordered = sorted(members, key=_by_sections)
    counts = [one.num_sections for one in ordered]
    figure = Figure(figsize=(9, 3), layout="constrained")
    for axis, protocol in zip(figure.subplots(1, 3, sharey=True), PROTOCOLS, strict=True):
        axis.set_title(PROTOCOL_TITLES[protocol], loc="left", fontsize=10)
        _draw_levels(axis, ordered[0], protocol)
        rows = [row for one in ordered if (row := one.row(protocol, "tuned"))]
        low, high = ([r.of("iou", end) for r in rows] for end in ("low", "high"))
        axis.fill_between(counts, low, high, color=COLOURS["tuned"], alpha=0.2, lw=0)
        axis.plot(
            counts, [r.of("iou", "mean") for r in rows], "o-", color=COLOURS["tuned"], label="tuned"
        )
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_locator(FixedLocator(counts))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.set_xticklabels([str(count) for count in counts])
        axis.set_xlabel("annotated sections")
        axis.grid(axis="y", alpha=0.3)
    figure.axes[0].set_ylabel("mean IoU")
    figure.axes[0].legend(fontsize=8, frameon=False)
    _save(figure, path)


def _draw_levels(axis: Axes, one: Record, protocol: Protocol) -> None:
    """The base model and the ellipse, which no section changes."""
    for method, style in LEVELS:
        row = one.row(protocol, method)
        if row:
            colour = COLOURS[method]
            axis.axhline(row.of("iou", "mean"), color=colour, ls=style, lw=1.2, label=method)


def _draw_overview(results: Sequence[Record], path: Path) -> None:
    """Mean IoU of every method, a line for each experiment and a panel for each protocol."""
    shown = _without_curve(results)[::-1]
    if not shown:
        return
    figure = Figure(figsize=(9, 1.2 + 0.3 * len(shown)), layout="constrained")
    for axis, protocol in zip(figure.subplots(1, 3, sharey=True), PROTOCOLS, strict=True):
        axis.set_title(PROTOCOL_TITLES[protocol], loc="left", fontsize=10)
        for method in METHODS:
            rows = [(y, row) for y, one in enumerate(shown) if (row := one.row(protocol, method))]
            means, places = [row.of("iou", "mean") for _, row in rows], [y for y, _ in rows]
            axis.plot(
                means, places, MARKERS[method], color=COLOURS[method], ms=5, ls="", label=method
            )
        axis.set_yticks(np.arange(len(shown)), [one.name for one in shown])
        axis.set_ylim(-0.6, len(shown) - 0.4)
        axis.set_xlabel("mean IoU")
        axis.grid(alpha=0.3)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=len(METHODS), fontsize=8, frameon=False
    )
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    with mpl.rc_context({"svg.hashsalt": "mitosam"}), atomic_path(path) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None})
