"""Results as tables on a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table

from mitosam.cli.screen import readable_bytes, readable_time
from mitosam.data.splits import describe_sections
from mitosam.embeddings import CacheEntry, CacheSettings, cache_folder

if TYPE_CHECKING:
    from mitosam.evaluation.clicks import ClickSummary
    from mitosam.evaluation.volumes import VolumeRow
    from mitosam.workflows.automatic_results import AutomaticScore
    from mitosam.workflows.evaluate import Evaluation
    from mitosam.workflows.finetune import FinetuneResult
    from mitosam.workflows.measure import MeasureResult
    from mitosam.workflows.plan import Plan
    from mitosam.workflows.segment import SegmentResult


def show_result(console: Console, result: FinetuneResult) -> None:
    """The scores, the time it took, and where the report is."""
    show_scores(console, result.evaluation)
    if result.automatic:
        show_automatic(console, result.automatic)
        run = result.run.folder
        print_line(console, f"next: mitosam segment VOLUME --model {run} --out segmented")
    console.print(f"finished in {readable_time(result.seconds)}", highlight=False)
    print_line(console, str(result.report.resolve()))


def print_line(console: Console, text: str) -> None:
    """A line that is never broken, so that paths and hashes can be copied."""
    console.print(text, soft_wrap=True, highlight=False, markup=False)


def print_table(console: Console, table: Table) -> None:
    """A table, as wide as it needs to be where no terminal limits it."""
    wide = Console(file=console.file, width=NUM_COLUMNS_IN_FILES)
    (console if console.is_terminal else wide).print(table)


NUM_COLUMNS_IN_FILES = 160


def show_scores(console: Console, evaluation: Evaluation) -> None:
    """Mean Dice and IoU of every method over all patches."""
    table = Table(title="mean over patches or objects, 95 % interval; prompts are from the truth")
    for column in ("prompt", "method", "number", "Dice", "IoU"):
        table.add_column(column, justify="right" if column in ("number", "Dice", "IoU") else "left")
    for row in (row for row in evaluation.summary if row.group == "all"):
        table.add_row(
            row.protocol,
            row.method,
            str(row.count),
            *(
                f"{s.mean:.3f} ({s.interval.low:.3f} to {s.interval.high:.3f})"
                for s in (row.dice, row.iou)
            ),
            style="bold" if row.method == "tuned" else None,
        )
    print_table(console, table)
    if evaluation.volumes:
        _show_volumes(console, evaluation.volumes)


def _show_volumes(console: Console, rows: Sequence[VolumeRow]) -> None:
    """Mean Dice and IoU volume by volume, then the mean in which each volume counts once."""
    table = Table(title="volume by volume; in the mean of volumes each counts once")
    for column in ("prompt", "method", "volume", "number", "Dice", "IoU"):
        table.add_column(column, justify="right" if column in ("number", "Dice", "IoU") else "left")
    for row in rows:
        name = "mean of volumes" if row.is_mean else row.volume
        cells = (row.protocol, row.method, name, str(row.count), f"{row.dice:.3f}")
        table.add_row(*cells, f"{row.iou:.3f}", style="bold" if row.is_mean else None)
    print_table(console, table)


def show_clicks(console: Console, rows: Sequence[ClickSummary]) -> None:
    """Mean IoU and mSA after each number of clicks, base and tuned side by side."""
    table = Table(title="after correcting clicks, which are from the truth")
    for column in ("first prompt", "clicks", "base IoU", "tuned IoU", "base mSA", "tuned mSA"):
        table.add_column(column, justify="left" if column == "first prompt" else "right")
    found = {(row.start, row.method, row.clicks): row for row in rows}
    for start, clicks in dict.fromkeys((row.start, row.clicks) for row in rows):
        pair = [found.get((start, method, clicks)) for method in ("base", "tuned")]
        numbers = [row and row.mean_iou for row in pair] + [row and row.msa for row in pair]
        cells = ["" if value is None else f"{value:.3f}" for value in numbers]
        table.add_row(start, str(clicks), *cells)
    print_table(console, table)


def show_automatic(console: Console, scores: Sequence[AutomaticScore]) -> None:
    """The scores of each method in 2D and in 3D, a table for each stretch of sections."""
    for score in {(score.volume, score.sections): score for score in scores}.values():
        place = score.volume, score.sections
        table = Table(
            title=f"{score.volume}, {describe_sections(score.sections)}: found without prompts",
            box=box.SIMPLE_HEAD,
            padding=0,  # so that a terminal of 80 columns holds it
        )
        table.add_column("method", no_wrap=True)
        for column in AUTOMATIC_COLUMNS:
            table.add_column(column, justify="right")
        for row in (row for row in scores if (row.volume, row.sections) == place):
            table.add_row(row.method, *_automatic_cells(row))
        print_table(console, table)
    print_line(
        console,
        "no prompts were used: never compare these scores with those under prompts, which are "
        "taken from the truth; 2D is the mean of sections, 3D is of all sections together",
    )


AUTOMATIC_COLUMNS = (
    *("pixel IoU", "pixel Dice", "2D mSA", "2D AP50", "3D mSA", "3D AP50", "3D F1", "3D PQ"),
    *("ASD nm", "HD95 nm", "count"),
)


def _automatic_cells(score: AutomaticScore) -> list[str]:
    scores, means = score.scores, score.scores.section_means
    everywhere, found = scores.foreground.everywhere, scores.instances
    shares = (
        *(float(everywhere.iou), float(everywhere.dice), means.msa.mean, means.ap50.mean),
        *(found.msa, found.ap50, found.f1, found.panoptic_quality),
    )
    surfaces = scores.surfaces
    lengths = (surfaces.asd_nm, surfaces.hd95_nm) if surfaces else (math.nan, math.nan)
    return [
        *(f"{share:.3f}" for share in shares),
        *("-" if math.isnan(length) else f"{length:.0f}" for length in lengths),
        f"{scores.quantities.count_error:+d}",
    ]


def show_plan(console: Console, plan: Plan) -> None:
    """Stages with their times, then memory and disk."""
    table = Table(title=f"expected on this machine ({plan.device}, {plan.precision})")
    table.add_column("stage")
    table.add_column("work", justify="right")
    table.add_column("time", justify="right")
    for stage in plan.stages:
        table.add_row(stage.name, stage.amount, readable_time(stage.seconds))
    table.add_section()
    table.add_row("all", "", readable_time(plan.seconds), style="bold")
    print_table(console, table)
    show_facts(
        console,
        {
            "peak memory": readable_bytes(plan.peak_memory_bytes),
            "disk, embedding cache": readable_bytes(plan.cache_bytes),
            "disk, run folder": readable_bytes(plan.run_bytes),
            **({"tiles": plan.tile} if plan.tile else {}),
        },
    )
    if plan.presets:
        print_table(console, _presets_table(plan))


def _presets_table(plan: Plan) -> Table:
    table = Table(title="the same with other parts trained (training.parts)")
    for name in ("trained", "time", "peak memory", "cache"):
        table.add_column(name, justify="left" if name == "trained" else "right")
    for one in plan.presets:
        if one.refused:
            table.add_row(one.preset, one.refused)
        else:
            table.add_row(
                one.preset,
                readable_time(one.seconds),
                readable_bytes(one.peak_memory_bytes),
                readable_bytes(one.cache_bytes),
            )
    return table


def show_facts(console: Console, facts: Mapping[str, str]) -> None:
    """Names and values in two columns."""
    width = max(map(len, facts), default=0)
    for name, value in facts.items():
        print_line(console, f"{name:<{width}}  {value}")


def show_measured(console: Console, result: MeasureResult) -> None:
    """How many mitochondria there are, how large, and where the tables are."""
    volume, inside = result.volume, result.volume.without_border
    facts = {
        "mitochondria": f"{volume.num_instances}, of which the border cuts "
        f"{volume.num_touching_border}",
        "share of the volume": f"{volume.volume_fraction:.2%}",
    }
    if volume.density_per_um3 is not None:
        facts["density"] = f"{volume.density_per_um3:.3g} per um3"
    if inside.mean_volume_um3 is not None and inside.median_volume_um3 is not None:
        facts["volume, uncut ones"] = (
            f"mean {inside.mean_volume_um3:.3g}, median {inside.median_volume_um3:.3g} um3"
        )
    show_facts(console, facts)
    for path in (result.mitochondria, result.sections, result.summary):
        print_line(console, str(path))


def show_segmented(console: Console, result: SegmentResult) -> None:
    """How many mitochondria were found, and where everything is."""
    volume = result.volume
    show_facts(
        console,
        {
            "mitochondria": f"{volume.num_instances}, of which the border cuts "
            f"{volume.num_touching_border}",
            "share of the volume": f"{volume.volume_fraction:.2%}",
            "time": readable_time(result.seconds),
        },
    )
    for path in (result.labels, result.table, result.report):
        print_line(console, str(path))


def show_cache(
    console: Console, settings: CacheSettings, entries: Sequence[CacheEntry], freed: int | None
) -> None:
    """What the cache holds, a line a model."""
    print_line(console, f"cache: {cache_folder(settings)}")
    if freed is not None:
        print_line(console, f"removed {readable_bytes(freed)}")
    table = Table("model", "embeddings", "size", "last used")
    for entry in entries:
        used = datetime.fromtimestamp(entry.last_used).astimezone()
        table.add_row(
            entry.model,
            str(entry.num_embeddings),
            readable_bytes(entry.num_bytes),
            f"{used:%Y-%m-%d %H:%M}" if entry.num_embeddings else "never",
        )
    print_table(console, table)
