"""The command that runs a study."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mitosam.cli import options as opt
from mitosam.cli.main import app, output, progress
from mitosam.errors import SettingsError

if TYPE_CHECKING:
    from mitosam.workflows.prepare import Sources


@app.command()
def ablate(
    study: Annotated[
        str,
        typer.Argument(
            help='A study file (docs/ablation.md), or "components", "sections" or "phantom".'
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the study.")],
    *,
    images: Annotated[
        Path | None, typer.Option(help="EM images, instead of those that the study names.")
    ] = None,
    masks: Annotated[Path | None, typer.Option(help="Masks of these images.")] = None,
    test_images: opt.TestImages = None,
    test_masks: opt.TestMasks = None,
    voxel_size: opt.VoxelSize = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the study in --out.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be run and how long it takes.")
    ] = False,
    budget: Annotated[
        str | None,
        typer.Option(help="Start no run that would end after this time, as 30min."),
    ] = None,
    set_: opt.Overrides = None,
) -> None:
    """Run a study: vary settings one by one or together, and say what each one changes.

    Every level is run with every seed. OUT then holds ablation.html, results.csv (a row for each
    run and prompt), summary.csv (means, and paired differences to the base, with intervals) and
    each run's own folder. --set changes the base.

    Example: mitosam ablate components --images stack.tif --masks masks.tif --out study
    """
    from mitosam.workflows.study import read_study

    resolved = read_study(study, overrides=set_ or ())
    sources = _sources(images, masks, test_images, test_masks, voxel_size)
    if dry_run:
        from mitosam.cli.show_ablation import show_ablation_plan
        from mitosam.workflows.ablate import plan_ablation

        show_ablation_plan(output, plan_ablation(resolved, out, sources=sources, progress=progress))
        return
    from mitosam.cli.show_ablation import show_ablation
    from mitosam.workflows.ablate import ablate as run_ablate

    result = run_ablate(
        resolved,
        out,
        sources=sources,
        resume=resume,
        budget_s=opt.parse_duration(budget),
        progress=progress,
    )
    show_ablation(output, result)


def _sources(
    images: Path | None,
    masks: Path | None,
    test_images: Path | None,
    test_masks: Path | None,
    voxel_size: str | None,
) -> Sources | None:
    """The files that were given; None for those of the study."""
    from mitosam.workflows.prepare import Sources

    for names, pair in (
        ("--images and --masks", (images, masks)),
        ("--test-images and --test-masks", (test_images, test_masks)),
    ):
        if (pair[0] is None) != (pair[1] is None):
            raise SettingsError(f"{names} go together, got only one of them")
    if images is None or masks is None:
        if test_images or voxel_size:
            raise SettingsError("--test-images and --voxel-size need --images and --masks")
        return None
    return Sources(
        images=images,
        masks=masks,
        test_images=test_images,
        test_masks=test_masks,
        voxel_size_nm=opt.parse_voxel_size(voxel_size),
    )
