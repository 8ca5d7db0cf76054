"""All mitochondria of some sections, found in the background for a user to correct."""

from __future__ import annotations

import logging
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Int, Int32, UInt8

from mitosam.errors import InputError, MitosamError, SettingsError
from mitosam.inference.instances import InstanceSettings
from mitosam.inference.map_store import MapStore, sections_per_block
from mitosam.ui.session.jobs import JobProgress, Stopped, Work, step_back
from mitosam.ui.session.tiles import ReadSection
from mitosam.workflows.automatic import Method, Segmenter

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentedSection:
    """What was found on one section; an id is one mitochondrion in all sections of its range.

    `confidences` holds for each id the mean probability of its pixels on this section, in [0, 1].
    """

    z: int
    labels: Int32[np.ndarray, "height width"]
    confidences: dict[int, float]


class SectionSegmenter:
    """The automatic methods of one model on ranges of sections, one range at a time.

    `read` gives sections in 0 to 255. `changed` is called from the working thread as it goes on.
    Maps and labels on their way are in a temporary folder within `scratch`, so that memory does not
    grow with the number of sections.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        read: ReadSection,
        shape_zyx: tuple[int, int, int],
        *,
        scratch: Path | None = None,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._segmenter = segmenter
        self._read = read
        self._shape_zyx = shape_zyx
        self._scratch = scratch
        self._changed = changed
        self._progress = JobProgress(changed)
        self._thread: threading.Thread | None = None
        self._error: str | None = None

    def start(
        self,
        sections: range,
        take: Callable[[SegmentedSection], None],
        *,
        method: Method | Literal["auto"] = "auto",
    ) -> Method:
        """Segment consecutive sections; the method that does.

        `take` is given each section in turn, from the working thread, once all are labelled. A stop
        before that leaves nothing.

        Raises
        ------
        ModelError
            The method needs a head, and the model has none.
        SettingsError
            The last range is not done yet.
        InputError
            There are no such sections.
        """
        if self.running:
            raise SettingsError("sections are being segmented; wait for them, or stop that first")
        depth = self._shape_zyx[0]
        if not sections or sections.step != 1 or sections.start < 0 or sections.stop > depth:
            raise InputError(
                f"sections must follow each other and lie in 0 to {depth - 1}, got {sections}"
            )
        chosen = self._segmenter.choose(method)
        self._error = None
        self._progress = JobProgress(self._changed)
        self._thread = threading.Thread(
            target=self._run, args=(sections, chosen, take), name="mitosam segmenter", daemon=True
        )
        self._thread.start()
        return chosen

    @property
    def running(self) -> bool:
        """Whether it is at work."""
        return self._thread is not None and self._thread.is_alive()

    def state(self) -> Work | None:
        """Where it is; None before the first start."""
        if self._thread is None:
            return None
        return self._progress.work(running=self.running, error=self._error)

    def stop(self) -> None:
        """Stop before the next section."""
        self._progress.stop()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the end of the work; whether it has ended."""
        if self._thread is not None:
            self._thread.join(timeout_s)
        return not self.running

    def close(self) -> None:
        """Stop, and wait for the section that is being segmented."""
        self.stop()
        self.wait()

    def _run(
        self, sections: range, method: Method, take: Callable[[SegmentedSection], None]
    ) -> None:
        step_back()
        try:
            with tempfile.TemporaryDirectory(prefix="mitosam-", dir=self._scratch) as folder:
                self._segment(Path(folder), sections, method, take)
        except Stopped:
            log.info("segmenting was stopped")
        except Exception as error:
            is_known = isinstance(error, MitosamError)
            log.warning("segmenting failed: %s", error, exc_info=not is_known)
            self._error = str(error) or type(error).__name__
        self._changed()

    def _segment(
        self,
        folder: Path,
        sections: range,
        method: Method,
        take: Callable[[SegmentedSection], None],
    ) -> None:
        depth, height, width = self._shape_zyx
        store = MapStore(
            folder, len(sections), sections_per_block=sections_per_block((height, width))
        )
        compute = self._segmenter.mapper(method, self._read, depth)
        title = f"segmenting ({method})"
        store.fill(lambda index: compute(sections[index]), title=title, progress=self._progress)
        settings = self._settings(method, sections)
        found = store.label(settings, self._progress)
        found = chain([next(found)], found)  # instances are found before the first is handed out
        tracked = self._progress.track(
            zip(sections, found, strict=True), "taking over", total=len(sections)
        )
        for z, labels in tracked:
            foreground = store.foreground(z - sections.start, settings.z_radius)
            take(
                SegmentedSection(
                    z=z,
                    labels=labels.astype(np.int32),
                    confidences=mean_probabilities(labels, foreground),
                )
            )

    def _settings(self, method: Method, sections: range) -> InstanceSettings:
        """As `mitosam segment` chooses them, for a volume of these sections."""
        settings = self._segmenter.info.settings_of(method)
        return settings if len(sections) > 1 else settings.for_one_section()


def mean_probabilities(
    labels: Int[np.ndarray, "height width"], foreground: UInt8[np.ndarray, "height width"]
) -> dict[int, float]:
    """The mean foreground, 0 to 255 read as 0 to 1, of each label's pixels.

    >>> mean_probabilities(np.array([[0, 3, 3]]), np.array([[9, 255, 153]], np.uint8))
    {3: 0.8}
    """
    ids, places = np.unique(labels, return_inverse=True)
    sizes = np.bincount(places.ravel())
    sums = np.bincount(places.ravel(), weights=foreground.ravel())
    means = sums / sizes / 255
    return {int(i): float(mean) for i, mean in zip(ids, means, strict=True) if i}
