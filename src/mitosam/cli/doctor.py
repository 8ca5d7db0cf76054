"""The command that finds and explains damage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mitosam.cli.main import app, output, progress

if TYPE_CHECKING:
    from mitosam.workflows.doctor import Examination


@app.command()
def doctor(
    path: Annotated[
        Path, typer.Argument(help="A run, a segmentation, an embedding cache, an OME-Zarr, a "
                             "session's folder, or a model.")
    ],
    *,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Remove what is made again by itself, and what dead processes left. Nothing is "
            "ever changed without it.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write the findings as JSON.")] = False,
) -> None:  # fmt: skip
    """Look for damage in what mitosam keeps, and say what it means and what to do.

    All is read and its checksums are compared. The exit code is 0 if nothing is damaged, or not any
    more, and 1 if something is.

    Example: mitosam doctor run
    """
    from mitosam.workflows.doctor import doctor as examine

    found = examine(path, repair=repair, progress=progress)
    if as_json:
        typer.echo(json.dumps(_plain(found), indent=1))
    else:
        _show(found)
    if not found.is_well:
        raise typer.Exit(1)


def _plain(found: Examination) -> dict[str, object]:
    from mitosam.io.tables import plain

    return {"is_well": found.is_well, **plain(found)}


def _show(found: Examination) -> None:
    from rich.table import Table

    from mitosam.cli.show import print_line, print_table

    print_line(output, f"{found.path}: {', '.join(found.kinds) or 'nothing that mitosam knows'}")
    if found.findings:
        table = Table("", "where", "what", "meaning", "what to do")
        for one in found.findings:
            done = "removed" if one.path in found.repaired else one.way_out
            where = one.path.relative_to(found.path) if one.path.is_relative_to(found.path) else (
                one.path.name
            )  # fmt: skip
            table.add_row(one.severity, str(where), one.what, one.means, done)
        print_table(output, table)
    num_damaged = sum(one.severity == "damage" for one in found.findings)
    print_line(output, f"damaged: {num_damaged}, removed: {len(found.repaired)}")
