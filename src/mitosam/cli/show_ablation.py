"""A study as tables on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from mitosam.cli.screen import readable_time
from mitosam.cli.show import print_line, print_table

if TYPE_CHECKING:
    from mitosam.reporting.ablation_content import Ablation, Level, LevelScore, Prompt
    from mitosam.workflows.ablate import AblationPlan, AblationResult


def show_ablation(console: Console, result: AblationResult) -> None:
    """A table for each prompt, then where everything is."""
    if result.content:
        for prompt in result.content.prompts:
            print_table(console, _table(result.content, prompt))
    print_line(
        console,
        f"{result.num_finished} of {result.num_cells} runs finished, "
        f"in {readable_time(result.seconds)}",
    )
    if result.page:
        print_line(console, str(result.page.resolve()))


def _table(content: Ablation, prompt: Prompt) -> Table:
    clicks = f" and {prompt.clicks} clicks" if prompt.clicks else ""
    table = Table(title=f"{prompt.kind}{clicks}: * where the interval leaves out 0")
    for column in ("factor", "level"):
        table.add_column(column)
    for column in ("mean IoU", "95 % interval", "minus base", "95 % interval", "mSA"):
        table.add_column(column, justify="right")
    rows = [content.base, *([content.untuned] if content.untuned else []), *content.levels]
    for level in rows:
        iou, msa = level.score(prompt, "iou"), level.score(prompt, "msa")
        if iou:
            table.add_row(level.factor, level.label, *_cells(iou, msa), style=_style(level))
    return table


def _style(level: Level) -> str | None:
    return "bold" if level.is_base else None


def _cells(iou: LevelScore, msa: LevelScore | None) -> list[str]:
    change = iou.difference
    return [
        f"{iou.mean.mean:.3f}",
        f"{iou.mean.low:.3f} to {iou.mean.high:.3f}",
        f"{change.mean:+.3f}{'*' if change.is_clear else ' '}" if change else "",
        f"{change.low:+.3f} to {change.high:+.3f}" if change else "",
        f"{msa.mean.mean:.3f}" if msa else "",
    ]


def show_ablation_plan(console: Console, plan: AblationPlan) -> None:
    """The runs, which are done, and how long the rest takes."""
    table = Table(title=f"{len(plan.cells)} runs; times: {plan.basis}")
    for column in ("run", "seed", "also stands for", "time"):
        table.add_column(
            column, justify="left" if column in ("run", "also stands for") else "right"
        )
    for cell, done, seconds in zip(plan.cells, plan.done, plan.seconds, strict=True):
        others = ", ".join(f"{arm.factor}: {arm.label}" for arm in cell.arms[1:])
        table.add_row(
            cell.title.rpartition(",")[0],
            str(cell.seed),
            others,
            "done" if done else readable_time(seconds),
        )
    print_table(console, table)
    left = sum(plan.seconds)
    print_line(console, f"{sum(plan.done)} done, about {readable_time(left)} left")
