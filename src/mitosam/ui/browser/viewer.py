"""The page's own elements, which scripts draw in the browser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nicegui.element import Element

from mitosam.ui.browser.commands import IN_THE_BROWSER, key_map
from mitosam.ui.browser.pictures import hex_palette
from mitosam.ui.browser.scene import Scene

Sent = Callable[[Any], object]
SCRIPTS = ("camera", "gestures", "outlines", "painting", "tiles")


class Viewer(
    Element,
    component="script/mitosam_viewer.js",
    dependencies=[f"script/mitosam_{name}.js" for name in SCRIPTS],
):
    """The section, its objects and the outline; `on_act` gets what the user does."""

    def __init__(self, *, pixel_nm: float | None, on_act: Sent, on_ready: Sent) -> None:
        super().__init__()
        self.props["palette"] = hex_palette()
        self.props["keys"] = key_map()
        self.props["own"] = list(IN_THE_BROWSER)
        self.props["address"] = "/mitosam"
        self.props["nm"] = pixel_nm or 0
        self.on("act", lambda event: on_act(event.args))
        self.on("ready", lambda event: on_ready(event.args))

    def show(self, scene: Scene) -> None:
        """Draw this."""
        self.run_method("show", scene.to_json())

    def run(self, command: str) -> None:
        """Do what a key would."""
        self.run_method("run", command)


class Strip(Element, component="script/mitosam_strip.js"):
    """A slider through the sections, with marks of what is known of each."""

    def __init__(self, *, count: int, on_go: Sent) -> None:
        super().__init__()
        self.props["count"] = count
        self._shown: dict[str, Any] = {}
        self.show(z=0, embedded=frozenset(), annotated=frozenset(), finished=frozenset())
        self.on("go", lambda event: on_go(event.args))

    def show(
        self,
        *,
        z: int,
        embedded: frozenset[int],
        annotated: frozenset[int],
        finished: frozenset[int],
    ) -> None:
        """Stand at section `z`, and mark these."""
        _set_props(
            self,
            z=z,
            embedded=sorted(embedded),
            annotated=sorted(annotated),
            finished=sorted(finished),
        )


class ObjectList(Element, component="script/mitosam_objects.js"):
    """The objects of a section, to choose from."""

    def __init__(self, *, on_pick: Sent) -> None:
        super().__init__()
        self.on("pick", lambda event: on_pick(event.args))
        _set_props(self, objects=[], selected=[], empty="")

    def show(self, objects: list[dict[str, Any]], selected: tuple[int, ...], empty: str) -> None:
        """List these; `empty` is said where there are none."""
        _set_props(self, objects=objects, selected=list(selected), empty=empty)


def _set_props(element: Element, **values: Any) -> None:  # noqa: ANN401  # whatever JSON holds
    """Send properties to the browser if one of them is new."""
    if any(element.props.get(name) != value for name, value in values.items()):
        for name, value in values.items():
            element.props[name] = value
        element.update()
