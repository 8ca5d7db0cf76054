"""What a session is opened with: images, labels to begin with, and a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image
from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from mitosam.errors import InputError, MitosamError, OutputExistsError
from mitosam.io.open import open_volume
from mitosam.io.write import write_sections_tiff

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

FROM_FILE = "file or folder below"


class Opening(QWidget):
    """A form; `asked` tells the images, the labels (or None) and the model.

    A layer in no file is kept in the folder `keep_in`, which is asked for where it is empty.
    """

    asked = Signal(object)

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self.keep_in = ""
        self.layer, self.images, self.labels = QComboBox(), QLineEdit(), QLineEdit()
        self.model = QLineEdit()
        self.model.setPlaceholderText("the one taught here last, else the embedded one")
        self.model.setToolTip("A run's folder, its model.safetensors, or a base model")
        form = QFormLayout()
        form.addRow("Image layer", self.layer)
        form.addRow("or images", self._with_buttons(self.images))
        form.addRow("Labels", self._with_buttons(self.labels))
        form.addRow("Model", self._with_buttons(self.model))
        self.button = QPushButton("Open session")
        self.button.clicked.connect(self.ask)
        self.trouble = QLabel()
        self.trouble.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        layout.addWidget(self.button)
        layout.addWidget(self.trouble)
        layout.addStretch()
        for event in (viewer.layers.events.inserted, viewer.layers.events.removed):
            event.connect(self.list_layers)
        self.list_layers()

    def ask(self) -> None:
        """Have the session opened, or say what is missing."""
        self.trouble.clear()
        try:
            images = self._images()
        except MitosamError as error:
            self.trouble.setText(str(error))
            return
        labels = self.labels.text().strip()
        self.asked.emit((images, Path(labels) if labels else None, self.model.text().strip()))

    def list_layers(self) -> None:
        """Offer the viewer's stacks."""
        chosen = self.layer.currentText()
        self.layer.clear()
        names = [layer.name for layer in self._viewer.layers if _is_stack(layer)]
        self.layer.addItems([*names, FROM_FILE])
        self.layer.setCurrentText(chosen)

    def _images(self) -> Path:
        path = self.images.text().strip()
        if path:
            return Path(path)
        if self.layer.currentText() == FROM_FILE:
            raise InputError("choose an image layer, or name a file or folder of images")
        return self._file_of(self._viewer.layers[self.layer.currentText()])

    def _file_of(self, layer: Image) -> Path:
        """The file that a layer shows; one in no file is written into a folder that is asked for.

        The session reads the file, so that the work can be taken up again without napari.
        """
        source = layer.source.path
        if source is not None and _holds(Path(source), layer):
            return Path(source)
        folder = self.keep_in or self._choose_folder()
        if not folder:
            raise InputError(f"{layer.name} is in no file; say in which folder to keep it")
        path = Path(folder) / f"{layer.name}.tif"
        if path.exists():
            raise OutputExistsError(f"{path} exists already; name it below, or choose a new folder")
        _write(path, layer)
        return path

    def _with_buttons(self, line: QLineEdit) -> QWidget:
        row = QWidget()
        layout = QHBoxLayout(row)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(line)
        for text, choose in (("File…", self._choose_file), ("Folder…", self._choose_folder)):
            button = QPushButton(text)
            button.clicked.connect(lambda _=False, choose=choose: line.setText(choose()))
            layout.addWidget(button)
        return row

    def _choose_file(self) -> str:
        return str(QFileDialog.getOpenFileName(self, "Open")[0])

    def _choose_folder(self) -> str:
        return str(QFileDialog.getExistingDirectory(self, "Folder"))


def voxel_size_nm(layer: Image) -> tuple[float, float, float] | None:
    """z, y, x of a layer that is scaled in lengths; None for one in pixels."""
    units = layer.units[-3:]
    if layer.ndim < 3 or not all(unit.is_compatible_with("nm") for unit in units):
        return None
    z, y, x = (
        float((step * unit).to("nm").magnitude)
        for step, unit in zip(layer.scale[-3:], units, strict=True)
    )
    return z, y, x


def _write(path: Path, layer: Image) -> None:
    """Write a layer's sections, of a pyramid the finest."""
    data = layer.data[0] if layer.multiscale else layer.data
    sections = data if data.ndim == 3 else data[None]
    depth, height, width = sections.shape
    write_sections_tiff(
        path,
        map(np.asarray, sections),
        shape_zyx=(depth, height, width),
        dtype=np.dtype(data.dtype),
        voxel_size_nm=voxel_size_nm(layer),
    )


def _is_stack(layer: Layer) -> bool:
    return isinstance(layer, Image) and layer.ndim in (2, 3) and not layer.rgb


def _holds(path: Path, layer: Image) -> bool:
    """Whether a file is the volume that a layer shows."""
    try:
        shape = open_volume(path).shape_zyx
    except MitosamError:
        return False
    data = layer.data[0] if layer.multiscale else layer.data
    return shape[-layer.ndim :] == tuple(data.shape)
