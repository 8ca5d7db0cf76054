"""What `data.tile_px = "auto"` comes to: a number that follows from the training sections."""

from __future__ import annotations

from mitosam.config import RunSettings
from mitosam.data.object_size import OBJECT_MODEL_PX, ObjectSize
from mitosam.data.prepared import PreparedVolume
from mitosam.data.splits import Split
from mitosam.progress import SILENT, Progress
from mitosam.workflows.runs import TILE_SIZE, Run, with_tile

Parts = dict[str, tuple[PreparedVolume, Split]]


def resolve_tile(
    run: Run, parts: Parts, *, input_px: int | None = None, progress: Progress = SILENT
) -> Run:
    """The run with a number for `data.tile_px`, which its folder then holds, and why.

    `input_px` is the side of the model's input; without it the model is loaded to ask.

    Raises
    ------
    InputError
        There is no mitochondrion to measure.
    """
    if run.settings.data.tile_px != "auto":
        return run
    if input_px is None:
        from mitosam.workflows.models import load_base

        input_px = load_base(run.settings).sam.input_px
    trained = [pair for pair in parts.values() if pair[1].train]
    volume, split = (trained or list(parts.values()))[0]
    size = measure_objects(volume, split.train, run.settings, progress)
    settings = choose_tile(run.settings, volume, size, input_px)
    tile_px = settings.data.tile_side_px
    progress.say(describe_tile(size, tile_px, input_px))
    # Before the settings: a run that was killed in between is measured anew.
    run.record(
        {
            TILE_SIZE: {
                "asked": "auto",
                "tile_px": tile_px,
                "median_object_px": round(size.median_px, 1),
                "objects_measured": size.num_objects,
                "median_object_model_px": round(size.median_px * input_px / tile_px, 1),
                "aimed_at_model_px": OBJECT_MODEL_PX,
            }
        }
    )
    return run.with_settings(settings)


def measure_objects(
    volume: PreparedVolume,
    sections: tuple[int, ...],
    settings: RunSettings,
    progress: Progress = SILENT,
) -> ObjectSize:
    """The size of the mitochondria in some sections."""
    tracked = progress.track(sections, "measuring mitochondria", unit="section")
    return ObjectSize.measure(volume, tracked, min_object_px=settings.data.min_object_px)


def choose_tile(
    settings: RunSettings, volume: PreparedVolume, size: ObjectSize, input_px: int
) -> RunSettings:
    """The settings with the tile in which objects of this size suit the model."""
    _, height, width = volume.shape_zyx
    tile_px = size.tile_px(
        input_px=input_px, patch_px=settings.data.patch_px, shape_yx=(height, width)
    )
    return with_tile(settings, tile_px)


def describe_tile(size: ObjectSize, tile_px: int, input_px: int) -> str:
    """The choice in words."""
    return (
        f"tiles of {tile_px} px: the median of {size.num_objects} mitochondria is "
        f"{size.median_px:.0f} px wide, so {size.median_px * input_px / tile_px:.0f} px for the "
        "model"
    )
