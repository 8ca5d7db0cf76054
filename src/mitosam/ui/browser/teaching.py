"""Teaching the model again from finished sections, and choosing between the old and the new."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np
from jaxtyping import Int
from nicegui import background_tasks
from nicegui.element import Element

from mitosam.errors import MitosamError
from mitosam.ui.browser.dialogs import dialog
from mitosam.ui.browser.pictures import overlaid, png_address
from mitosam.ui.browser.scene import Scene
from mitosam.ui.browser.widgets import Button, box, say, word
from mitosam.ui.session.session import Session
from mitosam.ui.session.snapshot import Comparison


class TeachDialog:
    """Starts the teaching, and shows what came of it beside what there was."""

    def __init__(self, session: Session, *, refused: Callable[[str], None]) -> None:
        self._session = session
        self._refused = refused
        self._z = 0
        with dialog("Teach the model") as self._dialog:
            self._text = word("", "p").style("max-width: 460px")
            with box("m-end"):
                Button("Cancel", title="Close", on_click=self._dialog.close)
                self._go = Button("Teach", title="Start", on_click=self._start, kind="main")
        with dialog("Old model and new model") as self._choice:
            self._where = word("", "p", "m-soft")
            self._sides = box("m-sides")
            with box("m-end"):
                Button("Later", title="Close and decide later", on_click=self._choice.close)
                Button("Keep the old", title="Forget the new model",
                       on_click=lambda: self._decide(session.keep_model))  # fmt: skip
                Button("Use the new", title="Work on with the new model", kind="main",
                       on_click=lambda: self._decide(session.switch_model))  # fmt: skip

    def show(self, scene: Scene) -> None:
        """Say what there is to learn from."""
        self._z = scene.snapshot.z
        count = len(scene.snapshot.finished)
        say(
            self._text,
            f"The model learns from the {count} finished section{'' if count == 1 else 's'}: "
            "everything on them counts as right, and what is not outlined as background. It goes "
            "on in the background; then old and new are shown side by side, and you choose."
            if count
            else "Mark sections as finished first (D): when everything on them is outlined. The "
            "model learns from those.",
        )
        self._go.show(enabled=count > 0)

    def open(self) -> None:
        """Ask."""
        self._dialog.open()

    def _start(self) -> None:
        self._dialog.close()
        self._do(lambda: self._session.teach(show=self._z))

    def compare(self) -> None:
        """Show old and new side by side."""
        comparison = self._session.comparison()
        if comparison is not None:
            background_tasks.create(self._draw(comparison), name="compare")

    async def _draw(self, comparison: Comparison) -> None:
        def pictures() -> list[str]:
            image = self._session.image(comparison.z)
            nothing = np.zeros(image.shape, np.int32)
            both = (nothing if comparison.old is None else comparison.old, comparison.new)
            return [png_address(overlaid(image, ids)) for ids in both]

        addresses = await asyncio.to_thread(pictures)
        say(self._where, f"Section {comparison.z + 1}, which neither of them has learned from.")
        self._sides.clear()
        with self._sides:
            for name, ids, address in zip(
                ("Old", "New"), (comparison.old, comparison.new), addresses, strict=True
            ):
                with Element("figure"):
                    word(f"{name}: {_found(ids)}", "figcaption")
                    picture = Element("img")
                    picture.props["src"], picture.props["alt"] = address, f"{name} model's objects"
        self._choice.open()

    def _decide(self, decide: Callable[[], None]) -> None:
        self._choice.close()
        self._do(decide)

    def _do(self, work: Callable[[], None]) -> None:
        """Do what takes a while: copying sections, or loading a model."""
        background_tasks.create(self._in_thread(work), name="teaching")

    async def _in_thread(self, work: Callable[[], None]) -> None:
        try:
            await asyncio.to_thread(work)
        except MitosamError as error:
            self._refused(str(error))


def _found(ids: Int[np.ndarray, "height width"] | None) -> str:
    """How many objects there are; a base model finds none by itself."""
    if ids is None:
        return "a base model, which finds nothing by itself"
    count = len(np.unique(ids[ids > 0]))
    return f"{count} object{'' if count == 1 else 's'}"
