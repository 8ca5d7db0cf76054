"""The page's plain elements: buttons that name their keys, fields, and texts."""

from __future__ import annotations

import json
from collections.abc import Callable

from nicegui import ui
from nicegui.element import Element

from mitosam.ui.browser.commands import COMMANDS, label

Run = Callable[[str], None]


class Button(Element):
    """A button with an icon, a text, a key, or several of them."""

    def __init__(
        self,
        text: str = "",
        *,
        title: str,
        on_click: Callable[[], object],
        icon: str = "",
        key: str = "",
        kind: str = "",
    ) -> None:
        super().__init__("button")
        self.classes(f"m-button {kind}")
        self.props["type"] = "button"
        self.props["title"] = title
        self.props["aria-label"] = text or title
        self.on("click", lambda: on_click(), args=[])
        with self:
            if icon:
                ui.icon(icon).props("aria-hidden=true")
            if text:
                word(text)
            if key:
                word(key, "kbd")

    def show(
        self, *, enabled: bool = True, pressed: bool | None = None, title: str | None = None
    ) -> None:
        """Let it be clicked or not, show it as chosen or not, and say what it does."""
        set_prop(self, "disabled", None if enabled else True)
        if pressed is not None:
            set_prop(self, "aria-pressed", "true" if pressed else "false")
        if title is not None:
            set_prop(self, "title", title)


def command_button(
    name: str, run: Run, *, text: str = "", icon: str = "", key: str | None = None, kind: str = ""
) -> Button:
    """The button of a command, with its key beside its text."""
    shown = COMMANDS[name].key_text if key is None else key
    return Button(
        text, title=label(name), on_click=lambda: run(name), icon=icon, key=shown, kind=kind
    )


def set_prop(element: Element, name: str, value: object) -> None:
    """Set a property, or remove it where the value is None, if that changes it."""
    if element.props.get(name) == value:
        return
    if value is None:
        del element.props[name]
    else:
        element.props[name] = value


def word(text: str, tag: str = "span", classes: str = "") -> ui.label:
    """A text in an element of its own."""
    made = ui.label(text).classes(classes)
    made.tag = tag
    return made


def say(element: ui.label, text: str) -> None:
    """Change a text, if it is another."""
    if element.text != text:
        element.set_text(text)


def box(classes: str, tag: str = "div") -> Element:
    """An element to put others into."""
    return Element(tag).classes(classes)


class Field(Element):
    """A plain input; `value` is what was last typed into it."""

    def __init__(
        self, *, title: str, value: str = "", kind: str = "text", classes: str = "", hint: str = ""
    ) -> None:
        super().__init__("input")
        self.value = value
        # "^value" is what a field starts with; "value" would undo typing whenever the page changes.
        self.classes(f"m-field {classes}")
        for name, given in (
            *(("type", kind), ("aria-label", title), ("title", title)),
            *(("placeholder", hint), ("^value", value), ("autocomplete", "off")),
        ):
            self.props[name] = given
        self.on("input", self._typed, js_handler="(event) => emit(event.target.value)")

    def on_enter(self, handler: Callable[[str], object]) -> None:
        """Call this with the text when Enter is pressed, and leave the field."""
        self.on(
            "keydown.enter",
            lambda event: handler(str(event.args)),
            js_handler="(event) => { emit(event.target.value); event.target.blur(); }",
        )

    def put(self, value: str) -> None:
        """Show another value."""
        self.value = value
        field = f"document.getElementById('{self.html_id}')"
        self.client.run_javascript(f"{field} && ({field}.value = {json.dumps(value)})")

    def _typed(self, event: object) -> None:
        self.value = str(getattr(event, "args", ""))


class Choice(Element):
    """A plain list to choose from; `value` is what is chosen."""

    def __init__(self, options: dict[str, str], *, title: str, value: str) -> None:
        super().__init__("select")
        self.value = value
        self.options = options
        self.classes("m-field")
        self.props["aria-label"] = title
        with self:
            for name, text in options.items():
                option = word(text, "option")
                option.props["value"] = name
                if name == value:
                    option.props["selected"] = True
        self.on("change", self._chosen, js_handler="(event) => emit(event.target.value)")

    def _chosen(self, event: object) -> None:
        chosen = str(getattr(event, "args", ""))
        if chosen in self.options:
            self.value = chosen
