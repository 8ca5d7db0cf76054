"""The commands that score a run, report on it, and show what it trains on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mitosam.cli import options as opt
from mitosam.cli.main import app, output, progress
from mitosam.errors import SettingsError
from mitosam.io.place import Place, place_of

if TYPE_CHECKING:
    from mitosam.workflows.runs import Run

DEFAULT_METHODS, DEFAULT_RIVAL = "head,prompted", "unet"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Other:
    """What was said of another volume to score on, or of several in a manifest."""

    images: Place | None
    masks: Place | None
    sections: str | None
    voxel_size: str | None
    allow_outside: bool


@app.command()
def views(
    run: opt.RunFolder,
    out: Annotated[Path, typer.Option("--out", "-o", help="PNG file to write.")],
    *,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Try a setting, as augmentation.blur_px=2; many times."),
    ] = None,
) -> None:
    """Draw what training sees: views of a run's sections, and each artefact by itself.

    Example: mitosam views run --out views.png --set augmentation.fold=0.8
    """
    from mitosam.workflows.runs import Run
    from mitosam.workflows.views import views as draw

    typer.echo(draw(Run.open(run), out, overrides=set_ or (), progress=progress))


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="A run; with --images also a model.safetensors.")],
    *,
    automatic: Annotated[
        bool, typer.Option("--automatic", help="Score what is found without any prompt instead.")
    ] = False,
    methods: Annotated[
        str | None,
        typer.Option(
            help='With --automatic: some of "head", "prompted" (its finds outlined by the mask '
            'decoder) and "grid" (SAM\'s point grid, slow), by commas; head,prompted if not given.'
        ),
    ] = None,
    rival: Annotated[
        str | None,
        typer.Option(
            help='With --automatic: "unet", a U-Net trained on the same crops, or "none"; unet if '
            "not given."
        ),
    ] = None,
    clicks: Annotated[
        int | None,
        typer.Option(help="Score what 0 to this many correcting clicks make of each mask instead."),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            parser=place_of,
            help="Score the tuned model on this other volume instead, or on the test sections of "
            "a manifest (.toml).",
        ),
    ] = None,
    masks: opt.TestMasks = None,
    sections: Annotated[
        str | None, typer.Option(help="Sections of that volume, counted from 1; all if not given.")
    ] = None,
    voxel_size: opt.VoxelSize = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Write a new run, with --set, --images or --automatic."),
    ] = None,
    allow_outside: opt.AllowOutside = False,
    set_: opt.Overrides = None,
) -> None:
    """Score base and tuned model on the same prompts, with the trivial rivals beside them.

    With --automatic no prompts are used: all mitochondria are searched for, each method's instances
    are scored, a U-Net beside them, and automatic.html and automatic.csv are written. These scores
    never compare with those under prompts, which are taken from the truth.

    With --clicks 7, each mask is corrected by up to 7 clicks into its largest mistake, and
    clicks.csv says what each click bought; `mitosam report` draws it.

    With --images and --masks, a model is scored on a volume that it was not trained on, in pixels
    of the size that it was trained on where the voxel size is known.

    Example: mitosam evaluate run --images other.tif --masks other_masks.tif --out run-on-other
    """
    other = _Other(
        images=images,
        masks=masks,
        sections=sections,
        voxel_size=voxel_size,
        allow_outside=allow_outside,
    )
    _check_other(other)
    if not automatic and (methods is not None or rival is not None):
        name = "--rival" if methods is None else "--methods"
        raise SettingsError(f"{name} says how to score without prompts; it needs --automatic")
    if automatic and clicks is not None:
        raise SettingsError("--clicks corrects what was prompted for, and --automatic prompts not")
    if automatic and set_:
        raise SettingsError("--set changes how prompts are taken, and --automatic takes none")
    wanted = (methods or DEFAULT_METHODS).split(",") if methods != "" else []
    chosen = [method.strip() for method in wanted]
    if automatic:
        from mitosam.workflows.evaluate_automatic import check_automatic

        check_automatic(run, chosen, rival or DEFAULT_RIVAL)  # before a new run is written
    opened = _run_to_score(run, other, out, set_ or [])
    if automatic:
        _evaluate_automatic(opened, chosen, rival or DEFAULT_RIVAL)
    else:
        _evaluate_prompted(opened) if clicks is None else _evaluate_clicks(opened, clicks)


def _evaluate_prompted(run: Run) -> None:
    from mitosam.cli.show import show_scores
    from mitosam.workflows.evaluate import evaluate as run_evaluate

    show_scores(output, run_evaluate(run, progress=progress))
    progress.say(f"next: mitosam report {run.folder}")


def _evaluate_clicks(run: Run, num_clicks: int) -> None:
    from mitosam.cli.show import show_clicks
    from mitosam.workflows.evaluate_clicks import evaluate_clicks

    show_clicks(output, evaluate_clicks(run, num_clicks=num_clicks, progress=progress))
    progress.say(f"next: mitosam report {run.folder}")


def _evaluate_automatic(opened: Run, methods: list[str], rival: str) -> None:
    from mitosam.cli.show import show_automatic
    from mitosam.workflows.automatic_report import PAGE
    from mitosam.workflows.evaluate_automatic import evaluate_automatic

    scores = evaluate_automatic(
        opened,
        methods=methods,  # type: ignore[arg-type]  # checked before
        rival=rival,  # type: ignore[arg-type]
        progress=progress,
    )
    show_automatic(output, scores)
    typer.echo(str(opened.folder / PAGE))


def _check_other(other: _Other) -> None:
    """Raise what does not fit together in what names another volume, or several."""
    from mitosam.data.manifest import is_manifest

    if other.images and is_manifest(other.images):
        if other.masks or other.sections or other.voxel_size:
            raise SettingsError(
                f"{other.images} is a manifest, which names masks, sections and voxel sizes; leave "
                "out --masks, --sections and --voxel-size"
            )
        return
    if other.allow_outside:
        raise SettingsError("--allow-outside is for a manifest, and --images names none")
    if (other.images is None) != (other.masks is None):
        raise SettingsError("--images and --masks go together, got only one of them")
    for name, given in (("--sections", other.sections), ("--voxel-size", other.voxel_size)):
        if given and other.images is None:
            raise SettingsError(f"{name} is for the volume of --images, which is not given")


def _run_to_score(run: Path, other: _Other, out: Path | None, overrides: list[str]) -> Run:
    from mitosam.config import override_settings
    from mitosam.data.manifest import is_manifest
    from mitosam.workflows.runs import Run
    from mitosam.workflows.transfer import transfer, transfer_dataset

    if other.images:
        if out is None:
            raise SettingsError("another volume's scores need a folder of their own: --out")
        if is_manifest(other.images):
            return transfer_dataset(
                run,
                other.images,
                out,
                allow_outside=other.allow_outside,
                overrides=overrides,
                progress=progress,
            )
        assert other.masks is not None, "_check_other() saw to that"
        return transfer(
            run,
            other.images,
            other.masks,
            out,
            sections=other.sections,
            voxel_size_nm=opt.parse_voxel_size(other.voxel_size),
            overrides=overrides,
            progress=progress,
        )
    opened = Run.open(run)
    if overrides and not out:
        raise SettingsError("--set changes what is scored, so it needs a folder of its own: --out")
    if out is not None:
        return opened.derive(out, override_settings(opened.settings, overrides))
    return opened


@app.command()
def report(run: opt.RunFolder) -> None:
    """Write report.html, scores.csv, scores.json and summary.csv of a scored run."""
    from mitosam.workflows.report import report as write
    from mitosam.workflows.runs import Run

    typer.echo(write(Run.open(run), progress=progress))
