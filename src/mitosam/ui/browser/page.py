"""The page: its parts, and how messages reach the session and answers the browser."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from nicegui import background_tasks, ui

from mitosam.errors import InputError, MitosamError
from mitosam.ui.browser.bars import SectionBar, ToolBar, TopBar
from mitosam.ui.browser.commands import IN_THE_BROWSER
from mitosam.ui.browser.dialogs import ExportDialog, HelpDialog, SegmentDialog
from mitosam.ui.browser.inbox import Inbox
from mitosam.ui.browser.messages import AnyMessage, CommandMessage, read_message
from mitosam.ui.browser.panels import JobsPanel, ObjectsPanel, OutlinePanel, SelectionPanel
from mitosam.ui.browser.routes import Downloads
from mitosam.ui.browser.scene import Scene
from mitosam.ui.browser.tab import Tab
from mitosam.ui.browser.teaching import TeachDialog
from mitosam.ui.browser.viewer import Viewer
from mitosam.ui.browser.widgets import box
from mitosam.ui.session.session import Session

log = logging.getLogger(__name__)

PATIENCE_S = 0.15  # after which a page shows what it waits for
PAUSE_S = 0.05  # between two refreshes, so that many changes are one


class Page:
    """What one browser tab shows; made while NiceGUI builds it."""

    def __init__(self, session: Session, downloads: Downloads) -> None:
        self.tab = Tab(session)
        self.inbox = Inbox(self._answer)
        self._session = session
        self._shown = 0
        self._changed = asyncio.Event()
        self._build(session, downloads)
        self._commands = self._own_commands()
        self._loop = asyncio.get_running_loop()
        self._unsubscribe = session.subscribe(self._wake)
        self._tasks = [
            background_tasks.create(work, name=name)
            for work, name in ((self.inbox.run(), "inbox"), (self._refreshing(), "refreshing"))
        ]

    def close(self) -> None:
        """Forget the tab; what was committed stays."""
        self._unsubscribe()
        for task in self._tasks:
            task.cancel()

    def _build(self, session: Session, downloads: Downloads) -> None:
        size = session.voxel_size_nm
        with box("m-page") as self._root:
            self.top = TopBar(self.run, on_words=lambda text: self.put("words", text=text))
            self.tools = ToolBar(self.run)
            with box("m-stage", "main"):
                self.viewer = Viewer(
                    pixel_nm=None if size is None else size[2],
                    on_act=self.receive,
                    on_ready=self._ready,
                )
            self.bar = SectionBar(
                self.run, session.shape_zyx[0], on_go=lambda z: self.put("go", z=z)
            )
            with box("m-side", "aside"):
                panels = (
                    OutlinePanel(self.run),
                    SelectionPanel(self.run, on_count=self._carry_over),
                    ObjectsPanel(self.run, on_pick=self._pick),
                    JobsPanel(on_stop=session.stop, on_compare=lambda: self.teach.compare()),
                )
            self._parts = (self.top, self.tools, self.bar, *panels)
        self.segment = SegmentDialog(session, refused=self.refuse)
        self.teach = TeachDialog(session, refused=self.refuse)
        self.export = ExportDialog(session, downloads, refused=self.refuse)
        self.help = HelpDialog()

    def _own_commands(self) -> dict[str, Callable[[], object]]:
        return {
            "segment": lambda: self.segment.open(self.tab.view.z),
            "teach": lambda: self.teach.open(),
            "export": lambda: self.export.open(),
            "help": lambda: self.help.open(),
            **{name: partial(self.viewer.run, name) for name in IN_THE_BROWSER},
        }

    def run(self, name: str) -> None:
        """Do what a button stands for."""
        self.receive({"do": "run", "name": name})

    def put(self, do: str, **values: object) -> None:
        """Do what a field asks for."""
        self.receive({"do": do, **values})

    def receive(self, sent: object) -> None:
        """Take what the browser sent; what is no message is refused and logged."""
        try:
            message = read_message(sent)
            own = self._commands.get(message.name) if isinstance(message, CommandMessage) else None
            if own is not None:
                own()
            else:
                self.inbox.put(message)
        except InputError as error:
            log.warning("refused a message: %s", error)
            self.refuse(str(error))

    def refuse(self, text: str) -> None:
        """Say why something cannot be done."""
        self.notify(text, kind="warning")

    def notify(self, text: str, *, kind: str = "info") -> None:
        """Say something, for a while."""
        with self._root:
            ui.notify(text, type=kind, position="top", timeout=5000)  # type: ignore[arg-type]

    def _ready(self, sent: dict[str, object]) -> None:
        """The canvas is there: go to the section that it showed before it was loaded anew."""
        z = sent.get("z")
        if isinstance(z, int) and 0 < z < self._session.shape_zyx[0]:
            self.put("go", z=z)
        self._shown = 0
        self._changed.set()

    def _pick(self, sent: dict[str, object]) -> None:
        self.receive({**sent, "do": "pick"})

    def _carry_over(self, count: int) -> None:
        self.tab.carry_count = min(max(count, 1), 99)

    async def _answer(self, message: AnyMessage) -> None:
        """Do what a message asks for, in a thread, and show what came of it."""
        work = asyncio.ensure_future(asyncio.to_thread(self.tab.perform, message))
        try:
            await asyncio.wait([work], timeout=PATIENCE_S)
            if not work.done():
                await self._refresh()
            if notice := await work:
                self.notify(notice)
        except MitosamError as error:
            self.refuse(str(error))
        except Exception as error:  # the page would stay silent, and answer nothing more
            log.exception("%s failed", message)
            self.notify(f"{type(error).__name__}: {error}", kind="negative")
        if not len(self.inbox):
            await self._refresh()

    def _wake(self) -> None:
        """Have the page refreshed; called from any thread."""
        with suppress(RuntimeError):  # the server has stopped meanwhile
            self._loop.call_soon_threadsafe(self._changed.set)

    async def _refreshing(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self._refresh()
            await asyncio.sleep(PAUSE_S)

    async def _refresh(self) -> None:
        try:
            self._show(await asyncio.to_thread(self.tab.scene))
        except MitosamError as error:
            self.refuse(str(error))

    def _show(self, scene: Scene) -> None:
        """Show a scene, unless a later one is shown already."""
        if scene.number < self._shown:
            return
        self._shown = scene.number
        self.viewer.show(scene)
        for part in self._parts:
            part.show(scene)
        self.teach.show(scene)
