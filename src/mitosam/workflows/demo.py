"""The whole job on a made-up volume, so that it can be seen before any data is at hand."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from mitosam.config import RunSettings, resolve_settings
from mitosam.data.phantom import make_phantom
from mitosam.errors import OutputExistsError
from mitosam.io.write import write_stack_tiff
from mitosam.progress import SILENT, Progress
from mitosam.storage import write_text
from mitosam.workflows.finetune import FinetuneResult, finetune
from mitosam.workflows.prepare import Sources

SHAPE_ZYX = (20, 512, 512)
SEED = 7
MARK = ".made-by-mitosam-demo"


def demo(out: Path, *, progress: Progress = SILENT) -> FinetuneResult:
    """Write a phantom to `out/data` and fine-tune on it in `out/run`; an earlier demo is replaced.

    Raises
    ------
    OutputExistsError
        `out` holds something that no demo made.
    """
    _make_room(out)
    progress.say("drawing a made-up EM volume")
    phantom = make_phantom(SHAPE_ZYX, SEED)
    images, masks = out / "data" / "images.tif", out / "data" / "masks.tif"
    write_stack_tiff(images, phantom.images, phantom.voxel_size_nm)
    write_stack_tiff(masks, phantom.labels.astype(np.uint16), phantom.voxel_size_nm)
    return finetune(
        Sources(images=images, masks=masks), out / "run", demo_settings(), progress=progress
    )


def demo_settings() -> RunSettings:
    """The default preset, cut short; the mask decoder alone, so that it ends in minutes."""
    return resolve_settings(
        overrides=[
            "training.parts=decoder",
            "training.epochs=1",
            "training.min_steps=120",
            "training.min_views=64",
            "head.steps=200",
        ]
    )


def _make_room(out: Path) -> None:
    if out.exists() and any(out.iterdir()):
        if not (out / MARK).exists():
            raise OutputExistsError(f"{out} exists and no demo made it; choose another --out")
        shutil.rmtree(out)
    write_text(out / MARK, "mitosam demo replaces this folder\n")
