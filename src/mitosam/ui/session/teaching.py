"""Teaching in a process of its own, so that prompting goes on meanwhile and a stop is a stop."""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeVar

import numpy as np

from mitosam.config import RunSettings, override_settings
from mitosam.errors import InputError, MitosamError
from mitosam.io.volume import Volume
from mitosam.io.write import write_sections_tiff
from mitosam.ui.session.jobs import Work
from mitosam.workflows.voxel_sizes import VoxelSize

T = TypeVar("T")
log = logging.getLogger(__name__)

POLL_S = 0.2
# How long a child may take to end by itself before it is killed.
GRACE_S = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What a model is taught with: as many images as labels, in files, and what it begins as.

    `model_name` is the base model; `start_from` a tuned model's file, None to begin with the base.
    """

    images: Path
    labels: Path
    num_sections: int
    out: Path
    settings: RunSettings
    start_from: Path | None
    voxel_size_nm: VoxelSize | None


def write_lesson(
    images: Volume,
    labels: Volume,
    sections: Sequence[int],
    folder: Path,
    settings: RunSettings,
    *,
    base_name: str,
    start_from: Path | None,
    voxel_size_nm: VoxelSize | None,
) -> Lesson:
    """Put the finished sections into files, in which only they stand.

    Raises
    ------
    InputError
        No section is finished, or none of them holds an object.
    """
    if not sections:
        raise InputError("no section is finished; outline all objects of one and finish it first")
    if not any(labels.section(z).any() for z in sections):
        raise InputError("the finished sections hold no object; there is nothing to teach with")
    lesson = Lesson(
        images=folder / "images.tif",
        labels=folder / "labels.tif",
        num_sections=len(sections),
        out=folder / "run",
        settings=override_settings(settings, [f'model.name="{base_name}"']),
        start_from=start_from,
        voxel_size_nm=voxel_size_nm,
    )
    for path, volume in ((lesson.images, images), (lesson.labels, labels)):
        write_sections_tiff(
            path,
            (np.ascontiguousarray(volume.section(z)) for z in sections),
            shape_zyx=(len(sections), *volume.shape_zyx[1:]),
            dtype=volume.dtype,
        )
    return lesson


def run_lesson(lesson: Lesson, work: Work) -> Path | None:
    """The run that was taught, in a child process; None if it was stopped.

    Raises
    ------
    MitosamError
        What went wrong there.
    """
    # Spawned, as a fork would inherit threads and their locks in whatever state they are.
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    child = context.Process(target=_child, args=(there, lesson), daemon=True, name="teaching")
    child.start()
    there.close()
    try:
        return _follow(here, work)
    finally:
        _end(child)
        here.close()


def _follow(connection: Connection, work: Work) -> Path | None:
    """Pass on what the child says until it ends or is to be stopped."""
    while not work.stopped():
        try:
            if not connection.poll(POLL_S):
                continue
            kind, value = connection.recv()
        except EOFError:
            raise InputError("teaching ended without a result; is there enough memory?") from None
        if kind == "done":
            return Path(value)
        if kind == "error":
            raise InputError(value)
        work.report(*value)
    return None


def _end(child: multiprocessing.process.BaseProcess) -> None:
    child.terminate()
    child.join(GRACE_S)
    if child.is_alive():
        child.kill()
        child.join()


def _child(connection: Connection, lesson: Lesson) -> None:
    """Teach, and say what comes of it; as unhurried as the thread that began it."""
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    try:
        connection.send(("done", str(_teach(lesson, _Told(connection)))))
    except MitosamError as error:
        connection.send(("error", str(error)))
    except Exception as error:
        log.exception("teaching failed")
        connection.send(("error", f"{type(error).__name__}: {error}"))


def _end_with_parent(parent: int) -> None:
    """A killed parent cannot end its children."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _teach(lesson: Lesson, told: _Told) -> Path:
    from mitosam.workflows.prepare import Sources
    from mitosam.workflows.teach import teach, teaching_settings

    sources = Sources(images=lesson.images, masks=lesson.labels, voxel_size_nm=lesson.voxel_size_nm)
    run = teach(
        sources,
        lesson.out,
        teaching_settings(lesson.settings, lesson.num_sections),
        start_from=lesson.start_from,
        progress=told,
    )
    return run.folder


class _Told:
    """Progress that goes through a pipe, a few times a second."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def track(
        self,
        items: Iterable[T],
        description: str,
        *,
        total: int | None = None,
        unit: str = "it",  # noqa: ARG002
    ) -> Iterator[T]:
        """The items one by one, each told of when the next is asked for."""
        if total is None and isinstance(items, Sized):
            total = len(items)
        last = 0.0
        for done, item in enumerate(items):
            if time.monotonic() - last >= POLL_S:
                last = time.monotonic()
                self._connection.send(("progress", (done, total or 0, description)))
            yield item
        if total:
            self._connection.send(("progress", (total, total, description)))

    def say(self, message: str) -> None:
        """Nothing: there is nobody to read it."""
