"""What a face draws: frozen values, made anew after each change."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jaxtyping import Int
from numpy import ndarray

State = Literal["accepted", "proposed"]
JobKind = Literal["segment", "teach"]
PointXY = tuple[float, float]
BoxXYXY = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectInfo:
    """One object on one section.

    `box_xyxy` holds whole pixels. A proposed object is one that the automatic method found and
    nobody has looked at; `confidence` is the method's, in 0 to 1.
    """

    id: int
    z: int
    area_px: int
    box_xyxy: tuple[int, int, int, int]
    state: State = "accepted"
    confidence: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One mask among which to choose: SAM's with its predicted IoU, or the drawn outline itself."""

    kind: Literal["sam", "drawn"]
    area_px: int
    score: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftState:
    """The object being outlined: its prompts, and the masks they give.

    A point is x, y and whether it marks the object; `chosen` counts candidates from 0.
    """

    points: tuple[tuple[float, float, bool], ...] = ()
    box_xyxy: BoxXYXY | None = None
    lasso_xy: tuple[PointXY, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    chosen: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobState:
    """Something that goes on in the background, or went on.

    `stage` says what it is at; `done`, `total` and `eta_s` are the stage's.
    """

    kind: JobKind
    title: str
    stage: str = ""
    done: int = 0
    total: int | None = None
    running: bool = True
    error: str | None = None
    eta_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What the model in use and a newly taught one find on a section that did not teach it.

    `old` is None where the model in use finds nothing by itself.
    """

    z: int
    old: Int[ndarray, "height width"] | None
    new: Int[ndarray, "height width"]
    new_model: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything one tab shows, but for pixels.

    Sections count from 0. Proposed objects stand first, the uncertain ones before the certain.
    `revision` grows with every change of the session; equal revisions of one tab show the same.
    """

    revision: int
    name: str
    model: str
    z: int
    num_sections: int
    shape_yx: tuple[int, int]
    objects: tuple[ObjectInfo, ...]
    selected: int | None
    draft: DraftState
    undo_title: str | None
    redo_title: str | None
    finished: frozenset[int]
    annotated: frozenset[int]
    embedded: frozenset[int]
    jobs: tuple[JobState, ...]
    message: str | None
    comparison: Comparison | None = None

    @property
    def can_undo(self) -> bool:
        """Whether there is a prompt or an edit to take back."""
        return self.undo_title is not None

    @property
    def can_redo(self) -> bool:
        """Whether there is an edit to make again."""
        return self.redo_title is not None
