"""The commands on whole volumes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mitosam.cli import options as opt
from mitosam.cli.main import app, output, progress


@app.command()
def measure(
    labels: Annotated[
        Path, typer.Argument(help="Label volume (ids, or binary masks): a stack, image or folder.")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder to write, or a .csv; others go beside it.")
    ],
    *,
    voxel_size: opt.VoxelSize = None,
    probability: Annotated[
        Path | None, typer.Option(help="Volume of probabilities; its mean is the confidence.")
    ] = None,
) -> None:
    """Measure each labelled mitochondrion: volume, surface, length, shape, neighbours.

    Writes mitochondria.csv (one line each), sections.csv (one line for each on each section) and
    summary.json. Without a voxel size, only what can be counted in voxels and pixels is given.

    Example: mitosam measure labels.tif --voxel-size 30,8,8 --out measured
    """
    from mitosam.cli.show import show_measured
    from mitosam.workflows.measure import measure as run_measure

    result = run_measure(
        labels,
        out,
        voxel_size_nm=opt.parse_voxel_size(voxel_size),
        probability=probability,
        progress=progress,
    )
    show_measured(output, result)
