"""The page's dialogs: segmenting, exporting, and the sheet of keys."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

from nicegui import background_tasks, ui
from nicegui.element import Element

from mitosam.errors import InputError, MitosamError
from mitosam.ui.browser.commands import groups
from mitosam.ui.browser.routes import Downloads
from mitosam.ui.browser.widgets import Button, Choice, Field, box, word
from mitosam.ui.session.export import ExportFormat
from mitosam.ui.session.session import Session

log = logging.getLogger(__name__)

METHODS = {
    "auto": "What validation preferred",
    "head": "The model's head, quick",
    "prompted": "The head's finds, outlined by the mask decoder",
    "grid": "SAM's grid of points, slow; for base models",
}
FORMATS: dict[ExportFormat, tuple[str, str]] = {
    "tiff": ("TIFF stack of ids", ".tif"),
    "ome-zarr": ("OME-Zarr of ids", ".ome.zarr"),
    "coco": ("COCO JSON of masks", ".json"),
    "measurements": ("Measurements: tables of sizes and shapes", ""),
}


@contextmanager
def dialog(title: str) -> Iterator[ui.dialog]:
    """A dialog with a heading, to be filled; Esc closes it."""
    with ui.dialog() as made, ui.card().classes("m-card"):
        made.props["aria-label"] = title
        word(title, "h2")
        yield made


class SegmentDialog:
    """Which sections the automatic method is to find objects on."""

    def __init__(self, session: Session, *, refused: Callable[[str], None]) -> None:
        self._session = session
        self._refused = refused
        with dialog("Segment sections") as self._dialog:
            word(
                "Finds all objects without clicks. They are proposed: review them from the "
                "uncertain ones on (U), then accept (Y) or reject (R) each.",
                "p",
                "m-soft",
            ).style("max-width: 430px")
            with box("m-form"):
                word("Sections", "span")
                self._first = Field(title="First section", classes="m-number")
                word("to", "span")
                self._last = Field(title="Last section", classes="m-number")
                Button("All", title="All sections", on_click=lambda: self._put(0, self._count - 1))
            with box("m-form"):
                word("Method", "span")
                self._method = Choice(METHODS, title="Method", value="auto")
            with box("m-end"):
                Button("Cancel", title="Close", on_click=self._dialog.close)
                Button("Segment", title="Start", on_click=self._start, kind="main")

    @property
    def _count(self) -> int:
        return self._session.shape_zyx[0]

    def open(self, z: int) -> None:
        """Ask, with the section shown as the first choice."""
        self._dialog.open()
        self._put(z, z)

    def _put(self, first: int, last: int) -> None:
        self._first.put(str(first + 1))
        self._last.put(str(last + 1))

    def _start(self) -> None:
        try:
            sections = section_range(self._first.value, self._last.value, self._count)
            self._session.segment(sections, method=self._method.value)
        except MitosamError as error:
            self._refused(str(error))
        else:
            self._dialog.close()


def section_range(first: str, last: str, count: int) -> range:
    """Sections as typed, counted from 1, as a range that counts from 0.

    >>> section_range("2", "4", 9)
    range(1, 4)
    """
    if not (re.fullmatch(r"\s*\d{1,9}\s*", first) and re.fullmatch(r"\s*\d{1,9}\s*", last)):
        raise InputError(f"sections must be numbers from 1 to {count}, got {first!r} to {last!r}")
    start, stop = int(first), int(last)
    if not 1 <= start <= stop <= count:
        raise InputError(f"sections must rise within 1 to {count}, got {start} to {stop}")
    return range(start - 1, stop)


class ExportDialog:
    """Writes labels or measurements into the folder of the work, and offers them to take away."""

    def __init__(
        self, session: Session, downloads: Downloads, *, refused: Callable[[str], None]
    ) -> None:
        self._session = session
        self._downloads = downloads
        self._refused = refused
        names = {name: FORMATS[name][0] for name in get_args(ExportFormat)}
        with dialog("Export") as self._dialog:
            with box("m-form"):
                word("As", "span")
                self._format = Choice(names, title="Format", value="tiff")
            which = {"all": "All objects", "accepted": "Accepted objects only"}
            with box("m-form"):
                word("Of", "span")
                self._which = Choice(which, title="Which objects", value="all")
            self._result = box("m-result")
            with box("m-end"):
                Button("Close", title="Close", on_click=self._dialog.close)
                self._button = Button(
                    "Export", title="Write the file", on_click=self._start, kind="main"
                )

    def open(self) -> None:
        """Ask."""
        self._result.clear()
        self._dialog.open()

    def _start(self) -> None:
        self._button.show(enabled=False)
        self._result.clear()
        with self._result:
            word("Writing …", "p", "m-soft")
            Element("progress").style("width: 100%")
        background_tasks.create(self._export(), name="export")

    async def _export(self) -> None:
        try:
            path, address = await asyncio.to_thread(self._write)
        except MitosamError as error:
            self._result.clear()
            self._refused(str(error))
        else:
            self._offer(path, address)
        finally:
            self._button.show(enabled=True)

    def _write(self) -> tuple[Path, str]:
        name: ExportFormat = self._format.value  # type: ignore[assignment]  # of those offered
        out = export_path(self._session.folder, name, time.localtime())
        only_accepted = self._which.value == "accepted"
        path = self._session.export(out, name, only_accepted=only_accepted)
        return path, self._downloads.offer(path)

    def _offer(self, path: Path, address: str) -> None:
        self._result.clear()
        with self._result:
            word("Written into the folder of the work:", "p", "m-soft")
            word(f"{path.parent.name}/{path.name}", "p").style("margin: 4px 0 10px")
            link = Element("a").classes("m-button")
            link.props["href"], link.props["download"] = address, ""
            with link:
                ui.icon("file_download").props("aria-hidden=true")
                word("Download")


def export_path(folder: Path, name: ExportFormat, now: time.struct_time) -> Path:
    """A new name in the folder of the work: the browser has no say in where files go."""
    stamp = time.strftime("%Y%m%d-%H%M%S", now)
    return folder / "exports" / f"{name}-{stamp}{FORMATS[name][1]}"


class HelpDialog:
    """All keys."""

    def __init__(self) -> None:
        with dialog("Keys") as self._dialog:
            with box("m-keys"):
                for name, commands in groups():
                    with Element("section"):
                        word(name, "h3")
                        for command in commands:
                            with box("m-line"):
                                word(command.title)
                                word(command.key_text, "kbd")
            word(
                "Drag, or hold Space or the middle button, to move the picture; the wheel zooms. "
                "Everything is kept as you go: closing the page loses nothing.",
                "p",
                "m-soft",
            ).style("max-width: 860px")

    def open(self) -> None:
        """Show it."""
        self._dialog.open()
