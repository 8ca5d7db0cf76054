"""The commands on whole volumes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mitosam.cli import options as opt
from mitosam.cli.main import app, output, progress
from mitosam.io.place import Url, place_of


@app.command()
def measure(
    labels: Annotated[
        Path,
        typer.Argument(
            parser=place_of,
            help="Labels (ids, or binary masks): a stack, OME-Zarr, also at a URL, image or "
            "folder.",
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder to write, or a .csv; others go beside it.")
    ],
    *,
    voxel_size: opt.VoxelSize = None,
    probability: Annotated[
        Path | None,
        typer.Option(parser=place_of, help="Volume of probabilities; its mean is the confidence."),
    ] = None,
    workers: opt.NumWorkers = 1,
    scheduler: opt.Scheduler = None,
    memory: opt.Memory = 2.0,
) -> None:
    """Measure each labelled mitochondrion: volume, surface, length, shape, neighbours.

    Writes mitochondria.csv (one line each), sections.csv (one line for each on each section) and
    summary.json. Without a voxel size, only what can be counted in voxels and pixels is given.
    If it is stopped, the same command goes on.

    Example: mitosam measure labels.tif --voxel-size 30,8,8 --out measured
    """
    from mitosam.cli.show import show_measured
    from mitosam.morphometry.settings import MeasureSettings
    from mitosam.workflows.measure import measure as run_measure

    result = run_measure(
        labels,
        out,
        voxel_size_nm=opt.parse_voxel_size(voxel_size),
        probability=probability,
        num_workers=workers,
        scheduler=scheduler,
        settings=MeasureSettings(memory_gb=memory),
        progress=progress,
    )
    show_measured(output, result)


@app.command()
def segment(
    images: opt.Images,
    model: Annotated[
        str,
        typer.Option(
            help="A run's folder, its model.safetensors, or a base model; vit_t has a head of "
            "its own, trained on made-up volumes."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            parser=place_of,
            help="Folder of the result; of a URL, as s3://bucket/name, its last part is written "
            "here first, and sent there when it is finished.",
        ),
    ],
    *,
    method: Annotated[
        str,
        typer.Option(
            help='"head", "prompted" (its finds outlined by the mask decoder), "grid" (SAM\'s '
            'point grid, slow); "auto" is what validation preferred.'
        ),
    ] = "auto",
    voxel_size: opt.VoxelSize = None,
    tiff: Annotated[bool, typer.Option("--tiff", help="Write labels.tif too.")] = False,
    probability: Annotated[
        bool, typer.Option("--probability", help="Write the probability of foreground too.")
    ] = False,
    workers: opt.NumWorkers = 1,
    scheduler: opt.Scheduler = None,
    memory: opt.Memory = 4.0,
    config: opt.Config = None,
    overrides: opt.Overrides = None,
) -> None:
    """Find every mitochondrion of an image or volume without prompts, and measure it.

    OUT then holds labels.ome.zarr (an id for each mitochondrion), mitochondria.csv, a preview of
    each section, and report.html. If it is stopped, the same command goes on. Volumes may be larger
    than memory: they are read and written by blocks, whose size changes no label. The model is
    shown pixels of the size that it was trained on, or of another with
    --set data.common_pixel_nm=8, if the volume's size is known; labels are on the volume's own.

    Example: mitosam segment stack.tif --model run --voxel-size 5,5,5 --out segmented
    """
    from mitosam.cli.show import show_segmented
    from mitosam.io.upload import upload_folder
    from mitosam.workflows.segment import segment as run_segment
    from mitosam.workflows.segment_folder import FACTS

    folder = Path(out.name) if isinstance(out, Url) else out
    settings = opt.settings_from(preset="default", config=config, overrides=overrides)
    if isinstance(out, Url) and (folder / FACTS).is_file():
        progress.say(f"{folder} is finished; sending it")
        typer.echo(upload_folder(folder, out, progress).url)
        return
    result = run_segment(
        images,
        folder,
        model=model,
        method=method,  # type: ignore[arg-type]  # checked where it is used
        voxel_size_nm=opt.parse_voxel_size(voxel_size),
        tiff=tiff,
        probability=probability,
        num_workers=workers,
        scheduler=scheduler,
        memory_gb=memory,
        settings=settings,
        progress=progress,
    )
    show_segmented(output, result)
    if isinstance(out, Url):
        typer.echo(upload_folder(folder, out, progress).url)
