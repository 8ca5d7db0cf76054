"""The commands."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from mitosam import __version__
from mitosam.cli import options as opt
from mitosam.cli import processes
from mitosam.cli.screen import ScreenProgress, show_error, show_logs
from mitosam.errors import MitosamError
from mitosam.io.place import place_of
from mitosam.ranks import current, leave, started_index
from mitosam.storage import DISK_ERRNOS, LOST_ERRNOS

app = typer.Typer(
    name="mitosam",
    help="Fine-tune the Segment Anything Model on mitochondria in electron microscopy, and see "
    "what it gained. Start with `mitosam demo`, then `mitosam finetune IMAGES MASKS --out RUN`.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)
# Results go to standard output; progress, remarks and errors beside it.
output = Console()
console = Console(stderr=True)
progress = ScreenProgress(console)


def main() -> None:
    """Run a command; errors that a user can mend are one line and exit code 2."""
    processes.leave_interrupts_to_the_first()
    try:
        app(prog_name="mitosam")
    except MitosamError as error:
        show_error(console, processes.what_to_say(error))
        processes.end(2)
    except OSError as error:
        if error.errno not in DISK_ERRNOS | LOST_ERRNOS:
            raise
        where = error.filename or "a file"
        remedy = "free some space, or change its rights"
        if error.errno in LOST_ERRNOS:
            remedy = "it was there a moment ago; see whether its disk still is, and run again"
        show_error(console, f"{where}: {error.strerror}; {remedy}")
        processes.end(2)
    except SystemExit as ended:  # how typer ends; it turns Ctrl-C into a code of its own
        if not ended.code:
            leave()
        if ended.code != STOPPED:
            raise
        console.print(f"stopped; {after_stop(sys.argv[1:])}")
        processes.end(STOPPED)


STOPPED = 130
_GOES_ON = {
    "ablate": "the same command with --resume goes on where it was",
    "finetune": "the same command with --resume goes on where it was",
    "prepare": "`mitosam finetune` with the same files, --out and --resume goes on",
    "train": "the same command goes on where it was",
    "segment": "the same command goes on where it was",
    "measure": "the same command goes on where it was",
    "evaluate": "what is scored is kept; the same command, or with --out `mitosam evaluate` of "
    "that folder, goes on",
}


def after_stop(arguments: Sequence[str]) -> str:
    """What someone can do who stopped a command."""
    command = next((word for word in arguments if not word.startswith("-")), "")
    return _GOES_ON.get(command, "the same command starts anew")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mitosam {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    context: typer.Context,
    *,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say what is chosen.")] = False,
    version: Annotated[  # noqa: ARG001
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show version.")
    ] = False,
) -> None:
    processes.require_shared(context.invoked_subcommand)
    show_logs(console, verbose=verbose, quiet=started_index() > 0)


@app.command()
def finetune(
    images: opt.DataImages,
    masks: opt.DataMasks = None,
    *,
    out: opt.Out,
    preset: opt.Preset = "default",
    budget: Annotated[
        str | None, typer.Option(help="Time for the whole job, as 30min; training stops in time.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    train: opt.Train = None,
    validation: opt.Validation = None,
    test: opt.Test = None,
    test_images: opt.TestImages = None,
    test_masks: opt.TestMasks = None,
    voxel_size: opt.VoxelSize = None,
    allow_outside: opt.AllowOutside = False,
    model: opt.Model = None,
    seed: opt.Seed = None,
    config: opt.Config = None,
    set_: opt.Overrides = None,
) -> None:
    """Fine-tune on images and masks and report what it gained: the whole job.

    Sections are split into slabs to train on, to validate on and to report on, unless --train and
    --test or --test-images say otherwise. RUN then holds model.safetensors, report.html and all
    scores.

    A manifest names several volumes, which then train together.

    Example: mitosam finetune stack.tif masks.tif --out run --budget 30min
    """
    from mitosam.cli.show import show_result
    from mitosam.workflows.finetune import finetune as run_finetune

    settings = opt.settings_from(
        preset=preset,
        config=config,
        overrides=set_,
        model=model,
        seed=seed,
        split={"train": train, "validation": validation, "test": test},
    )
    result = run_finetune(
        opt.sources_from(
            images, masks, test_images, test_masks, voxel_size, allow_outside=allow_outside
        ),
        out,
        settings,
        budget_s=opt.parse_duration(budget),
        resume=resume,
        progress=progress,
    )
    if current().is_lead:
        show_result(output, result)


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to make.")] = Path("demo"),
) -> None:
    """Run the whole job on a made-up EM volume with the embedded model, in a few minutes."""
    from mitosam.cli.show import show_result
    from mitosam.workflows.demo import demo as run_demo

    show_result(output, run_demo(out, progress=progress))


@app.command()
def plan(
    images: opt.DataImages,
    masks: opt.DataMasks = None,
    *,
    preset: opt.Preset = "default",
    train: opt.Train = None,
    validation: opt.Validation = None,
    test: opt.Test = None,
    allow_outside: opt.AllowOutside = False,
    model: opt.Model = None,
    config: opt.Config = None,
    set_: opt.Overrides = None,
) -> None:
    """Time one encoding and one training step here, and say what a run will take."""
    from mitosam.cli.show import show_plan
    from mitosam.workflows.plan import plan as make_plan

    settings = opt.settings_from(
        preset=preset,
        config=config,
        overrides=set_,
        model=model,
        split={"train": train, "validation": validation, "test": test},
    )
    sources = opt.sources_from(images, masks, allow_outside=allow_outside)
    show_plan(output, make_plan(sources, settings, progress=progress))


@app.command()
def prepare(
    images: opt.DataImages,
    masks: opt.DataMasks = None,
    *,
    out: opt.Out,
    preset: opt.Preset = "default",
    train: opt.Train = None,
    validation: opt.Validation = None,
    test: opt.Test = None,
    test_images: opt.TestImages = None,
    test_masks: opt.TestMasks = None,
    voxel_size: opt.VoxelSize = None,
    allow_outside: opt.AllowOutside = False,
    model: opt.Model = None,
    seed: opt.Seed = None,
    config: opt.Config = None,
    set_: opt.Overrides = None,
) -> None:
    """Check, normalise and split images and masks: a run that is ready to train."""
    from mitosam.workflows.prepare import prepare as run_prepare

    settings = opt.settings_from(
        preset=preset,
        config=config,
        overrides=set_,
        model=model,
        seed=seed,
        split={"train": train, "validation": validation, "test": test},
    )
    sources = opt.sources_from(
        images, masks, test_images, test_masks, voxel_size, allow_outside=allow_outside
    )
    run_prepare(sources, out, settings, progress=progress)
    typer.echo(out)
    progress.say(f"next: mitosam train {out}")


@app.command()
def train(
    run: opt.RunFolder,
    *,
    budget: Annotated[str | None, typer.Option(help="Time for training, as 30min.")] = None,
) -> None:
    """Encode and train a prepared run, decoder and head; one that was killed goes on."""
    from mitosam.workflows.runs import Run
    from mitosam.workflows.train import train as run_train

    trained = run_train(Run.open(run), seconds_left=opt.parse_duration(budget), progress=progress)
    if not current().is_lead:
        return
    for part, result in (("mask decoder", trained.decoder), ("head", trained.head)):
        if result:
            typer.echo(f"{part}: {result.num_steps} steps, best at {result.best_step}")
    progress.say(f"next: mitosam evaluate {run}")


@app.command()
def predict(
    images: opt.Images,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write.")],
    *,
    model: Annotated[str, typer.Option(help="A run, a model.safetensors, or a base model.")],
    prompts: Annotated[
        Path | None, typer.Option(help="CSV or JSON file of boxes and points; see docs/formats.md.")
    ] = None,
    from_masks: Annotated[
        Path | None,
        typer.Option(parser=place_of, help="Take one box for each object of these masks instead."),
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(help='Find what these words name instead, as "mitochondria"; docs/words.md.'),
    ] = None,
    detector: Annotated[
        str | None,
        typer.Option(
            help="With --text: ask this Grounding DINO, OWLv2 or SAM 3 (a folder or a hub name), "
            "and not the model's own automatic method."
        ),
    ] = None,
    min_score: Annotated[
        float | None, typer.Option(help="With --detector: the score from which an object counts.")
    ] = None,
    multimask: Annotated[
        bool, typer.Option("--multimask", help="Keep all candidate masks, not only the best.")
    ] = False,
) -> None:
    """Segment what prompts point at or words name, and write labels.tif and masks.csv."""
    from mitosam.workflows.predict import predict as run_predict

    result = run_predict(
        images,
        out,
        model=model,
        prompts=prompts,
        from_masks=from_masks,
        text=text,
        detector=detector,
        min_score=min_score,
        multimask_output=multimask,
        progress=progress,
    )
    typer.echo(f"{result.num_masks} masks on {result.num_sections} sections: {result.labels}")


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="A run, a model.safetensors, or a base model.")],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="A folder; a .pth for original, a .zip for bioimageio."),
    ],
    *,
    to: Annotated[str, typer.Option(help="huggingface, original, onnx or bioimageio.")] = (
        "huggingface"
    ),
    name: Annotated[
        str, typer.Option(help="bioimageio: the package's name; else that of --out.")
    ] = "",
    author: Annotated[
        list[str] | None,
        typer.Option(help="bioimageio: 'NAME, AFFILIATION'; once for each author."),
    ] = None,
    licence: Annotated[
        str, typer.Option(help="bioimageio: the weights' licence, an SPDX name.")
    ] = "Apache-2.0",
    cite: Annotated[
        list[str] | None,
        typer.Option(help="bioimageio: 'TEXT; DOI' to cite beside SAM's paper; may be repeated."),
    ] = None,
    description: Annotated[
        str, typer.Option(help="bioimageio: one sentence on what it does.")
    ] = "Segments mitochondria in electron microscopy.",
    voxel_size: opt.VoxelSize = None,
) -> None:
    """Write the tuned model whole, for other software.

    --to huggingface: a folder for transformers.SamModel.from_pretrained (of a TinyViT such as vit_t
    for mitosam.load_model, as transformers has none).

    --to original: a .pth for segment-anything, micro-sam, or MobileSAM's code.

    --to onnx: encoder.onnx and decoder.onnx for onnxruntime, without torch.

    --to bioimageio: a .zip for the BioImage Model Zoo: the network without prompts if the run has a
    head, else SAM with boxes. It needs --author, and --voxel-size where the run has none.

    The last two need: pip install 'mitosam[export]'. What is written is run and compared first.
    """
    from mitosam.workflows.export import export as write
    from mitosam.workflows.export_rdf import PackageFacts

    facts = PackageFacts(
        name=name,
        authors=tuple(author or ()),
        voxel_size_nm=opt.parse_voxel_size(voxel_size),
        description=description,
        licence=licence,
        cite=tuple(opt.parse_citation(text) for text in cite or ()),
    )
    typer.echo(write(model, out, to=to, facts=facts, progress=progress))  # type: ignore[arg-type]


@app.command()
def info(
    thing: Annotated[
        Path | None,
        typer.Argument(parser=place_of, help="A run, a model, a volume; nothing for this machine."),
    ] = None,
) -> None:
    """Say what a run, a model or a volume is, or what this machine can do."""
    from mitosam.cli.show import show_facts
    from mitosam.workflows.info import info as describe

    show_facts(output, describe(thing))


@app.command()
def cache(
    *,
    clear: Annotated[bool, typer.Option("--clear", help="Remove all embeddings.")] = False,
    model: Annotated[
        str | None, typer.Option(help="With --clear: only of models whose name begins so.")
    ] = None,
    folder: Annotated[Path | None, typer.Option(help="Another cache than the usual.")] = None,
) -> None:
    """List the image embeddings that are kept between runs, or remove them."""
    from mitosam.cli.show import show_cache
    from mitosam.embeddings import CacheSettings, clear_cache, list_cache

    settings = CacheSettings(folder=folder)
    freed = clear_cache(settings, model=model) if clear else None
    show_cache(output, settings, list_cache(settings), freed)
