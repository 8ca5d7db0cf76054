"""Results as tables on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from mitosam.cli.screen import readable_bytes, readable_time
from mitosam.embeddings import CacheEntry, CacheSettings, cache_folder

if TYPE_CHECKING:
    from mitosam.workflows.evaluate import Evaluation
    from mitosam.workflows.finetune import FinetuneResult
    from mitosam.workflows.plan import Plan


def show_result(console: Console, result: FinetuneResult) -> None:
    """The scores, the time it took, and where the report is."""
    show_scores(console, result.evaluation)
    console.print(f"finished in {readable_time(result.seconds)}", markup=False)
    print_path(console, str(result.report.resolve()))


def print_path(console: Console, path: str) -> None:
    """A path on a line of its own, never broken."""
    console.print(path, soft_wrap=True, highlight=False, markup=False)


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
    console.print(table)


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
    console.print(table)
    show_facts(
        console,
        {
            "peak memory": readable_bytes(plan.peak_memory_bytes),
            "disk, embedding cache": readable_bytes(plan.cache_bytes),
            "disk, run folder": readable_bytes(plan.run_bytes),
        },
    )


def show_facts(console: Console, facts: Mapping[str, str]) -> None:
    """Names and values in two columns."""
    table = Table.grid(padding=(0, 2))
    for name, value in facts.items():
        table.add_row(name, value)
    console.print(table)


def show_cache(
    console: Console, settings: CacheSettings, entries: Sequence[CacheEntry], freed: int | None
) -> None:
    """What the cache holds, a line a model."""
    console.print(f"cache: {cache_folder(settings)}", markup=False, soft_wrap=True)
    if freed is not None:
        console.print(f"removed {readable_bytes(freed)}")
    table = Table("model", "embeddings", "size", "last used")
    for entry in entries:
        used = datetime.fromtimestamp(entry.last_used).astimezone()
        table.add_row(
            entry.model,
            str(entry.num_embeddings),
            readable_bytes(entry.num_bytes),
            f"{used:%Y-%m-%d %H:%M}" if entry.num_embeddings else "never",
        )
    console.print(table)
