"""The commands on public data sets."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from mitosam.cli.main import app, output, progress

data_app = typer.Typer(
    help="Public data sets with annotated mitochondria: what there is, and how to get it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(data_app, name="data")


@data_app.command(name="list")
def list_(
    *,
    json: Annotated[
        bool, typer.Option("--json", help="All that is known of them, as JSON.")
    ] = False,
) -> None:
    """List the public data sets that mitosam knows, with licence, source and size.

    Nothing is fetched.
    """
    from mitosam.cli.show_datasets import show_sets
    from mitosam.data.catalogue import read_catalogue
    from mitosam.io.tables import plain

    if json:
        import json as text

        sets = [one.model_dump(mode="json") for one in read_catalogue()]
        typer.echo(text.dumps(plain(sets), indent=1, ensure_ascii=False))
    else:
        show_sets(output, read_catalogue())


@data_app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="A set, as `mitosam data list` names it.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for its files.")],
    *,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="Do not ask whether its licence is accepted.")
    ] = False,
    source: Annotated[
        str | None,
        typer.Option(help="A folder or address that holds its files, to be asked instead."),
    ] = None,
) -> None:
    """Fetch a public data set, check it, unpack it, and write a dataset.toml to train with.

    Its licence is shown first and must be accepted. Stopped or cut off, the same command goes on.
    Where there is no network, it says what to download and where to put it.

    Example: mitosam data fetch lucchi++ --out lucchi
    """
    from mitosam.cli.show import print_line
    from mitosam.cli.show_datasets import show_terms
    from mitosam.data.catalogue import known_set
    from mitosam.workflows.fetch import fetch_dataset

    known = known_set(name)
    if known.is_fetchable:
        show_terms(output, known)
        accept_licence = accept_licence or (sys.stdin.isatty() and typer.confirm("Accept?"))
    fetched = fetch_dataset(
        name, out, accept_licence=accept_licence, source=source, progress=progress
    )
    print_line(output, str(fetched.manifest))
    progress.say(f"next: mitosam finetune {fetched.manifest} --out run")
