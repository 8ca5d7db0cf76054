"""The volumes of a segmentation, block by block: maps, then labels and probabilities."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Shaped

from mitosam.geometry import Box, Window
from mitosam.inference.block_array import begun_grid
from mitosam.inference.blocks import BlockGrid, square_grid
from mitosam.inference.map_store import (
    BLOCK_VOXELS,
    MAPS,
    SECTIONS_PER_BLOCK,
    EachBlock,
    MapStore,
)
from mitosam.inference.panes import MAX_VOXELS, Pane, pane_grid
from mitosam.io.ome_zarr_spec import CHUNK_ZYX, VolumeSpec
from mitosam.io.ome_zarr_writer import ZarrDraft
from mitosam.io.open import open_volume
from mitosam.io.write import write_sections_tiff
from mitosam.models.head import STRIDE_PX
from mitosam.progress import Progress
from mitosam.workflows.segment_folder import WorkFolder
from mitosam.workflows.segment_job import Job, Order
from mitosam.workflows.segment_seal import remove_damaged_volume, seal_volume
from mitosam.workflows.workers import InProcess, Task, Workers

BASE_BYTES = 1.2e9
"""Of a process with a loaded model and one tile that is being encoded."""
BYTES_PER_MAP_VOXEL, BYTES_PER_LABEL_VOXEL = 8, 40
LEAST_LABEL_VOXELS = 1 << 20
Read = Callable[[Box], Shaped[np.ndarray, "z y x"]]
BlockStage = Callable[[int], None]


def open_store(
    folder: Path, shape_zyx: tuple[int, int, int], memory_gb: float, pane_px: int
) -> MapStore:
    """The store of a segmentation whose every process takes about so much memory.

    Maps that were begun in smaller blocks are gone on with in those.
    """
    free = max(memory_gb * 1e9 - BASE_BYTES, 0)
    at_once = max(1, min(MAX_VOXELS, int(free / BYTES_PER_MAP_VOXEL)))
    of_labels = max(LEAST_LABEL_VOXELS, min(BLOCK_VOXELS, int(free / BYTES_PER_LABEL_VOXEL)))
    return MapStore(
        folder,
        shape_zyx,
        grid=_or_begun(pane_grid(shape_zyx, pane_px, at_once), folder),
        label_grid=square_grid(shape_zyx, SECTIONS_PER_BLOCK, of_labels),
    )


def _or_begun(grid: BlockGrid, folder: Path) -> BlockGrid:
    """The blocks of maps that are there already, if they are panes of as many sections at most."""
    begun = begun_grid(folder / MAPS)
    if begun is None or begun.shape_zyx != grid.shape_zyx:
        return grid
    depth, *sides = begun.block_zyx
    fits = depth <= grid.block_zyx[0] and sides == [*grid.block_zyx[1:]]
    return begun if fits else grid


class MapStage:
    """The maps of each block; the model is loaded in each process that does some."""

    def __init__(self, order: Order, store: MapStore, job: Job | None = None) -> None:
        self.order = order
        self.store = store
        self._job = job

    def __reduce__(self) -> tuple[type[MapStage], tuple[Order, MapStore]]:
        return MapStage, (self.order, self.store)

    def __call__(self, number: int) -> None:
        """Do a block, unless it is done and whole."""
        if not self.store.maps.check(number):
            for _ in self.sections(number):
                pass

    def sections(self, number: int) -> Iterator[None]:
        """Do a block, section by section."""
        job = self._job = self._job or self.order.open()
        box, back = self.store.grid.box(number), job.back
        (z0, y0, x0), (depth, height, width) = box.start_zyx, box.shape_zyx
        wanted = Window(y0, x0, height, width)
        inner = _on_steps(back.needed(wanted)) if back else wanted
        margin_px, shape_yx = job.segmenter.margin_px(job.method), job.seen.shape_zyx[1:]
        pane = Pane.of(inner, margin_px, shape_yx)
        stack, first = _read_outer(job, box, pane.outer)
        compute = job.segmenter.mapper(
            job.method, lambda z: stack[z - first], job.shape_zyx[0], pane
        )
        maps = np.empty((2, depth, height, width), np.uint8)
        for place in range(depth):
            found = compute(z0 + place)
            maps[:, place] = [back.apply(one, inner, wanted) for one in found] if back else found
            yield
        self.store.maps.write(number, maps)


def _on_steps(window: Window) -> Window:
    """The window, or a little more, with its corner where the head can begin."""
    y, x = (start // STRIDE_PX * STRIDE_PX for start in (window.y, window.x))
    return Window(y, x, window.y + window.height - y, window.x + window.width - x)


def _read_outer(job: Job, box: Box, outer: Window) -> tuple[Shaped[np.ndarray, "z h w"], int]:
    """What the sections of a block depend on, and the first of those sections."""
    before, after = job.segmenter.reach_sections(job.method)
    first = max(box.start_zyx[0] - before, 0)
    last = min(box.stop_zyx[0] + after, job.shape_zyx[0])
    bottom, right = outer.y + outer.height, outer.x + outer.width
    return job.read_seen(Box((first, outer.y, outer.x), (last, bottom, right))), first


class WriteStage:
    """A volume of the result, written by blocks."""

    def __init__(self, draft_folder: Path, spec: VolumeSpec, grid: BlockGrid, read: Read) -> None:
        self.draft_folder = draft_folder
        self.spec = spec
        self.grid = grid
        self.read = read
        self._draft: ZarrDraft | None = None

    def __reduce__(self) -> tuple[type[WriteStage], tuple[Path, VolumeSpec, BlockGrid, Read]]:
        return WriteStage, (self.draft_folder, self.spec, self.grid, self.read)

    def __call__(self, number: int) -> None:
        """Write a block, unless it is there."""
        self._draft = self._draft or ZarrDraft.open_or_create(self.draft_folder, self.spec)
        box = self.grid.box(number)
        block = self.read(box).astype(self.spec.dtype)
        if not self._draft.holds(box.start_zyx, block):
            self._draft.write_block(box.start_zyx, block)


def write_volumes(
    work: WorkFolder,
    order: Order,
    job: Job,
    *,
    workers: Workers,
    memory_gb: float,
    tiff: bool,
    progress: Progress,
) -> dict[str, float]:
    """Labels and probabilities; the seconds that each stage took."""
    store = open_store(work.folder / "maps", job.shape_zyx, memory_gb, job.pane_px)
    each_block = on_workers(workers, progress)
    seals = {path: work.folder / f"{path.name}.seal" for path in (work.labels, work.probability)}
    for path, seal in seals.items():
        remove_damaged_volume(path, seal, progress)
    seconds = {}
    started = time.monotonic()
    if not (work.labels.exists() and work.probability.exists()):
        fill_maps(store, order, job, workers, progress)
    seconds["segmenting"] = time.monotonic() - started
    started = time.monotonic()
    if not work.labels.exists():
        found = store.find(job.instances, each_block)
        _write_zarr(work.labels, job, store, found.read, "labels", each_block, progress)
        seal_volume(work.labels, seals[work.labels])
    if not work.probability.exists():
        _write_zarr(
            work.probability, job, store, partial(_foreground, store), "image", each_block, progress
        )
        seal_volume(work.probability, seals[work.probability])
    _write_tiffs(work, tiff=tiff)
    seconds["labels"] = time.monotonic() - started
    return seconds


def on_workers(workers: Workers, progress: Progress) -> EachBlock:
    """Stages done by workers."""

    def each_block(stage: BlockStage, blocks: Sequence[int], title: str) -> None:
        task = Task(identity=f"{title} {time.time_ns()}", prepare=partial(_itself, stage))
        for _ in workers.run(task, blocks, title=title, unit="block", progress=progress):
            pass

    return each_block


def _itself(stage: BlockStage) -> BlockStage:
    return stage


def fill_maps(
    store: MapStore, order: Order, job: Job, workers: Workers, progress: Progress
) -> None:
    """Compute the maps of every block that is not there, or damaged.

    This process goes section by section, with the model that it has loaded.
    """
    title = f"segmenting ({job.method})"
    if not isinstance(workers, InProcess):
        on_workers(workers, progress)(MapStage(order, store), range(len(store.grid)), title)
        return
    store.check(progress)
    missing = store.maps.missing()
    stage = MapStage(order, store, job)
    blocks = ((number, store.grid.box(number).shape_zyx[0]) for number in missing)
    sections = [number for number, depth in blocks for _ in range(depth)]
    done = iter(progress.track(sections, title, unit="section"))
    for number in missing:
        for _ in stage.sections(number):
            next(done)
    next(done, None)  # so that the last section counts as done


def _foreground(store: MapStore, box: Box) -> Shaped[np.ndarray, "z y x"]:
    return np.asarray(store.maps.read(box)[0])


def _write_zarr(
    path: Path,
    job: Job,
    store: MapStore,
    read: Read,
    kind: Literal["labels", "image"],
    each_block: EachBlock,
    progress: Progress,
) -> None:
    spec = VolumeSpec(
        shape_zyx=job.shape_zyx,
        dtype=np.dtype(np.uint32 if kind == "labels" else np.uint8),
        kind=kind,
        voxel_size_nm=job.voxel_size_nm,
        chunk_zyx=(store.label_grid.block_zyx[0], *CHUNK_ZYX[1:]),
        name="mitochondria" if kind == "labels" else "probability",
    )
    folder = store.folder.with_name(f"{path.name.partition('.')[0]}.draft")
    ZarrDraft.open_or_create(folder, spec)
    stage = WriteStage(folder, spec, store.label_grid, read)
    each_block(stage, range(len(store.label_grid)), f"writing {kind}")
    ZarrDraft.open_or_create(folder, spec).finish(path, progress)


def _write_tiffs(work: WorkFolder, *, tiff: bool) -> None:
    """The TIFF files that are wanted beside those of OME-Zarr, and no other."""
    files = {
        work.result / "labels.tif": (work.labels, tiff),
        work.result / "probability.tif": (
            work.probability, tiff and work.probability.parent == work.result,
        ),
    }  # fmt: skip
    for path, (source, wanted) in files.items():
        if wanted:
            _write_tiff(path, source)
        else:
            path.unlink(missing_ok=True)


def _write_tiff(path: Path, source: Path) -> None:
    volume = open_volume(source)
    write_sections_tiff(
        path,
        volume.sections(),
        shape_zyx=volume.shape_zyx,
        dtype=volume.dtype,
        voxel_size_nm=volume.voxel_size_nm,
    )
