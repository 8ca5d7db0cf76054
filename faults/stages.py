"""The stages that are disturbed: each a real command on a tiny volume and what must come of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from faults import results, serving
from faults.child import Act
from faults.kinds import OF_CLUSTERS, OF_ONE, OF_WORKERS, SIGNALS
from faults.results import Result

SHAPE_ZYX = (6, 96, 128)
SMALL_ZYX = (4, 64, 72)
"""Of the segmentation, which measures and draws what it finds."""
SMALL_BLOCKS = ("--memory", "1.20001")
"""Leaves room for a section at a time beside the model, so that there are blocks to share."""
NUM_EDITS = 60
HEAD_BIAS = -2.6
SETTINGS = (
    "model.precision=fp32",
    "data.patch_px=64",
    "data.tile_px=96",
    "training.epochs=1",
    "training.min_steps=4",
    "training.min_views=2",
    "training.views_per_tile=0.1",
    "training.prompts_per_tile=2",
    "training.max_corrections=0",
    "training.max_validation_prompts=8",
    "training.validations=4",
    "training.late_blocks=1",
    "head.steps=4",
    "head.validations=4",
    "head.width=4",
    "head.crop_px=64",
    "head.batch_crops=2",
    "split.kind=given",
    'split.train="1-2"',
    'split.validation="4"',
    'split.test="6"',
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One command; `folder` is where all its files are, and where it is started."""

    name: str
    needs: tuple[str, ...]
    """What it begins with, from the folder of templates."""
    command: Sequence[str] | Act
    resume: Sequence[str] | Act
    """What a user starts after a fault."""
    out: str
    """What it writes, which can be removed to begin anew."""
    result: Callable[[Path], Result]
    damage: tuple[str, ...] = ("**/*",)
    """Patterns of the files that are damaged in between."""
    first_share: float = 1.0
    """The share of its time in which it is disturbed."""
    kinds: tuple[str, ...] = OF_ONE
    """The faults that suit it."""
    signs: tuple[str, ...] = ()
    """Patterns of files that show what it is at, where the beginning takes long."""
    on_cluster: bool = False
    """Whether it is done by the harness's own Dask cluster."""

    @property
    def needs_run(self) -> bool:
        """Whether it begins with what `prepare` and `encode` make."""
        return any(">" in need for need in self.needs)


def stages() -> list[Stage]:
    """All of them."""
    run = ("images.tif", "masks.tif", "--out", "run", "--model", "base", *_set())
    segment = ("segment", "small.tif", "--model", "tuned.safetensors", "--out", "segmented")
    train = ("train", "run")
    measure = ("measure", "labels.tif", "--out", "measured")
    return [
        Stage(
            name="prepare",
            needs=("images.tif", "masks.tif", "base"),
            command=("prepare", *run),
            resume=("prepare", *run),
            out="run",
            result=lambda folder: results.prepared(folder / "run"),
            damage=("run/**/*",),
        ),
        Stage(
            name="encode",
            needs=("base", "prepared>run"),
            command=train,
            resume=train,
            out="run",
            result=lambda folder: results.trained(folder / "run"),
            damage=("cache/**/*",),
            first_share=0.6,
        ),
        Stage(
            name="train",
            needs=("base", "prepared>run", "cache"),
            command=train,
            resume=train,
            out="run",
            result=lambda folder: results.trained(folder / "run"),
            damage=("run/**/*", "run/*checkpoint*", "run/*checkpoint*"),
        ),
        Stage(
            name="evaluate",
            needs=("base", "trained>run", "cache"),
            command=("evaluate", "run"),
            resume=("evaluate", "run"),
            out="run",
            result=lambda folder: results.scored(folder / "run"),
            damage=("run/**/*", "run/evaluation/*"),
        ),
        Stage(
            name="finetune",
            needs=("images.tif", "masks.tif", "base"),
            command=("finetune", *run, "--set", "head.enabled=false"),
            resume=("finetune", *run, "--set", "head.enabled=false", "--resume"),
            out="run",
            result=lambda folder: results.trained(folder / "run") | results.scored(folder / "run"),
            damage=("run/**/*", "cache/**/*"),
        ),
        Stage(
            name="segment",
            needs=("small.tif", "base", "tuned.safetensors"),
            command=segment,
            resume=segment,
            out="segmented",
            result=lambda folder: results.segmented(folder / "segmented"),
            damage=(".segmented.work/**/*", ".segmented.work/maps/*", "cache/**/*"),
        ),
        Stage(
            name="measure",
            needs=("labels.tif",),
            command=measure,
            resume=measure,
            out="measured",
            result=lambda folder: results.measured(folder / "measured"),
            damage=(".measured.measure/*",),
        ),
        *_shared_stages(segment, measure),
        Stage(
            name="session",
            needs=(),
            command=edit_labels,
            resume=edit_labels,
            out="session",
            result=_labels_of_session,
            damage=(),  # SQLite keeps no checksums of its pages
        ),
        Stage(
            name="serve",
            needs=("small.tif", "base", "tuned.safetensors"),
            command=serving.serve_and_edit,
            resume=serving.serve_and_edit,
            out="served",
            result=serving.served,
            damage=(),
            signs=tuple(serving.SHOWN.format(n) for n in range(0, serving.NUM_EDITS - 1, 3)),
        ),
    ]


def _shared_stages(segment: Sequence[str], measure: Sequence[str]) -> list[Stage]:
    """Segmentation and measurement by two processes of their own, and by a cluster's."""
    by_name = {
        "segment": Stage(
            name="segment",
            needs=("small.tif", "base", "tuned.safetensors"),
            command=(*segment, *SMALL_BLOCKS),
            resume=(),
            out="segmented",
            result=lambda folder: results.segmented(folder / "segmented"),
            damage=(),
            signs=(
                ".segmented.work/maps/**/*",
                ".segmented.work/*.draft",
                ".segmented.work/probability.draft",
                ".segmented.work/measure/*",
            ),
        ),
        "measure": Stage(
            name="measure",
            needs=("labels.tif",),
            command=measure,
            resume=(),
            out="measured",
            result=lambda folder: results.measured(folder / "measured"),
            damage=(),
            signs=(".measured.measure", ".measured.measure/counts*", ".measured.measure/*"),
        ),
    }
    here = [
        replace(one, name=f"{name}, workers", command=(*one.command, "--workers", "2"),
                kinds=(*SIGNALS, *OF_WORKERS))
        for name, one in by_name.items()
    ]  # fmt: skip
    cluster = [
        replace(one, name=f"{name}, cluster", kinds=(*SIGNALS, *OF_CLUSTERS), on_cluster=True)
        for name, one in by_name.items()
    ]
    return [replace(one, resume=one.command) for one in (*here, *cluster)]


def _set() -> tuple[str, ...]:
    return tuple(part for text in SETTINGS for part in ("--set", text))


def write_templates(folder: Path) -> None:
    """Volumes and models; what stages make for each other is made by running them."""
    from tests.tiny_runs import write_model, write_phantom
    from tests.tiny_segmenter import write_tuned

    sources = write_phantom(folder, seed=3, shape_zyx=SHAPE_ZYX)
    shutil.copyfile(sources.masks, folder / "labels.tif")
    small = write_phantom(folder / "small", seed=4, shape_zyx=SMALL_ZYX)
    small.images.rename(folder / "small.tif")
    write_model(folder / "base")
    here = Path.cwd()
    os.chdir(folder)  # so that what is written names no absolute path
    try:
        _write_head(write_tuned(Path("tuned.safetensors"), Path("base")))
    finally:
        os.chdir(here)


def _write_head(path: Path) -> None:
    """Give a tuned model a head that finds little, so that there is little to draw."""
    from tests.tiny_segmenter import make_head

    from mitosam.models.tuned import add_head, read_tuned_info, update_info

    found = read_tuned_info(path)
    head = make_head(8)
    head.out.bias.data[0] = HEAD_BIAS
    add_head(path, head)
    update_info(path, found)


def edit_labels() -> None:
    """Go on with a session of many edits; each is noted once it was answered."""
    from mitosam.ui.session.store import AnnotationStore

    store = AnnotationStore(Path("session/annotations.sqlite"), (4, 300, 520))
    noted = Path("answered.txt")
    try:
        done = store.fact("edits") or 0
        answered = len(noted.read_bytes()) if noted.exists() else 0
        assert done >= answered, f"{answered} edits were answered and {done} are there"
        for number in range(done, NUM_EDITS):
            z, y, x, height, width = _place(number)
            with store.edit("paint") as edit:
                edit.paint(z, y, x, np.full((height, width), number + 1, np.uint32))
            store.note("edits", number + 1)
            with noted.open("ab", buffering=0) as file:
                file.write(b"." * (number + 1 - len(noted.read_bytes())))
    finally:
        store.close()


def _place(number: int) -> tuple[int, int, int, int, int]:
    rng = np.random.default_rng([7, number])
    y, x = int(rng.integers(0, 240)), int(rng.integers(0, 440))
    return int(rng.integers(0, 4)), y, x, int(rng.integers(5, 60)), int(rng.integers(5, 80))


def _labels_of_session(folder: Path) -> Result:
    from mitosam.checksums import checksum
    from mitosam.ui.session.store import AnnotationStore

    store = AnnotationStore(folder / "session/annotations.sqlite", (4, 300, 520))
    try:
        return {f"section {z}": checksum(store.section(z).tobytes()) for z in range(4)}
    finally:
        store.close()
