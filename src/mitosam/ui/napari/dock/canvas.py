"""The session's layers in a viewer: they show it, and pass on what is clicked and drawn.

napari's pixel centres are whole numbers; the session's pixel 3 covers 3 to 4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from jaxtyping import UInt8
from napari.utils import DirectLabelColormap

from mitosam.ui.napari.layers import lazy_sections, placed
from mitosam.ui.session.snapshot import Comparison, DraftState, PointXY, Snapshot

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.utils.events import Event
    from napari.viewer import Viewer

    from mitosam.ui.session.session import Session
    from mitosam.ui.session.view import View

POSITIVE, NEGATIVE = "#00c853", "#ff1744"
OLD, NEW = "#ff4081", "#76ff03"
OUTLINE, SELECTED, PROPOSED = 1, 2, 3
COLOURS = {None: "transparent", 0: "transparent", 1: "#00e5ff", 2: "#ffea00", 3: "#ff9100"}
_Shown = tuple[int, DraftState, tuple[int, ...], int]
TOOLS = ("point", "box", "lasso", "select")


class Hand(Protocol):
    """What takes what is done on the canvas; places are the session's pixels."""

    selected: tuple[int, ...]

    def point_put(self, x: float, y: float, *, positive: bool) -> None:
        """A prompt was clicked."""
        ...

    def points_changed(self, points: Sequence[tuple[float, float, bool]]) -> None:
        """Prompts were moved or removed; these are left."""
        ...

    def box_drawn(self, x0: float, y0: float, x1: float, y1: float) -> None:
        """A box was dragged."""
        ...

    def lasso_drawn(self, corners_xy: Sequence[PointXY]) -> None:
        """An outline was drawn."""
        ...

    def picked(self, x: float, y: float, *, together: bool) -> None:
        """A place was clicked, to select what is there, `together` with what is selected."""
        ...

    def went(self, z: int) -> None:
        """Another section is shown."""
        ...


class Canvas:
    """The five layers of a session: image, objects, outline, prompts, and boxes and lassos."""

    def __init__(self, viewer: Viewer, session: Session, view: View, hand: Hand) -> None:
        self._viewer, self._session, self._view, self._hand = viewer, session, view, hand
        self._shown: _Shown = (-1, DraftState(), (), -1)
        self._compared: Comparison | None = None
        self._comparison: list[Layer] = []
        self._shift = False
        self.negative = False
        shape, self._place = session.shape_zyx, placed(session.voxel_size_nm)
        name = session.volume.name
        # Without napari's cache of what was computed once: labels change, and grey values with the
        # model.
        self.image = viewer.add_image(
            lazy_sections(shape, np.dtype(np.uint8), session.image),
            name=f"{name} (session)", contrast_limits=(0, 255), cache=False, **self._place,
        )  # fmt: skip
        self.labels = viewer.add_labels(
            lazy_sections(shape, np.dtype(np.uint32), session.labels),
            name="objects", opacity=0.35, cache=False, **self._place,
        )  # fmt: skip
        self.outline = viewer.add_labels(
            lazy_sections(shape, np.dtype(np.uint8), self._outlines),
            name="outline", cache=False, opacity=1.0,
            colormap=DirectLabelColormap(color_dict=COLOURS), **self._place,
        )  # fmt: skip
        self.outline.contour = 2
        look = {"opacity": 0.9, "ndim": 3, **self._place}
        self.shapes = viewer.add_shapes(
            name="boxes and lassos", face_color="transparent", edge_color="#00e5ff", edge_width=1,
            **look,
        )  # fmt: skip
        self.prompts = viewer.add_points(
            name="prompts", face_color=POSITIVE, border_color="white", symbol="disc",
            size=max(3, min(shape[1:]) // 50), **look,
        )  # fmt: skip
        self.prompts.canvas_size_limits = (7, 14)
        for layer in (self.labels, self.outline):
            layer.editable = False
            layer.events.editable.connect(_keep_unpainted)
        self._connect()

    @property
    def layers(self) -> tuple[Layer, ...]:
        """From the lowest to the topmost."""
        return self.image, self.labels, self.outline, self.shapes, self.prompts

    @property
    def z(self) -> int:
        """The section that the viewer shows."""
        z = self.image.world_to_data(self._viewer.dims.point[-3:])[0]
        return int(np.clip(round(z), 0, self._session.shape_zyx[0] - 1))

    def go(self, z: int) -> None:
        """Show a section."""
        axis = self._viewer.dims.ndim - 3
        self._viewer.dims.set_point(axis, self.image.data_to_world((z, 0, 0))[0])

    def use(self, tool: str) -> None:
        """Have clicks and drags mean one of `TOOLS`."""
        layer = {"point": self.prompts, "select": self.labels}.get(tool, self.shapes)
        modes = {"point": "add", "box": "add_rectangle", "lasso": "add_polygon_lasso"}
        self._viewer.layers.selection.active = layer
        layer.mode = modes.get(tool, "pan_zoom")

    def bind(self, key: str, action: Callable[[], None]) -> None:
        """Have a key do something while one of the layers is the active one."""
        for layer in self.layers:
            layer.bind_key(key, lambda _: action(), overwrite=True)

    def show(self, snapshot: Snapshot) -> None:
        """Show the prompts, the outline and the objects as they are now."""
        revision, draft, selected, z = self._shown
        now = (snapshot.revision, snapshot.draft, self._hand.selected, snapshot.z)
        self._shown = now
        if (draft, z) != (snapshot.draft, snapshot.z):
            self._show_points(snapshot)
            self._show_shapes(snapshot)
        if revision != snapshot.revision:
            self.labels.refresh()
        if now != (revision, draft, selected, z):
            self.outline.refresh()
        if snapshot.comparison is not self._compared:
            self._show_comparison(snapshot.comparison)

    def close(self) -> None:
        """Take the layers out of the viewer."""
        self._viewer.dims.events.current_step.disconnect(self._stepped)
        self._viewer.dims.events.ndisplay.disconnect(self._turned)
        for layer in (*self.layers, *self._comparison):
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)

    def _connect(self) -> None:
        self.prompts.mouse_drag_callbacks.append(self._note_shift)
        self.prompts.events.data.connect(self._on_points)
        self.shapes.events.data.connect(self._on_shapes)
        self.labels.mouse_drag_callbacks.append(self._on_click)
        self._viewer.dims.events.current_step.connect(self._stepped)
        self._viewer.dims.events.ndisplay.connect(self._turned)

    def _stepped(self) -> None:
        self._hand.went(self.z)

    def _turned(self) -> None:
        """Outlines are contours, and napari draws none in 3D."""
        self.outline.visible = self._viewer.dims.ndisplay == 2

    def _note_shift(self, _: Layer, event: Event) -> None:
        self._shift = "Shift" in event.modifiers

    def _on_points(self, event: Event) -> None:
        action = str(event.action)
        if action == "added":
            _, y, x = self.prompts.data[-1]
            positive = self._shift == self.negative
            self._shift = False
            self._hand.point_put(x + 0.5, y + 0.5, positive=positive)
        elif action in ("removed", "changed"):
            signs = self.prompts.features["positive"].astype(bool)
            rows = zip(self.prompts.data, signs, strict=True)
            self._hand.points_changed([(x + 0.5, y + 0.5, sign) for (_, y, x), sign in rows])

    def _on_shapes(self, event: Event) -> None:
        if str(event.action) != "added" or not len(self.shapes.data):
            return
        ys, xs = self.shapes.data[-1][:, 1] + 0.5, self.shapes.data[-1][:, 2] + 0.5
        if self.shapes.shape_type[-1] == "rectangle":
            self._hand.box_drawn(xs.min(), ys.min(), xs.max(), ys.max())
        else:
            self._hand.lasso_drawn(list(zip(xs.tolist(), ys.tolist(), strict=True)))

    def _on_click(self, layer: Layer, event: Event) -> Iterator[None]:
        start = np.array(event.pos)
        yield
        while event.type == "mouse_move":
            yield
        if np.abs(np.array(event.pos) - start).max() < 4:
            _, y, x = layer.world_to_data(event.position)[-3:]
            self._hand.picked(x + 0.5, y + 0.5, together="Shift" in event.modifiers)

    def _show_points(self, snapshot: Snapshot) -> None:
        points = snapshot.draft.points
        with self.prompts.events.data.blocker():
            self.prompts.data = [(snapshot.z, y - 0.5, x - 0.5) for x, y, _ in points]
            self.prompts.features = {"positive": [positive for *_, positive in points]}
            self.prompts.selected_data = set()
            if points:
                self.prompts.face_color = [POSITIVE if sign else NEGATIVE for *_, sign in points]

    def _show_shapes(self, snapshot: Snapshot) -> None:
        draft, found = snapshot.draft, []
        if draft.box_xyxy is not None:
            x0, y0, x1, y1 = draft.box_xyxy
            found.append(([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], "rectangle"))
        if draft.lasso_xy:
            found.append((list(draft.lasso_xy), "polygon"))
        mode = self.shapes.mode
        with self.shapes.events.data.blocker():
            self.shapes.data = []
            for corners, kind in found:
                at = np.array([(snapshot.z, y - 0.5, x - 0.5) for x, y in corners])
                self.shapes.add(at, shape_type=kind)
            self.shapes.selected_data = set()
        self.shapes.mode = mode

    def _show_comparison(self, comparison: Comparison | None) -> None:
        """Draw round what the old and the new model find, where that is; None takes it away."""
        for layer in self._comparison:
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)
        self._compared, self._comparison = comparison, []
        if comparison is None:
            return
        place = placed(self._session.voxel_size_nm, origin_zyx=(comparison.z, 0, 0))
        for name, labels, colour in (
            ("old model", comparison.old, OLD), ("new model", comparison.new, NEW),
        ):  # fmt: skip
            if labels is not None:
                colours = DirectLabelColormap(color_dict={None: colour, 0: "transparent"})
                layer = self._viewer.add_labels(
                    labels[None], name=name, opacity=1.0, colormap=colours, **place
                )
                layer.contour = 2
                self._comparison.append(layer)
        self.go(comparison.z)

    def _outlines(self, z: int) -> UInt8[np.ndarray, "height width"]:
        """What is drawn as contours: proposed and selected objects, and what is being outlined."""
        labels = self._session.labels(z)
        shown = np.zeros(labels.shape, np.uint8)
        proposed = [one.id for one in self._session.objects(z) if one.state == "proposed"]
        shown[np.isin(labels, proposed)] = PROPOSED
        shown[np.isin(labels, self._hand.selected)] = SELECTED
        draft = self._view.draft_mask() if self._view.z == z else None
        if draft is not None:
            y, x, mask = draft
            shown[y : y + mask.shape[0], x : x + mask.shape[1]][mask] = OUTLINE
        return shown


def _keep_unpainted(event: Any) -> None:  # noqa: ANN401  # an Event of any layer
    """Objects change through the session only; napari makes layers editable again by itself."""
    if event.source.editable:
        event.source.editable = False
