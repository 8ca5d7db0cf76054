"""Masks for prompts at once: sections are embedded ahead of the user, and prompts decoded on them.

tiles = SectionTiles(sam, cache, read, volume.shape_zyx, tile_px=512)
prompter, embedder = SectionPrompter(sam, tiles), Embedder(tiles)
embedder.focus(z)                         # now, and whenever the user moves
prompter.candidates(z, prompt)            # waits for one tile at most
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Bool, Float

from mitosam.errors import MitosamError
from mitosam.geometry import Window
from mitosam.inference.section_masks import PlacedPrediction, SectionMasks
from mitosam.models.promptable import Promptable
from mitosam.prompts import Prompts
from mitosam.ui.session.assistant import FoundMask
from mitosam.ui.session.jobs import step_back
from mitosam.ui.session.tiles import SectionTiles

log = logging.getLogger(__name__)

DUPLICATE_IOU = 0.95
"""IoU above which of two candidates only the first is shown."""
MAX_EARLIER = 64
"""Answers of a section that are kept for the next click on an object, of 256 kB each."""
REACH = 8
"""Sections to each side of the user's that are embedded ahead."""


class SectionPrompter:
    """Masks for prompts on any section of a volume, those of `mitosam predict` to the bit."""

    def __init__(self, sam: Promptable, tiles: SectionTiles) -> None:
        self._sam = sam
        self._tiles = tiles
        # Two tabs that decode at the same time would slow each other down.
        self._decoding = threading.Lock()
        self._earlier: tuple[int, dict[bytes, np.ndarray]] = -1, {}

    def candidates(self, z: int, prompt: Prompts) -> tuple[FoundMask, ...]:
        """The masks of the first prompt on section `z`, none of them empty.

        First the single mask (the one that fine-tuning teaches), then SAM's three; of two that
        are almost the same only the first.

        Raises
        ------
        InputError
            The prompt lies outside the section.
        """
        masks = self._masks(z)
        prompt.check_inside(masks.shape_yx)
        self._tiles.tile(z, masks.window_of(prompt))  # before the lock, as it may be encoded now
        with self._decoding:
            (placed,) = masks.predict(prompt.subset(0, 1), "all")
        found = placed.prediction.masks
        crops = (_crop(placed, number) for number in _distinct(found))
        return tuple(crop for crop in crops if crop is not None)

    def batch(self, z: int, boxes_xyxy: Float[np.ndarray, "P 4"]) -> list[FoundMask | None]:
        """The single mask of each of many boxes; None where it is empty.

        Raises
        ------
        InputError
            A box lies outside the section.
        """
        if not len(boxes_xyxy):
            return []
        with self._decoding:
            placed = self._masks(z).predict(Prompts(boxes_xyxy=boxes_xyxy), "single")
        return [_crop(one, 0) for one in placed]

    def _masks(self, z: int) -> SectionMasks:
        known_z, earlier = self._earlier
        if known_z != z or len(earlier) >= MAX_EARLIER:
            earlier = {}
            self._earlier = z, earlier
        return SectionMasks(
            model=self._sam,
            shape_yx=self._tiles.shape_yx,
            tile_px=self._tiles.tile_px,
            tile=partial(self._tiles.tile, z),
            earlier=earlier,
        )


def _distinct(masks: Bool[np.ndarray, "M h w"]) -> list[int]:
    """The masks that are not near copies of an earlier one."""
    kept: list[int] = []
    for number, mask in enumerate(masks):
        if not any(_are_alike(mask, masks[other]) for other in kept):
            kept.append(number)
    return kept


def _are_alike(first: Bool[np.ndarray, "h w"], second: Bool[np.ndarray, "h w"]) -> bool:
    common, union = int((first & second).sum()), int((first | second).sum())
    return common > DUPLICATE_IOU * union


def _crop(placed: PlacedPrediction, number: int) -> FoundMask | None:
    mask = placed.prediction.masks[number]
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return None
    y, x = int(rows[0]), int(columns[0])
    cropped = mask[y : rows[-1] + 1, x : columns[-1] + 1].copy()  # the tile need not be kept
    return FoundMask(
        window=Window(placed.window.y + y, placed.window.x + x, *cropped.shape),
        mask=cropped,
        score=float(placed.prediction.iou_predictions[number]),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingState:
    """How far the section is that the user looks at, and what went wrong."""

    z: int
    done: int
    total: int
    """Tiles of the section."""
    running: bool
    """Whether anything is left to embed, of this section or ahead."""
    eta_s: float | None
    """Seconds until the section is embedded."""
    error: str | None


class Embedder:
    """A thread that embeds the section the user looks at, then those around it.

    `changed` is called from that thread after each tile. An error is kept for its section, which is
    tried again when the user comes back to it.
    """

    def __init__(
        self,
        tiles: SectionTiles,
        *,
        reach: int = REACH,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._tiles = tiles
        self._reach = reach
        self._changed = changed
        self._news = threading.Condition()
        self._focus: int | None = None
        self._step = 1
        self._errors: dict[int, Exception] = {}
        self._tile_s: float | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="mitosam embedder", daemon=True)
        self._thread.start()

    def focus(self, z: int) -> None:
        """Embed section `z` next, then its neighbours, first those in the direction of the move."""
        with self._news:
            if self._focus is not None and z != self._focus:
                self._step = 1 if z > self._focus else -1
            self._focus = z
            self._errors.pop(z, None)
            self._news.notify_all()

    def wait(self, z: int, timeout_s: float | None = None) -> bool:
        """Focus on section `z` and wait until it is embedded; whether it is.

        Raises
        ------
        Exception
            What went wrong with that section.
        """
        self.focus(z)
        with self._news:
            self._news.wait_for(lambda: self._is_settled(z), timeout_s)
            if z in self._errors:
                raise self._errors[z]
        return self._tiles.is_embedded(z)

    def embedded_sections(self) -> frozenset[int]:
        """The sections that are embedded as a whole, as far as they were looked at."""
        return self._tiles.embedded_sections()

    def state(self) -> EmbeddingState | None:
        """Where it is; None before the first focus."""
        with self._news:
            z = self._focus
            if z is None:
                return None
            done, total = self._tiles.num_embedded(z), len(self._tiles.windows)
            error = self._errors.get(z) or next(iter(self._errors.values()), None)
            return EmbeddingState(
                z=z,
                done=done,
                total=total,
                running=not self._closed and self._next() is not None,
                eta_s=None if self._tile_s is None else (total - done) * self._tile_s,
                error=None if error is None else str(error),
            )

    def close(self) -> None:
        """Stop after the tile that is being encoded, and wait for that."""
        with self._news:
            self._closed = True
            self._news.notify_all()
        self._thread.join()
        self._tiles.trim()

    def _is_settled(self, z: int) -> bool:
        return self._closed or z in self._errors or self._tiles.is_embedded(z)

    def _run(self) -> None:
        step_back()
        while (job := self._wait_for_job()) is not None:
            z, window = job
            error = self._embed(z, window)
            with self._news:
                if error is not None:
                    self._errors[z] = error
                self._news.notify_all()
            self._changed()

    def _embed(self, z: int, window: Window) -> Exception | None:
        started = time.monotonic()
        try:
            if self._tiles.embed(z, window):
                self._tile_s = time.monotonic() - started
        except Exception as error:
            is_known = isinstance(error, MitosamError)
            log.warning("section %d is not embedded: %s", z, error, exc_info=not is_known)
            return error
        return None

    def _wait_for_job(self) -> tuple[int, Window] | None:
        """The next tile to embed; None to end."""
        with self._news:
            job = None
            while not self._closed and (job := self._next()) is None:
                self._news.wait()
            return None if self._closed else job

    def _next(self) -> tuple[int, Window] | None:
        for z in self._order():
            if z not in self._errors:
                for window in self._tiles.windows:
                    if not self._tiles.is_embedded(z, window):
                        return z, window
        return None

    def _order(self) -> Iterator[int]:
        """The sections to embed: the user's own first, then ever farther ones."""
        if self._focus is None:
            return
        yield self._focus
        for distance in range(1, self._reach + 1):
            for z in (self._focus + self._step * distance, self._focus - self._step * distance):
                if 0 <= z < self._tiles.shape_zyx[0]:
                    yield z
