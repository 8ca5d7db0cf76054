"""Passes on what is done in the viewer to the session, and has both show what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from napari.utils.notifications import show_info, show_warning
from qtpy.QtCore import QObject, QTimer, Signal

from mitosam.errors import InputError
from mitosam.ui.napari.dock.canvas import TOOLS, Canvas
from mitosam.ui.napari.dock.commands import COMMANDS
from mitosam.ui.napari.dock.jobs import JobFollower
from mitosam.ui.napari.dock.runner import Runner
from mitosam.ui.session.carry import CarryResult
from mitosam.ui.session.export import ExportFormat
from mitosam.ui.session.session import Session
from mitosam.ui.session.snapshot import JobState, PointXY
from mitosam.ui.session.view import AcceptMode

if TYPE_CHECKING:
    from napari.viewer import Viewer

REFRESH_MS = 20
EXPORT_FORMATS: tuple[ExportFormat, ...] = get_args(ExportFormat)


class Controller(QObject):
    """One viewer on a session; each name of `COMMANDS` is a method.

    `shown` tells the panel of each new snapshot, `tool_chosen` of a tool chosen by its key.
    """

    shown = Signal(object)
    tool_chosen = Signal(str)
    _touched = Signal()

    def __init__(self, viewer: Viewer, session: Session) -> None:
        super().__init__()
        self.session = session
        self.selected: tuple[int, ...] = ()
        self.view = session.view(0)
        self.runner = Runner(refuse=show_warning, done=self._soon)
        self.canvas = Canvas(viewer, session, self.view, self)
        self._jobs = JobFollower(session, self._tell_end)
        self._timer = QTimer(self, singleShot=True, interval=REFRESH_MS)
        self._timer.timeout.connect(self.refresh)
        self._touched.connect(self._soon)
        self._unsubscribe = session.subscribe(self._touched.emit)  # from whatever thread
        for command in COMMANDS.values():
            if command.key:
                self.canvas.bind(command.key, getattr(self, command.name))
        self.went(self.canvas.z)
        self.refresh()

    def close(self) -> None:
        """Leave the viewer and close the session, which waits for what still runs."""
        self._unsubscribe()
        self._timer.stop()
        self.runner.close()
        self._jobs.close()
        self.canvas.close()
        self.session.close()

    def refresh(self) -> None:
        """Show everything as it is now."""
        snapshot = self.view.snapshot()
        self.canvas.show(snapshot)
        self.shown.emit(snapshot)

    def point_put(self, x: float, y: float, *, positive: bool) -> None:
        """Ask for the object at a place."""
        self._do(lambda: self.view.add_point(x, y, positive=positive))

    def points_changed(self, points: Sequence[tuple[float, float, bool]]) -> None:
        """Outline anew with these points; a box or lasso stays."""
        self._do(lambda: self._outline_anew(points))

    def box_drawn(self, x0: float, y0: float, x1: float, y1: float) -> None:
        """Ask for the object in a box."""
        self._do(lambda: self.view.set_box(x0, y0, x1, y1))

    def lasso_drawn(self, corners_xy: Sequence[PointXY]) -> None:
        """Take what was drawn."""
        self._do(lambda: self.view.set_lasso(corners_xy))

    def picked(self, x: float, y: float, *, together: bool) -> None:
        """Select the object at a place."""
        found = self.session.id_at(self.canvas.z, x, y)
        if not together:
            self.select([found] if found else [])
        elif found in self.selected:
            self.select([one for one in self.selected if one != found])
        elif found:
            self.select([*self.selected, found])

    def select(self, object_ids: Iterable[int]) -> None:
        """Select these; the first is the one that is added to, cut, carried and split."""
        self.selected = tuple(object_ids)
        self.view.select_id(self.selected[0] if self.selected else None)
        self._soon()

    def went(self, z: int) -> None:
        """Have the session follow the viewer to a section."""
        if z != self.view.z:
            self._do(lambda: self.view.go(z), replaces="go")

    def tool_point(self) -> None:
        """Clicks are prompts."""
        self._use("point")

    def tool_box(self) -> None:
        """Drags are boxes."""
        self._use("box")

    def tool_lasso(self) -> None:
        """Drags are outlines."""
        self._use("lasso")

    def tool_select(self) -> None:
        """Clicks select objects."""
        self._use("select")

    def choose(self, candidate: int) -> None:
        """Choose a candidate, counted from 0."""
        self._do(lambda: self.view.choose(candidate))

    def choose_1(self) -> None:
        """Choose the first candidate."""
        self.choose(0)

    def choose_2(self) -> None:
        """Choose the second candidate."""
        self.choose(1)

    def choose_3(self) -> None:
        """Choose the third candidate."""
        self.choose(2)

    def choose_4(self) -> None:
        """Choose the fourth candidate."""
        self.choose(3)

    def keep(self) -> None:
        """Keep the outline as a new object."""
        self._accept("new")

    def add(self) -> None:
        """Add the outline to the selected object."""
        self._accept("add")

    def cut(self) -> None:
        """Cut the outline from the selected object."""
        self._accept("cut")

    def clear(self) -> None:
        """Drop the outline; where there is none, the selection."""
        draft = self.view.snapshot().draft
        if draft.points or draft.box_xyxy or draft.lasso_xy:
            self._do(self.view.clear)
        else:
            self.select([])

    def undo(self) -> None:
        """Take back the last prompt or edit, and show where it was."""
        self._do(self.view.undo, then=self._follow)

    def redo(self) -> None:
        """Do again what was taken back."""
        self._do(self.view.redo, then=self._follow)

    def accept(self) -> None:
        """Accept the selected proposals, and go to the next."""
        self._judge(self.session.accept)

    def reject(self) -> None:
        """Reject the selected proposals, and go to the next."""
        self._judge(self.session.reject)

    def next_uncertain(self) -> None:
        """Select the proposal to look at next, on this section or one that follows."""
        self._do(self._find_uncertain, then=self._show_object)

    def erase(self) -> None:
        """Erase the selected objects on this section."""
        self._erase(self.canvas.z)

    def erase_everywhere(self) -> None:
        """Erase the selected objects on all sections."""
        self._erase(None)

    def merge(self) -> None:
        """Make the selected objects one."""
        ids = self.selected
        self._do(lambda: self.session.merge(ids), then=lambda _: self.select(ids[:1]))

    def split(self) -> None:
        """Split the selected object round the points."""
        z, points = self.view.z, self.view.snapshot().draft.points
        seeds = [(z, int(y), int(x)) for x, y, positive in points if positive]
        if self._is_selected():
            action = partial(self.session.split, self.selected[0], seeds)
            self._do(action, then=self._was_split, title="splitting")

    def carry_on(self) -> None:
        """Carry the selected object to the next section."""
        self._carry(1)

    def carry_back(self) -> None:
        """Carry the selected object to the previous section."""
        self._carry(-1)

    def finish(self) -> None:
        """Mark the section as finished, or as not."""
        z = self.canvas.z
        finished = z not in self.session.finished()
        self._do(lambda: self.session.finish(z, finished=finished))

    def segment(self, first: int | None = None, last: int | None = None) -> None:
        """Propose all objects of the sections from `first` to `last`; of this one by default."""
        start = self.canvas.z if first is None else first
        stop = start if last is None else last
        self._do(
            lambda: self.session.segment(range(start, stop + 1)),
            then=lambda _: self._jobs.follow("segment"),
        )

    def teach(self) -> None:
        """Teach the model with the finished sections, then show old against new."""
        z = self.canvas.z
        self._do(
            lambda: self.session.teach(show=z),
            then=lambda _: self._jobs.follow("teach"),
            title="gathering the finished sections",
        )

    def switch_model(self) -> None:
        """Go on with the newly taught model."""
        self._do(self.session.switch_model, title="changing the model")

    def keep_model(self) -> None:
        """Go on with the model in use."""
        self._do(self.session.keep_model)

    def ask(self, text: str) -> None:
        """Find what a word names on this section."""
        self._do(lambda: self.view.ask(text), then=show_info, title=f"looking for {text}")

    def export(self, out: Path, export_format: ExportFormat, *, only_accepted: bool) -> None:
        """Write the labels, or their measurements."""
        action = partial(self.session.export, out, export_format, only_accepted=only_accepted)
        self._do(action, then=lambda path: show_info(f"wrote {path}"), title=f"writing {out.name}")

    def _do(
        self,
        action: Callable[[], Any],
        *,
        then: Callable[[Any], None] | None = None,
        title: str | None = None,
        replaces: str | None = None,
    ) -> None:
        self.runner.run(action, then=then, title=title, replaces=replaces)

    def _soon(self) -> None:
        """Refresh soon, once for whatever happens until then."""
        if not self._timer.isActive():
            self._timer.start()

    def _use(self, tool: str) -> None:
        assert tool in TOOLS
        self.canvas.use(tool)
        self.tool_chosen.emit(tool)

    def _outline_anew(self, points: Sequence[tuple[float, float, bool]]) -> None:
        draft = self.view.snapshot().draft
        self.view.clear()
        if draft.lasso_xy:
            self.view.set_lasso(draft.lasso_xy)
        if draft.box_xyxy:
            self.view.set_box(*draft.box_xyxy)
        for x, y, positive in points:
            self.view.add_point(x, y, positive=positive)

    def _accept(self, mode: AcceptMode) -> None:
        self._do(lambda: self.view.accept(mode), then=lambda object_id: self.select([object_id]))

    def _is_selected(self) -> bool:
        if not self.selected:
            show_warning("select an object first")
        return bool(self.selected)

    def _judge(self, judge: Callable[[Iterable[int]], object]) -> None:
        if self._is_selected():
            self._do(partial(judge, self.selected))
            self.next_uncertain()

    def _erase(self, z: int | None) -> None:
        if self._is_selected():
            for object_id in self.selected:
                self._do(partial(self.session.erase, object_id, z=z))
            self.select([])

    def _carry(self, step: int) -> None:
        if self._is_selected():
            z, object_id = self.canvas.z, self.selected[0]
            self._do(
                lambda: self.session.carry(object_id, z, step=step),
                then=partial(self._was_carried, step),
                title=f"carrying {object_id}",
            )

    def _was_carried(self, step: int, result: CarryResult) -> None:
        if result.sections:
            self.canvas.go(max(result.sections, key=lambda z: step * z))
        if result.stopped:
            show_warning(result.stopped)

    def _was_split(self, ids: tuple[int, ...]) -> None:
        self.select(ids)
        self._do(self.view.clear)

    def _follow(self, _: object) -> None:
        """Show the section to which the session went."""
        self.canvas.go(self.view.z)

    def _find_uncertain(self) -> tuple[int, int]:
        """A section and the most uncertain object there: this section's, or the nearest after."""
        z = self.view.z
        following = sorted(self.session.annotated(), key=lambda other: (other < z, other))
        for section in following:
            for one in self.session.objects(section)[:1]:
                if one.state == "proposed":
                    return section, one.id
        raise InputError("nothing is proposed any more")

    def _show_object(self, found: tuple[int, int]) -> None:
        z, object_id = found
        self.canvas.go(z)
        self.select([object_id])

    def _tell_end(self, job: JobState) -> None:
        if job.error:
            show_warning(f"{job.title}: {job.error}")
        else:
            show_info(f"{job.title}: done")
        self._soon()
