"""The bar above, the tools beside, and the sections' bar below the picture."""

from __future__ import annotations

from collections.abc import Callable

from nicegui import ui

from mitosam.ui.browser.scene import Scene
from mitosam.ui.browser.viewer import Strip
from mitosam.ui.browser.widgets import Field, Run, box, command_button, say, word

TOOLS = (
    ("point", "add_circle_outline"),
    ("box", "highlight_alt"),
    ("lasso", "gesture"),
    ("select", "near_me"),
)


class TopBar:
    """What is open, the prompt of words, and what concerns the whole volume."""

    def __init__(self, run: Run, *, on_words: Callable[[str], object]) -> None:
        with box("m-top", "header"):
            word("mitosam", "span", "m-name")
            self._file = word("", "span", "m-file")
            box("m-grow")
            self.words = Field(
                title="What to look for on this section; press Enter",
                hint="Find, e.g. mitochondria  /",
                classes="m-words",
            )
            self.words.on_enter(on_words)
            command_button("segment", run, text="Segment", icon="auto_awesome", key="")
            command_button("teach", run, text="Teach", icon="school", key="")
            command_button("export", run, text="Export", icon="file_download", key="")
            box("m-rule")
            self._undo = command_button("undo", run, icon="undo", key="", kind="plain")
            self._redo = command_button("redo", run, icon="redo", key="", kind="plain")
            box("m-rule")
            command_button("theme", run, icon="contrast", key="", kind="plain")
            command_button("help", run, icon="help_outline", key="", kind="plain")

    def show(self, scene: Scene) -> None:
        """Bring it up to date."""
        shown = scene.snapshot
        say(self._file, f"{shown.name} · model {shown.model}")
        for button, title, what in (
            (self._undo, shown.undo_title, "Take back"),
            (self._redo, shown.redo_title, "Do again"),
        ):
            button.show(enabled=title is not None, title=f"{what}: {title or 'nothing'}")


class ToolBar:
    """The tools, one of which is in use."""

    def __init__(self, run: Run) -> None:
        with box("m-tools", "nav").props('aria-label="Tools"'):
            self._tools = {
                tool: command_button(f"tool-{tool}", run, icon=icon, kind="plain tool")
                for tool, icon in TOOLS
            }
            box("m-grow")
            self.picture = (
                ("zoom-in", "zoom_in"),
                ("zoom-out", "zoom_out"),
                ("fit", "fit_screen"),
                ("labels", "layers"),
            )
            for name, icon in self.picture:
                command_button(name, run, icon=icon, kind="plain tool")

    def show(self, scene: Scene) -> None:
        """Mark the tool in use."""
        for tool, button in self._tools.items():
            button.show(pressed=tool == scene.tool)


class SectionBar:
    """Where in the stack the page is, and what is known of the other sections."""

    def __init__(self, run: Run, count: int, *, on_go: Callable[[int], object]) -> None:
        self._count = count
        self._z = -1
        with box("m-bar", "footer"):
            self._back = command_button("previous", run, icon="chevron_left", key="", kind="plain")
            self._strip = Strip(count=count, on_go=lambda sent: on_go(int(sent["z"])))
            self._on = command_button("next", run, icon="chevron_right", key="", kind="plain")
            self.number = Field(title="Section", kind="text", classes="m-number", value="1")
            self.number.on_enter(lambda text: self._typed(text, on_go))
            word(f"of {count}", "span", "m-soft")
            self._finished = command_button(
                "finish", run, text="Finished", icon="check", kind="done"
            )

    def show(self, scene: Scene) -> None:
        """Stand at the section shown."""
        shown = scene.snapshot
        self._strip.show(
            z=shown.z,
            embedded=shown.embedded,
            annotated=shown.annotated,
            finished=shown.finished,
        )
        if shown.z != self._z:
            self._z = shown.z
            self.number.put(str(shown.z + 1))
        self._back.show(enabled=shown.z > 0)
        self._on.show(enabled=shown.z < self._count - 1)
        self._finished.show(pressed=shown.z in shown.finished)

    def _typed(self, text: str, on_go: Callable[[int], object]) -> None:
        """Go to a section by its number; what is no number shows the present one again."""
        if text.strip().isdecimal():
            on_go(int(text) - 1)
        else:
            ui.notify(f"sections are numbers from 1 to {self._count}", type="warning")
        self.number.put(str(self._z + 1))
