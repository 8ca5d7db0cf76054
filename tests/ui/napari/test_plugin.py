"""The plugin as napari finds it: manifest, readers, sample data, and the widget on a real model."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
import tifffile

pytest.importorskip("napari", reason="needs napari: make test-napari")

from npe2 import PluginManager, PluginManifest

from mitosam.config import resolve_settings
from mitosam.io.write import write_stack_tiff
from mitosam.ui.napari import sample
from mitosam.ui.napari.dock.opening import FROM_FILE, voxel_size_nm
from mitosam.ui.napari.dock.widget import SessionWidget
from mitosam.workflows.predict import predict
from mitosam.workflows.prepare import prepare
from tests.tiny_runs import VOXEL_SIZE_NM, write_model, write_phantom
from tests.tiny_segmenter import write_tuned

ROOT = Path(__file__).parents[3]
BOX = (10, 12, 42, 44)


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer()


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tuned")
    return write_tuned(folder / "model.safetensors", write_model(folder / "tiny"))


def test_napari_finds_the_plugin_and_all_that_it_names_can_be_imported():
    manager = PluginManager.instance()
    manager.discover()
    assert "mitosam" in manager
    manifest = PluginManifest.from_distribution("mitosam")
    manifest.validate_imports()
    assert manifest.package_metadata.classifier.count("Framework :: napari") == 1
    assert len(manifest.contributions.commands) == 3


def test_everything_that_the_extra_names_is_pinned():
    texts = [(ROOT / name).read_text() for name in ("constraints.txt", "constraints-napari.txt")]
    pinned = [re.findall(r"^([\w.-]+)==", text, re.MULTILINE) for text in texts]
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [re.split(r"[>\[]", one)[0] for one in extras["optional-dependencies"]["napari"]]
    lower = [{name.lower() for name in names} for names in pinned]
    assert set(named) <= lower[0] | lower[1]
    assert not lower[0] & lower[1]


def test_a_run_dropped_on_the_window_is_images_under_labels(viewer, tmp_path):
    run = prepare(write_phantom(tmp_path / "em"), tmp_path / "run", resolve_settings())
    viewer.open(str(tmp_path / "run"), plugin="mitosam")
    images, labels = viewer.layers
    volume = run.parts()[0].volume
    assert np.array_equal(labels.data, volume.labels)
    assert voxel_size_nm(images) == pytest.approx(VOXEL_SIZE_NM)
    assert labels.metadata["mitosam"]["train_sections"] == (0, 1)


def test_the_phantom_is_among_the_samples(viewer, monkeypatch):
    monkeypatch.setattr(sample, "SHAPE_ZYX", (3, 64, 64))
    viewer.open_sample("mitosam", "phantom")
    assert [layer.name for layer in viewer.layers] == ["phantom", "phantom mitochondria"]
    assert [str(unit) for unit in viewer.layers[0].units] == ["nanometer"] * 3


def test_the_widget_outlines_as_the_command_line_does(viewer, tmp_path, tuned, qtbot, settle):
    images = write_phantom(tmp_path / "em", shape_zyx=(3, 64, 80)).images
    viewer.open(str(images), plugin="napari")
    _, widget = viewer.window.add_plugin_dock_widget("mitosam", "Interactive session")
    assert isinstance(widget, SessionWidget)
    widget.opening.model.setText(str(tuned))
    widget.opening.ask()
    qtbot.waitUntil(lambda: widget.controller is not None, timeout=120_000)
    controller = widget.controller
    controller.canvas.go(1)
    settle(controller, 120_000)
    x0, y0, x1, y1 = BOX
    corners = [(1, y - 0.5, x - 0.5) for y, x in ((y0, x0), (y0, x1), (y1, x1), (y1, x0))]
    controller.canvas.shapes.add(np.array(corners), shape_type="rectangle")
    settle(controller, 120_000)
    controller.keep()
    settle(controller, 120_000)
    shown = np.asarray(controller.canvas.labels.data[1])
    widget.close()
    assert np.array_equal(shown, predicted(images, tmp_path, tuned))
    assert (tmp_path / "em" / "images.mitosam").is_dir()


def predicted(images, folder, model):
    """The same box on section 1 given to `mitosam predict`."""
    prompts = folder / "prompts.json"
    prompts.write_text(f'[{{"section": 1, "box": {list(BOX)}}}]')
    result = predict(images, folder / "predicted", model=model, prompts=prompts)
    return tifffile.imread(result.labels)[1]


def test_a_layer_in_no_file_is_kept_where_the_user_says(viewer, tmp_path, qtbot):
    stack = np.random.default_rng(0).integers(0, 255, (3, 20, 30), np.uint8)
    viewer.add_image(stack, name="stack", scale=(0.03, 0.008, 0.008), units=("um",) * 3)
    widget = SessionWidget(viewer)
    qtbot.addWidget(widget)
    asked = []
    widget.opening.asked.disconnect()
    widget.opening.asked.connect(asked.append)
    widget.opening.keep_in = str(tmp_path)
    widget.opening.ask()
    assert asked == [(tmp_path / "stack.tif", None, "")]
    with tifffile.TiffFile(tmp_path / "stack.tif") as file:
        assert np.array_equal(file.asarray(), stack)
    assert voxel_size_nm(viewer.layers[0]) == pytest.approx((30, 8, 8))
    widget.opening.ask()
    assert "exists already" in widget.opening.trouble.text()
    assert len(asked) == 1


def test_a_form_without_images_says_what_is_missing(viewer, qtbot):
    widget = SessionWidget(viewer)
    qtbot.addWidget(widget)
    assert widget.opening.layer.currentText() == FROM_FILE
    widget.opening.ask()
    assert "choose an image layer" in widget.opening.trouble.text()


def test_a_model_that_is_not_there_is_refused_in_the_form(viewer, tmp_path, qtbot):
    write_stack_tiff(tmp_path / "a.tif", np.ones((2, 16, 16), np.uint8), None)
    widget = SessionWidget(viewer)
    qtbot.addWidget(widget)
    widget.opening.images.setText(str(tmp_path / "a.tif"))
    widget.opening.model.setText(str(tmp_path / "nothing"))
    widget.opening.ask()
    qtbot.waitUntil(lambda: bool(widget.opening.trouble.text()), timeout=60_000)
    assert widget.controller is None
    assert widget.opening.button.isEnabled()
