"""A model that outlines discs: quick, exact, no torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mitosam.errors import InputError
from mitosam.geometry import Window
from mitosam.progress import SILENT
from mitosam.prompts import Prompts
from mitosam.ui.session.assistant import FoundMask, FoundObjects

SHAPE = (4, 120, 300)


def disc(z: int, y: float, x: float, radius: float) -> np.ndarray:
    """A disc on a section; the volume's discs do not depend on z."""
    ys, xs = np.mgrid[: SHAPE[1], : SHAPE[2]] + 0.5
    return (ys - y) ** 2 + (xs - x) ** 2 <= radius**2


class DiscAssistant:
    """A model for which every object is the largest disc in its box, or of 10 px round its point.

    What it is asked it notes in `asked`; on section 3 it finds nothing.
    """

    model_name = "discs"
    remark = ""
    origin = None

    def __init__(self) -> None:
        self.looked_at: list[int] = []
        self.closed = False

    def image(self, z: int) -> np.ndarray:
        return np.zeros(SHAPE[1:], np.uint8)

    def look_at(self, z: int) -> None:
        self.looked_at.append(z)

    def embedded(self) -> frozenset[int]:
        return frozenset(self.looked_at)

    def candidates(self, z: int, prompts: Prompts) -> Sequence[FoundMask]:
        if z == 3:
            return ()
        if prompts.boxes_xyxy is not None:
            x0, y0, x1, y1 = prompts.boxes_xyxy[0]
            centre, radius = ((y0 + y1) / 2, (x0 + x1) / 2), min(y1 - y0, x1 - x0) / 2
        else:
            x, y = prompts.points_xy[0, 0]
            centre, radius = (y, x), 10.0
        window = Window(0, 0, SHAPE[1], SHAPE[2])
        return [
            FoundMask(window=window, mask=disc(z, *centre, radius * scale), score=score)
            for scale, score in ((1.0, 0.9), (0.5, 0.7), (1.5, 0.4))
        ]

    def segment(self, sections: range, method: str, progress=SILENT) -> FoundObjects:
        labels = {}
        for z in progress.track(sections, "segmenting"):
            labels[z] = np.zeros(SHAPE[1:], np.int32)
            labels[z][disc(z, 30, 40, 12)] = 1
            labels[z][disc(z, 80, 200, 20)] = 2
        return FoundObjects(labels=labels, confidence={1: 0.9, 2: 0.6})

    def ask(self, text: str, z: int) -> FoundObjects:
        if text.strip() != "mitochondria":
            raise InputError(f"{text!r} is not understood; mitochondria is")
        return self.segment(range(z, z + 1), "auto")

    def close(self) -> None:
        self.closed = True
