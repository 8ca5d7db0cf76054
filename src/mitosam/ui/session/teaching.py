"""Teaching in a process of its own, so that prompting goes on meanwhile and a stop is a stop."""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import UInt8, UInt32

from mitosam.config import RunSettings, override_settings
from mitosam.data.splits import SplitSettings
from mitosam.errors import InputError, MitosamError
from mitosam.io.write import write_sections_tiff
from mitosam.ui.session.assistant import Origin
from mitosam.ui.session.jobs import Work
from mitosam.workflows.voxel_sizes import VoxelSize

T = TypeVar("T")
log = logging.getLogger(__name__)

POLL_S = 0.2
# How long a child may take to end by itself before it is killed.
GRACE_S = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What a model is taught with: as many images as labels, in files, and where it begins."""

    images: Path
    labels: Path
    num_sections: int
    out: Path
    settings: RunSettings
    origin: Origin
    voxel_size_nm: VoxelSize | None


def write_lesson(
    image: Callable[[int], UInt8[np.ndarray, "height width"]],
    labels: Callable[[int], UInt32[np.ndarray, "height width"]],
    sections: Sequence[int],
    folder: Path,
    settings: RunSettings,
    origin: Origin,
    voxel_size_nm: VoxelSize | None,
) -> Lesson:
    """Put the finished sections into files, in which only they stand.

    Images are as the model sees them. The last section, which may only choose the best step, is one
    that holds an object.

    Raises
    ------
    InputError
        No section is finished, or none of them holds an object.
    """
    if not sections:
        raise InputError("no section is finished; outline all objects of one and finish it first")
    ordered = sorted(sections, key=lambda z: (bool(labels(z).any()), z))
    if not labels(ordered[-1]).any():
        raise InputError("the finished sections hold no object; there is nothing to teach with")
    lesson = Lesson(
        images=folder / "images.tif",
        labels=folder / "labels.tif",
        num_sections=len(ordered),
        out=folder / "run",
        settings=_settings(settings, origin),
        origin=origin,
        voxel_size_nm=voxel_size_nm,
    )
    for path, read in ((lesson.images, image), (lesson.labels, labels)):
        first = read(ordered[0])
        write_sections_tiff(
            path,
            (np.ascontiguousarray(read(z)) for z in ordered),
            shape_zyx=(len(ordered), first.shape[0], first.shape[1]),
            dtype=first.dtype,
        )
    return lesson


def _settings(settings: RunSettings, origin: Origin) -> RunSettings:
    """As the tuned model was trained, on this machine and as quickly as the session is told."""
    here = {
        "cache": settings.cache,
        "teaching": settings.teaching,
        "model": settings.model,
        "split": SplitSettings(),  # the tuned model's was of another stack
    }
    if origin.trained is not None:
        seen = {"input_px": origin.trained.model.input_px}
        here["model"] = settings.model.model_copy(update=seen)
    trained = settings if origin.trained is None else origin.trained.model_copy(update=here)
    return override_settings(trained, [f'model.name="{origin.base_name}"', "head.enabled=true"])


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
    arguments = (there, lesson, os.getpid())
    child = context.Process(target=_child, args=arguments, daemon=True, name="teaching")
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


def _child(connection: Connection, lesson: Lesson, parent: int) -> None:
    """Teach, and say what comes of it; as unhurried as the thread that began it."""
    threading.Thread(target=_end_with_parent, args=(parent,), daemon=True).start()
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
        start_from=lesson.origin.weights,
        normalisation=lesson.origin.normalisation,
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
