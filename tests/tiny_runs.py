"""A whole run in seconds: a few sections of the phantom, and a narrow model of random weights."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from mitosam.config import RunSettings, resolve_settings
from mitosam.data.phantom import make_phantom
from mitosam.io.write import write_stack_tiff
from mitosam.models.export import export_huggingface
from mitosam.progress import SilentProgress
from mitosam.workflows.prepare import Sources
from tests.models.tiny_models import make_tiny_vit_sam

VOXEL_SIZE_NM = (10.0, 10.0, 10.0)
SHORT = (
    "model.precision=fp32",
    "data.patch_px=64",
    "data.tile_px=96",
    "training.epochs=1",
    "training.min_steps=8",
    "head.enabled=false",
    "training.min_views=6",
    "training.views_per_tile=0.1",
    "training.validations=2",
    "training.late_blocks=2",
)


def write_model(folder: Path, seed: int = 0) -> Path:
    """A model folder that `model.name` may be."""
    export_huggingface(make_tiny_vit_sam(seed, 128), folder)
    return folder


def write_phantom(
    folder: Path,
    *,
    seed: int = 3,
    shape_zyx: tuple[int, int, int] = (4, 192, 192),
    dtype: str = "uint8",
) -> Sources:
    """`images.tif` and `masks.tif` of the phantom; more bits hold its grey values times 257."""
    phantom = make_phantom(shape_zyx, seed, VOXEL_SIZE_NM)
    images = phantom.images if dtype == "uint8" else phantom.images.astype(dtype) * 257
    return write_stacks(folder, images, phantom.labels)


def write_stacks(folder: Path, images: np.ndarray, labels: np.ndarray) -> Sources:
    """Both stacks as TIFF files in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_stack_tiff(folder / "images.tif", images, VOXEL_SIZE_NM)
    write_stack_tiff(folder / "masks.tif", labels.astype(np.uint16), VOXEL_SIZE_NM)
    return Sources(images=folder / "images.tif", masks=folder / "masks.tif")


def short_settings(model: Path, *overrides: str, preset: str = "default") -> RunSettings:
    """Settings that end in seconds."""
    return resolve_settings(
        preset=preset, values={"model": {"name": str(model)}}, overrides=[*SHORT, *overrides]
    )


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def rows_of(path: Path) -> list[dict[str, str]]:
    """The lines of a table."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


class KillAt(SilentProgress):
    """Progress that stops the work like a kill, in a loop or at a line whose text begins so.

    `item` says before which item of the loop; `occurrence` counts loops of the same text.
    """

    def __init__(self, text: str, item: int = 0, occurrence: int = 0) -> None:
        self.text, self.item, self.occurrence = text, item, occurrence

    def _is_due(self, text: str) -> bool:
        if not text.startswith(self.text):
            return False
        self.occurrence -= 1
        return self.occurrence == -1

    def track(self, items, description, *, total=None, unit="it"):
        due = self._is_due(description)
        for number, item in enumerate(items):
            if due and number == self.item:
                raise KeyboardInterrupt
            yield item

    def say(self, message):
        if self._is_due(message):
            raise KeyboardInterrupt


class Remembered(SilentProgress):
    """Progress that keeps what was said and which loops ran."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.loops: list[str] = []

    def track(self, items, description, *, total=None, unit="it"):
        self.loops.append(description)
        yield from items

    def say(self, message):
        self.said.append(message)
