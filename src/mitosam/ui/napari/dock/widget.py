"""The dock widget that napari's menu opens: first a form, then the session's controls."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtGui import QCloseEvent
from qtpy.QtWidgets import QPushButton, QScrollArea, QStackedLayout, QVBoxLayout, QWidget

from mitosam.ui.napari.dock.controller import Controller
from mitosam.ui.napari.dock.opening import Opening
from mitosam.ui.napari.dock.panel import Panel
from mitosam.ui.napari.dock.runner import Runner
from mitosam.ui.session.opening import open_session
from mitosam.ui.session.session import Session

if TYPE_CHECKING:
    import napari.viewer


class SessionWidget(QWidget):
    """mitosam in napari: outline, correct and segment mitochondria with the model's help."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self.controller: Controller | None = None
        self.panel: Panel | None = None
        self.opening = Opening(viewer)
        self.opening.asked.connect(self._open)
        self._runner = Runner(refuse=self.opening.trouble.setText, done=self._opened)
        self._stack = QStackedLayout(self)
        self._stack.addWidget(self.opening)

    def take(self, session: Session) -> None:
        """Show a session in place of the form; it is closed with the widget."""
        self.controller = Controller(self._viewer, session)
        self.panel = Panel(self.controller)
        leave = QPushButton("Close session")
        leave.setToolTip("Everything is kept in the working folder; open the same images to go on")
        leave.clicked.connect(self.leave)
        page = QWidget()
        layout = QVBoxLayout(page)
        layout.addWidget(self.panel)
        layout.addWidget(leave)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setWidget(page)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setMinimumWidth(
            page.minimumSizeHint().width() + scroll.verticalScrollBar().sizeHint().width()
        )
        self._stack.addWidget(scroll)
        self._stack.setCurrentWidget(scroll)
        self.controller.tool_point()
        self.controller.refresh()

    def leave(self) -> None:
        """Close the session, and show the form again."""
        if self.controller is None:
            return
        self.controller.close()
        self.controller = self.panel = None
        page = self._stack.currentWidget()
        self._stack.removeWidget(page)
        page.deleteLater()

    def closeEvent(self, event: QCloseEvent) -> None:  # noqa: N802  # Qt's name
        """Let others open the working folder."""
        self.leave()
        self._runner.close()
        super().closeEvent(event)

    def _open(self, asked: tuple[Path, Path | None, str]) -> None:
        images, labels, model = asked
        self.opening.button.setEnabled(False)
        self._runner.run(
            lambda: open_session(images, labels=labels, model=model or None),
            then=self.take,
            title=f"opening {images.name}",
        )

    def _opened(self) -> None:
        self.opening.button.setEnabled(True)
