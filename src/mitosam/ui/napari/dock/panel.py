"""The controls of a session: they show a snapshot, and call the controller."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QButtonGroup,
    QCheckBox,
    QComboBox,
    QFileDialog,
    QGridLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QMessageBox,
    QPushButton,
    QSpinBox,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from mitosam.ui.napari.dock.canvas import TOOLS
from mitosam.ui.napari.dock.commands import COMMANDS, help_text
from mitosam.ui.napari.dock.controller import EXPORT_FORMATS, Controller

if TYPE_CHECKING:
    from mitosam.ui.session.snapshot import JobKind, ObjectInfo, Snapshot

ID = Qt.ItemDataRole.UserRole
ENDINGS = {"tiff": ".tif", "ome-zarr": ".ome.zarr", "coco": ".json", "measurements": ""}


class Panel(QWidget):
    """All controls, from the outline to the export."""

    def __init__(self, controller: Controller) -> None:
        super().__init__()
        self.controller = controller
        self.buttons: dict[str, QPushButton] = {}
        self._objects: tuple[ObjectInfo, ...] | None = None
        self._state = QLabel()
        self._state.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addWidget(self._state)
        for title, content in (
            ("Outline", self._outline_controls()),
            ("Objects of this section", self._object_controls()),
            ("Find", self._find_controls()),
            ("Teach", self._teach_controls()),
            ("Export", self._export_controls()),
        ):
            box = QGroupBox(title)
            box.setLayout(content)
            layout.addWidget(box)
        layout.addLayout(self._row(self._help_button()))
        layout.addStretch()
        controller.shown.connect(self.show_snapshot)
        controller.tool_chosen.connect(lambda tool: self.buttons[f"tool_{tool}"].setChecked(True))

    def show_snapshot(self, snapshot: Snapshot) -> None:
        """Show what is so now."""
        self._show_state(snapshot)
        self._show_candidates(snapshot)
        self._show_objects(snapshot.objects)
        self._finish.setChecked(snapshot.z in snapshot.finished)
        self._show_comparison(snapshot)
        self._enable(snapshot)

    def _outline_controls(self) -> QVBoxLayout:
        layout = QVBoxLayout()
        tools = [self._button(f"tool_{tool}") for tool in TOOLS]
        group = QButtonGroup(self)
        for tool in tools:
            tool.setCheckable(True)
            group.addButton(tool)
        layout.addLayout(self._row(*tools))
        negative = QCheckBox("Points mark what is not the object")
        negative.setToolTip("Shift turns it round for one click")
        negative.toggled.connect(self._set_negative)
        layout.addWidget(negative)
        self.candidates = QListWidget()
        self.candidates.setFixedHeight(84)
        self.candidates.setToolTip("Candidates with the score that the model gives them (keys 1-4)")
        self.candidates.itemClicked.connect(
            lambda item: self.controller.choose(self.candidates.row(item))
        )
        layout.addWidget(self.candidates)
        layout.addLayout(self._row(*map(self._button, ("keep", "add", "cut", "clear"))))
        layout.addLayout(self._row(self._button("undo"), self._button("redo")))
        return layout

    def _object_controls(self) -> QVBoxLayout:
        layout = QVBoxLayout()
        self.objects = QTreeWidget()
        self.objects.setHeaderLabels(["id", "state", "trust", "px"])
        self.objects.setRootIsDecorated(False)
        self.objects.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.objects.setFixedHeight(130)
        for column, width in enumerate((48, 84, 48)):
            self.objects.setColumnWidth(column, width)
        self.objects.itemSelectionChanged.connect(self._select_listed)
        layout.addWidget(self.objects)
        for names in (
            ("accept", "reject", "next_uncertain"),
            ("erase", "erase_everywhere", "merge", "split"),
            ("carry_back", "carry_on"),
        ):
            layout.addLayout(self._row(*map(self._button, names)))
        self._finish = QCheckBox("This section is finished")
        self._finish.setToolTip(COMMANDS["finish"].tooltip)
        self._finish.clicked.connect(self.controller.finish)
        layout.addWidget(self._finish)
        return layout

    def _find_controls(self) -> QVBoxLayout:
        layout = QVBoxLayout()
        self.words = QLineEdit()
        self.words.setPlaceholderText("mitochondria")
        self.words.setToolTip("A word, and Enter: all such objects of this section are proposed")
        self.words.returnPressed.connect(lambda: self.controller.ask(self.words.text()))
        layout.addWidget(self.words)
        last = self.controller.session.shape_zyx[0]
        self._from, self._to = QSpinBox(), QSpinBox()
        for spin in (self._from, self._to):
            spin.setRange(1, last)
            spin.setMinimumWidth(70)
        self._to.setValue(last)
        segment = QPushButton("Segment sections")
        segment.setToolTip("Propose all objects of these sections")
        segment.clicked.connect(
            lambda: self.controller.segment(self._from.value() - 1, self._to.value() - 1)
        )
        stop = self._stop_button("segment")
        layout.addLayout(self._row(self._button("segment"), stop))
        layout.addLayout(self._row(segment, self._from, QLabel("to"), self._to))
        return layout

    def _teach_controls(self) -> QVBoxLayout:
        layout = QVBoxLayout()
        layout.addLayout(self._row(self._button("teach"), self._stop_button("teach")))
        self.compared = QLabel()
        self.compared.setWordWrap(True)
        layout.addWidget(self.compared)
        layout.addLayout(self._row(self._button("switch_model"), self._button("keep_model")))
        return layout

    def _stop_button(self, kind: JobKind) -> QPushButton:
        button = QPushButton("Stop")
        button.clicked.connect(lambda: self.controller.session.stop(kind))
        return button

    def _export_controls(self) -> QGridLayout:
        layout = QGridLayout()
        self._format = QComboBox()
        self._format.addItems(EXPORT_FORMATS)
        self._only_accepted = QCheckBox("accepted objects only")
        button = QPushButton("Export…")
        button.clicked.connect(self._export)
        layout.addWidget(self._format, 0, 0)
        layout.addWidget(button, 0, 1)
        layout.addWidget(self._only_accepted, 1, 0, 1, 2)
        return layout

    def _help_button(self) -> QPushButton:
        button = QPushButton("Keys")
        button.clicked.connect(lambda: QMessageBox.information(self, "Keys", help_text()))
        return button

    def _button(self, name: str, text: str = "") -> QPushButton:
        """A button for a command, with its key in the tooltip."""
        command = COMMANDS[name]
        button = QPushButton(text or command.button)
        button.setToolTip(command.tooltip)
        button.clicked.connect(lambda: getattr(self.controller, name)())
        self.buttons[name] = button
        return button

    def _row(self, *widgets: QWidget) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(3)
        for widget in widgets:
            row.addWidget(widget)
        return row

    def _set_negative(self, negative: bool) -> None:
        self.controller.canvas.negative = negative

    def _select_listed(self) -> None:
        self.controller.select(item.data(0, ID) for item in self.objects.selectedItems())

    def _export(self) -> None:
        chosen = self._format.currentText()
        start = str(self.controller.session.folder.with_suffix(ENDINGS[chosen]))
        path, _ = QFileDialog.getSaveFileName(self, "Export labels", start)
        if path:
            self.controller.export(
                Path(path), chosen, only_accepted=self._only_accepted.isChecked()
            )

    def _show_state(self, snapshot: Snapshot) -> None:
        ready = snapshot.z in snapshot.embedded
        self._state.setText(
            f"<b>{snapshot.name}</b>, section {snapshot.z + 1} of {snapshot.num_sections}"
            f"<br>model {snapshot.model}: "
            + ("ready" if ready else "<i>preparing this section; a click takes longer</i>")
            + f"<br>sections with objects: {len(snapshot.annotated)}, "
            f"finished: {len(snapshot.finished)}"
        )

    def _show_candidates(self, snapshot: Snapshot) -> None:
        self.candidates.clear()
        for number, one in enumerate(snapshot.draft.candidates, 1):
            score = "drawn" if one.score is None else f"score {one.score:.2f}"
            self.candidates.addItem(f"{number}   {score}   {one.area_px} px")
        if snapshot.draft.chosen is not None:
            self.candidates.setCurrentRow(snapshot.draft.chosen)

    def _show_objects(self, objects: tuple[ObjectInfo, ...]) -> None:
        self.objects.blockSignals(True)
        if objects != self._objects:
            self._objects = objects
            self.objects.clear()
            self.objects.addTopLevelItems(list(map(_row_of, objects)))
        for item in self._items():
            item.setSelected(item.data(0, ID) in self.controller.selected)
        for item in self.objects.selectedItems()[:1]:
            self.objects.scrollToItem(item)
        self.objects.blockSignals(False)

    def _show_comparison(self, snapshot: Snapshot) -> None:
        compared, num_finished = snapshot.comparison, len(snapshot.finished)
        for name in ("switch_model", "keep_model"):
            self.buttons[name].setVisible(compared is not None)
        if compared is None:
            self.compared.setText(f"finished sections to learn from: {num_finished}")
        else:
            old = "pink: the old model, " if compared.old is not None else ""
            self.compared.setText(
                f"Section {compared.z + 1}, which taught neither; {old}green: the new one"
            )

    def _items(self) -> Iterable[QTreeWidgetItem]:
        return map(self.objects.topLevelItem, range(self.objects.topLevelItemCount()))

    def _enable(self, snapshot: Snapshot) -> None:
        """Buttons that would be refused are grey."""
        chosen, selected = snapshot.draft.chosen is not None, self.controller.selected
        able = {
            "keep": chosen,
            "add": chosen and bool(selected),
            "cut": chosen and bool(selected),
            "undo": snapshot.can_undo,
            "redo": snapshot.can_redo,
            "teach": bool(snapshot.finished),
            "merge": len(selected) > 1,
            **dict.fromkeys(
                ("accept", "reject", "erase", "erase_everywhere", "split", "carry_back",
                 "carry_on"), bool(selected),
            ),
        }  # fmt: skip
        for name, enabled in able.items():
            self.buttons[name].setEnabled(enabled)
        for name, title in (("undo", snapshot.undo_title), ("redo", snapshot.redo_title)):
            self.buttons[name].setToolTip(f"{COMMANDS[name].tooltip}: {title or 'nothing'}")


def _row_of(one: ObjectInfo) -> QTreeWidgetItem:
    trust = "" if one.confidence is None else f"{one.confidence:.2f}"
    item = QTreeWidgetItem([str(one.id), one.state, trust, str(one.area_px)])
    item.setData(0, ID, one.id)
    return item
