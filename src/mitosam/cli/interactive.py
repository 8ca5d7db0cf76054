"""The commands that open a window."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mitosam.cli import options as opt
from mitosam.cli.main import app, progress
from mitosam.io.place import place_of


@app.command()
def serve(
    volume: opt.Images,
    *,
    labels: Annotated[
        Path | None,
        typer.Option(parser=place_of, help="Ids or masks of the same sections to begin with."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="A run's folder, its model.safetensors, or a base model; if unset, what was "
            "taught here last, else the embedded model."
        ),
    ] = None,
    detector: Annotated[
        str | None,
        typer.Option(help="A text-grounded detector, for words that the model does not know."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of the work; beside VOLUME if unset.")
    ] = None,
    port: Annotated[int, typer.Option(help="Port on this machine; 0 is any that is free.")] = 0,
    voxel_size: opt.VoxelSize = None,
    open_: Annotated[bool, typer.Option("--open", help="Open the browser too.")] = False,
) -> None:
    """Outline, correct and teach in the browser: open the address that is printed.

    Only this machine can reach it, and only with the token in the address; an SSH tunnel brings it
    elsewhere. Every edit is kept at once in OUT: the same command goes on where it was.

    Example: mitosam serve stack.tif --model run
    """
    from mitosam.ui.browser.serve import bind
    from mitosam.ui.browser.serve import serve as run_server
    from mitosam.ui.session.opening import open_session

    voxel_size_nm = opt.parse_voxel_size(voxel_size)
    with bind(port) as listening:
        number = listening.getsockname()[1]
        session = open_session(
            volume,
            labels=labels,
            model=model,
            detector=detector,
            out=out,
            voxel_size_nm=voxel_size_nm,
            progress=progress,
        )

        def show(address: str) -> None:
            typer.echo(address)
            progress.say(f"the work is kept in {session.folder}; Ctrl-C stops")
            progress.say(f"elsewhere, first: ssh -N -L {number}:127.0.0.1:{number} THIS-MACHINE")

        run_server(session, listening, say=show, open_browser=open_)
    progress.say(f"stopped; the work is in {session.folder}, and the same command goes on with it")
