"""One tab, or one viewer: the section it shows, what is being outlined there, and the selection."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Bool

from mitosam.errors import InputError, MitosamError
from mitosam.geometry import Window
from mitosam.ui.session.draft import Draft, Lasso
from mitosam.ui.session.snapshot import Candidate, DraftState, PointXY, Snapshot

if TYPE_CHECKING:
    from mitosam.ui.session.session import Session

AcceptMode = Literal["new", "add", "cut"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateMask:
    """A candidate with its pixels: those inside `window`."""

    shown: Candidate
    window: Window
    mask: Bool[np.ndarray, "h w"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outline:
    """The draft with its candidates, replaced as one so that no face sees half of it."""

    draft: Draft
    candidates: tuple[CandidateMask, ...] = ()
    chosen: int | None = None


class View:
    """What one user looks at. Prompts are answered in the order in which they come.

    Sections count from 0. What is being outlined belongs to the section shown and goes when another
    one is shown.
    """

    def __init__(self, session: Session, z: int) -> None:
        session.check_section(z)
        self.session = session
        self.z = z
        self.message: str | None = session.remark or None
        self._selected: int | None = None
        self._outline = self._nothing()
        self._in_turn = threading.RLock()

    def go(self, z: int) -> None:
        """Show another section.

        Raises
        ------
        InputError
            There is no such section.
        """
        self.session.check_section(z)
        with self._in_turn:
            self.z = z
            self._outline = self._nothing()
        self.session.look_at(z)

    def step(self, count: int) -> None:
        """Show the section `count` further on, or the last there is in that direction."""
        self.go(min(max(self.z + count, 0), self.session.shape_zyx[0] - 1))

    def add_point(self, x: float, y: float, *, positive: bool = True) -> None:
        """Point at the object, or at what is not the object."""
        with self._in_turn:
            self._ask(self._outline.draft.with_point(x, y, positive=positive))

    def set_box(self, x0: float, y0: float, x1: float, y1: float) -> None:
        """Put a box round the object."""
        with self._in_turn:
            self._ask(self._outline.draft.with_box(x0, y0, x1, y1))

    def set_lasso(self, corners_xy: Sequence[PointXY]) -> None:
        """Draw round the object; what was drawn is a candidate too, and chosen at first."""
        with self._in_turn:
            self._ask(self._outline.draft.with_lasso(tuple(corners_xy)))

    def undo_prompt(self) -> None:
        """Take back the last prompt."""
        with self._in_turn:
            self._ask(self._outline.draft.without_last())

    def clear(self) -> None:
        """Take back all prompts."""
        with self._in_turn:
            self._outline = self._nothing()

    def choose(self, candidate: int) -> None:
        """Choose among the candidates, which count from 0."""
        with self._in_turn:
            if not 0 <= candidate < len(self._outline.candidates):
                raise InputError(
                    f"there are {len(self._outline.candidates)} candidates, got {candidate + 1}"
                )
            self._outline = replace(self._outline, chosen=candidate)

    def draft_mask(self) -> tuple[int, int, Bool[np.ndarray, "h w"]] | None:
        """The chosen candidate: the corner y, x of its box, and its pixels; None without one."""
        outline = self._outline
        if outline.chosen is None:
            return None
        chosen = outline.candidates[outline.chosen]
        return chosen.window.y, chosen.window.x, chosen.mask

    def accept(self, mode: AcceptMode = "new") -> int:
        """Make the chosen candidate a new object, or add it to the selected one, or cut it from it.

        The result is the object's id. Pixels of other objects stay theirs.
        """
        with self._in_turn:
            mask = self.draft_mask()
            if mask is None:
                raise InputError("there is nothing to accept; point at an object first")
            object_id = self._accept(mode, *mask)
            self._outline = self._nothing()
            self._selected = object_id
        return object_id

    def _accept(self, mode: AcceptMode, y: int, x: int, mask: Bool[np.ndarray, "h w"]) -> int:
        if mode == "new":
            return self.session.add(self.z, y, x, mask)
        if self._selected is None:
            raise InputError("select the object first")
        change = self.session.add_to if mode == "add" else self.session.cut_from
        change(self._selected, self.z, y, x, mask)
        return self._selected

    def select(self, x: float, y: float) -> int | None:
        """Select the object at a place; None if there is none."""
        self._selected = self.session.id_at(self.z, x, y) or None
        return self._selected

    def select_id(self, object_id: int | None) -> None:
        """Select an object wherever it is, or none."""
        self._selected = object_id

    def undo(self) -> None:
        """Take back the last prompt, or the last edit where nothing is being outlined."""
        with self._in_turn:
            if self._outline.draft.steps:
                self.undo_prompt()
            elif (edited := self.session.undo()) is not None:
                self._show_one_of(edited.sections)

    def redo(self) -> None:
        """Make the edit again that was taken back last."""
        with self._in_turn:
            if (edited := self.session.redo()) is not None:
                self._show_one_of(edited.sections)

    def ask(self, text: str) -> str:
        """Find what a word names on this section; the answer is a sentence."""
        self.message = self.session.ask(text, self.z)
        return self.message

    def snapshot(self) -> Snapshot:
        """Everything to show, but for pixels."""
        session, outline = self.session, self._outline
        last = len(outline.draft.steps)
        objects = session.objects(self.z)
        return Snapshot(
            revision=session.revision,
            name=session.volume.name,
            model=session.model_name,
            z=self.z,
            num_sections=session.shape_zyx[0],
            shape_yx=session.shape_zyx[1:],
            objects=objects,
            selected=self._selected,
            draft=_shown(outline),
            undo_title="prompt" if last else session.undo_title(),
            redo_title=session.redo_title(),
            finished=session.finished(),
            annotated=session.annotated(),
            embedded=session.embedded(),
            jobs=session.jobs(),
            message=self.message,
            comparison=session.comparison(),
        )

    def _nothing(self) -> _Outline:
        return _Outline(draft=Draft(self.session.shape_zyx[1:]))

    def _ask(self, draft: Draft) -> None:
        """Show the prompts at once, and their candidates when the model has answered."""
        before, self._outline = self._outline, replace(self._outline, draft=draft)
        try:
            candidates = self.session.candidates(self.z, draft)
        except MitosamError:
            self._outline = before
            raise
        drawn_last = bool(draft.steps) and isinstance(draft.steps[-1], Lasso)
        chosen = len(candidates) - 1 if drawn_last else 0
        self._outline = _Outline(
            draft=draft, candidates=candidates, chosen=chosen if candidates else None
        )

    def _show_one_of(self, sections: frozenset[int]) -> None:
        """Show what an edit changed."""
        if sections and self.z not in sections:
            self.go(min(sections, key=lambda z: abs(z - self.z)))


def _shown(outline: _Outline) -> DraftState:
    draft = outline.draft
    return DraftState(
        points=tuple((point.x, point.y, point.positive) for point in draft.points),
        box_xyxy=draft.box_xyxy,
        lasso_xy=draft.lasso_xy,
        candidates=tuple(one.shown for one in outline.candidates),
        chosen=outline.chosen,
    )
