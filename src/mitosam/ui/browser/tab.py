"""One page without a browser: what each message does, and what is then to be seen."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Literal

from mitosam.errors import InputError
from mitosam.ui.browser.messages import (
    AnyMessage,
    BoxMessage,
    CommandMessage,
    GoMessage,
    LassoMessage,
    PickMessage,
    PointMessage,
    SelectMessage,
    WordsMessage,
)
from mitosam.ui.browser.scene import LookAt, Scene
from mitosam.ui.session.session import Session
from mitosam.ui.session.snapshot import ObjectInfo
from mitosam.ui.session.view import AcceptMode

Tool = Literal["point", "box", "lasso", "select", "split"]


class Tab:
    """A view with a tool, perhaps several selected objects, and places at which to split one.

    `perform` belongs to one thread at a time; `scene` may be asked for from another meanwhile.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.view = session.view()
        self.tool: Tool = "point"
        self.carry_count = 1
        self.answered = 0
        self._before_split: Tool = "select"
        self._more: tuple[int, ...] = ()
        self._cuts: tuple[tuple[float, float], ...] = ()
        self._look_at: LookAt | None = None
        self._numbers = itertools.count(1)
        self._version = 0
        self._shown: tuple[int, tuple[ObjectInfo, ...]] | None = None
        self._drawing = threading.Lock()

    def perform(self, message: AnyMessage) -> str | None:
        """Do what a message asks for; the result is a sentence for the user, if there is any.

        Raises
        ------
        MitosamError
            It cannot be done; nothing was changed.
        """
        try:
            return self._perform(message)
        finally:
            self.answered = max(self.answered, message.serial)

    def _perform(self, message: AnyMessage) -> str | None:
        match message:
            case PointMessage(x=x, y=y, positive=positive):
                self.view.add_point(x, y, positive=positive)
            case BoxMessage():
                self.view.set_box(message.x0, message.y0, message.x1, message.y1)
            case LassoMessage():
                self.view.set_lasso([(corner[0], corner[1]) for corner in message.corners])
            case SelectMessage(x=x, y=y, more=more):
                self._select(x, y, more=more)
            case PickMessage():
                self._pick(message.id, more=message.more)
            case GoMessage(z=z):
                self._go(z)
            case WordsMessage(text=text):
                return self._words(text)
            case CommandMessage(name=name):
                return self._run(name)
        return None

    def scene(self) -> Scene:
        """What is to be seen now."""
        with self._drawing:
            number, answered = next(self._numbers), self.answered
            mask, snapshot = self.view.draft_mask(), self.view.snapshot()
            shown = snapshot.z, snapshot.objects
            if shown != self._shown:
                self._shown, self._version = shown, self._version + 1
            return Scene(
                number=number,
                answered=answered,
                version=self._version,
                snapshot=snapshot,
                tool=self.tool,
                selected=self._selected(snapshot.selected),
                cuts=self._cuts,
                mask=mask,
                look_at=self._look_at,
            )

    def _selected(self, first: int | None) -> tuple[int, ...]:
        return () if first is None else (first, *self._more)

    def _go(self, z: int) -> None:
        self.view.go(z)
        self._leave_split()

    def _select(self, x: float, y: float, *, more: bool) -> None:
        if self.tool == "split":
            self._cuts = (*self._cuts, (x, y))
        else:
            self._pick(self.session.id_at(self.view.z, x, y), more=more)

    def _pick(self, object_id: int, *, more: bool) -> None:
        """Select an object, or with `more` one beside those selected, or one of these no longer."""
        before = self._selected(self._first)
        if not more:
            chosen: tuple[int, ...] = (object_id,) if object_id else ()
        elif object_id in before:
            chosen = tuple(one for one in before if one != object_id)
        else:
            chosen = (*before, object_id) if object_id else before
        self.view.select_id(chosen[0] if chosen else None)
        self._more = chosen[1:]

    @property
    def _first(self) -> int | None:
        return self.view.snapshot().selected

    def _words(self, text: str) -> str:
        if not text.strip():
            raise InputError("type a word, such as mitochondria")
        return self.view.ask(text)

    def _run(self, name: str) -> str | None:
        if name.startswith("tool-"):
            self._leave_split()
            self.tool = name.removeprefix("tool-")  # type: ignore[assignment]  # commands are known
        elif name.startswith("choose-"):
            self.view.choose(int(name.removeprefix("choose-")) - 1)
        else:
            doing = self._doings().get(name)
            if doing is None:
                raise InputError(f"{name} is nothing that this page does")
            return doing()
        return None

    def _doings(self) -> dict[str, Callable[[], str | None]]:
        view = self.view
        last = self.session.shape_zyx[0] - 1
        return {
            "accept": self._accept,
            "add": lambda: self._keep("add"),
            "cut": lambda: self._keep("cut"),
            "clear": self._clear,
            "erase": lambda: self._erase(everywhere=False),
            "erase-all": lambda: self._erase(everywhere=True),
            "merge": self._merge,
            "split": self._split,
            "carry-next": lambda: self._carry(1),
            "carry-previous": lambda: self._carry(-1),
            "next-uncertain": self._next_uncertain,
            "accept-proposed": lambda: self._judge(self.session.accept),
            "reject-proposed": lambda: self._judge(self.session.reject),
            "finish": self._finish,
            "next": lambda: self._step(1),
            "previous": lambda: self._step(-1),
            "next-10": lambda: self._step(10),
            "previous-10": lambda: self._step(-10),
            "first": lambda: self._go(0),
            "last": lambda: self._go(last),
            "undo": lambda: view.undo(),
            "redo": lambda: view.redo(),
        }

    def _step(self, count: int) -> None:
        self.view.step(count)
        self._leave_split()

    def _accept(self) -> None:
        """The one thing that waits to be accepted: a split, an outline, or a proposal."""
        if self.tool == "split":
            self._do_split()
        elif self.view.draft_mask() is None and self._proposed_selected():
            self.session.accept(self._proposed_selected())
        else:
            self._keep("new")

    def _keep(self, mode: AcceptMode) -> None:
        self.view.accept(mode)
        if mode == "new":
            self._more = ()

    def _clear(self) -> None:
        snapshot = self.view.snapshot()
        if self.tool == "split":
            self._leave_split()
        elif snapshot.draft.points or snapshot.draft.box_xyxy or snapshot.draft.lasso_xy:
            self.view.clear()
        else:
            self._pick(0, more=False)

    def _must_select(self) -> tuple[int, ...]:
        selected = self._selected(self._first)
        if not selected:
            raise InputError("select an object first: V, then click on it")
        return selected

    def _erase(self, *, everywhere: bool) -> None:
        chosen = self._must_select()
        proposed = self._proposed_selected()
        if proposed:
            self.session.reject(proposed)
        for one in chosen:
            if one not in proposed:
                self.session.erase(one, z=None if everywhere else self.view.z)
        self._pick(0, more=False)

    def _merge(self) -> None:
        chosen = self._must_select()
        self.session.merge(chosen)
        self._more = ()

    def _split(self) -> str | None:
        if self.tool == "split":
            self._do_split()
            return None
        chosen = self._must_select()
        if len(chosen) > 1:
            raise InputError(f"one object is split at a time, {len(chosen)} are selected")
        self._before_split, self.tool = self.tool, "split"
        return "Click into each part of the object, then press Enter; Esc leaves it whole"

    def _do_split(self) -> None:
        (object_id, *_) = self._must_select()
        z = self.view.z
        self.session.split(object_id, [(z, int(y), int(x)) for x, y in self._cuts])
        self._leave_split()

    def _leave_split(self) -> None:
        self._cuts = ()
        if self.tool == "split":
            self.tool = self._before_split

    def _carry(self, step: Literal[1, -1]) -> str | None:
        (object_id, *_) = self._must_select()
        carried = self.session.carry(object_id, self.view.z, step=step, count=self.carry_count)
        if carried.sections:
            self.view.go(carried.sections[-1])
        return carried.stopped

    def _finish(self) -> None:
        z = self.view.z
        self.session.finish(z, finished=z not in self.session.finished())

    def _proposed_selected(self) -> tuple[int, ...]:
        chosen = self._selected(self._first)
        return tuple(one.id for one in self._proposed(self.view.z) if one.id in chosen)

    def _proposed(self, z: int) -> list[ObjectInfo]:
        """A section's proposed objects, the uncertain ones first."""
        return [one for one in self.session.objects(z) if one.state == "proposed"]

    def _judge(self, verdict: Callable[[tuple[int, ...]], object]) -> str | None:
        """Accept or reject what is selected, then select what stood after it."""
        chosen = self._proposed_selected()
        if not chosen:
            raise InputError("select a proposed object first: U goes to the next one")
        before = [one.id for one in self._proposed(self.view.z)]
        verdict(chosen)
        self._pick(0, more=False)
        after = before[before.index(chosen[-1]) + 1 :]
        return self._show_first([one for one in self._proposed(self.view.z) if one.id in after])

    def _next_uncertain(self) -> str | None:
        here = self._proposed(self.view.z)
        ids = [one.id for one in here]
        start = ids.index(self._first) + 1 if self._first in ids else 0
        return self._show_first(here[start:])

    def _show_first(self, here: list[ObjectInfo]) -> str | None:
        """Show the first of these, or else of what is proposed on other sections, or again here."""
        for z, one in itertools.chain(((self.view.z, one) for one in here), self._elsewhere()):
            if z != self.view.z:
                self._go(z)
            self._pick(one.id, more=False)
            number = self._look_at.number + 1 if self._look_at else 1
            self._look_at = LookAt(number=number, box_xyxy=one.box_xyxy)
            return None
        return "Nothing is proposed on any section"

    def _elsewhere(self) -> Iterator[tuple[int, ObjectInfo]]:
        """The first proposal of each section, from the next one round to this one."""
        here = self.view.z
        for z in sorted(self.session.annotated(), key=lambda z: (z <= here, z)):
            for one in self._proposed(z)[:1]:
                yield z, one
