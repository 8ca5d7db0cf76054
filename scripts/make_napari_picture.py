"""Take the picture of the napari plugin: the phantom in a session, while an object is outlined.

make test-napari
xvfb-run -s "-screen 0 1700x1000x24" .venv-napari/bin/python scripts/make_napari_picture.py
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import napari
import numpy as np
from jaxtyping import Bool
from qtpy.QtWidgets import QApplication

from mitosam.ui.napari.dock.controller import Controller
from mitosam.ui.napari.dock.widget import SessionWidget

ROOT = Path(__file__).parents[1]
PATIENCE_S = 600
MIN_AREA_PX = 150


def wait(until: Callable[[], object]) -> None:
    """Let the window go on until something is so, and has been drawn."""
    end = time.monotonic() + PATIENCE_S
    while not until():
        assert time.monotonic() < end, "the plugin does not come on"
        QApplication.processEvents()
        time.sleep(0.02)
    drawn = time.monotonic() + 1
    while time.monotonic() < drawn:
        QApplication.processEvents()


def open_phantom(viewer: napari.Viewer, folder: str, model: str) -> Controller:
    """A session on the sample data, which is kept in `folder`."""
    viewer.open_sample("mitosam", "phantom")
    widget: SessionWidget
    _, widget = viewer.window.add_plugin_dock_widget("mitosam", "Interactive session")
    widget.opening.model.setText(model)
    widget.opening.keep_in = folder
    widget.opening.ask()
    wait(lambda: widget.controller is not None)
    assert widget.controller is not None
    return widget.controller


def put_box(controller: Controller, z: int, mask: Bool[np.ndarray, "h w"]) -> None:
    """Drag a box round a mask."""
    (y0, x0), (y1, x1) = (np.argwhere(mask).min(axis=0), np.argwhere(mask).max(axis=0))
    corners = [(z, y0, x0), (z, y0, x1), (z, y1, x1), (z, y1, x0)]
    controller.tool_box()
    controller.canvas.shapes.add(np.array(corners), shape_type="rectangle")
    wait(lambda: controller.runner.idle)


def main() -> None:
    """Write `docs/images/napari.png`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="", help="a run, or a base model")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images" / "napari.png")
    arguments = parser.parse_args()
    viewer = napari.Viewer()
    viewer.window.resize(1400, 900)
    with tempfile.TemporaryDirectory() as folder:
        controller = open_phantom(viewer, folder, arguments.model)
        truth = viewer.layers["phantom mitochondria"].data
        for name in ("phantom", "phantom mitochondria"):
            viewer.layers[name].visible = False
        z = int(np.argmax(np.count_nonzero(truth, axis=(1, 2))))
        controller.canvas.go(z)
        wait(lambda: controller.view.z == z and controller.runner.idle)
        masks = [truth[z] == one for one in np.unique(truth[z])[1:]]
        *kept, last = [mask for mask in masks if mask.sum() >= MIN_AREA_PX]
        for mask in kept:
            put_box(controller, z, mask)
            controller.keep()
            wait(lambda: controller.runner.idle)
        put_box(controller, z, last)
        viewer.reset_view()
        wait(lambda: True)
        viewer.screenshot(str(arguments.out), canvas_only=False, flash=False)
        controller.close()
    viewer.close()


if __name__ == "__main__":
    main()
