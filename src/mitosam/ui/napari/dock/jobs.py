"""The session's jobs as napari's background work, with napari's progress."""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial

from napari.qt.threading import create_worker
from napari.utils import progress

from mitosam.ui.session.session import Session
from mitosam.ui.session.snapshot import JobKind, JobState

POLL_S = 0.1


class JobFollower:
    """Follows the jobs that were started here; `tell` is told how each ended.

    napari lists the work in its activity dock, and asks before it quits during it.
    """

    def __init__(self, session: Session, tell: Callable[[JobState], None]) -> None:
        self._session = session
        self._tell = tell
        self._followed: set[JobKind] = set()
        self._closed = False

    def follow(self, kind: JobKind) -> None:
        """Show a job that was started just now, which may have ended already."""
        if kind in self._followed:
            return
        self._followed.add(kind)
        bar = progress(total=0, desc=_state(self._session, kind).title)
        worker = create_worker(_states, self._session, kind, _start_thread=False)
        worker.yielded.connect(partial(_show, bar))
        worker.returned.connect(self._ended)
        worker.aborted.connect(partial(self._session.stop, kind))
        worker.finished.connect(partial(self._forget, kind, bar))
        worker.start()

    def close(self) -> None:
        """Show nothing any more."""
        self._closed = True

    def _ended(self, job: JobState | None) -> None:
        if job is not None and not self._closed:
            self._tell(job)

    def _forget(self, kind: JobKind, bar: progress) -> None:
        bar.close()
        self._followed.discard(kind)


def _states(session: Session, kind: JobKind) -> Generator[JobState, None, JobState]:
    """A running job's state again and again; at last the state in which it ended is returned."""
    while not session.wait(kind, POLL_S):
        yield _state(session, kind)
    return _state(session, kind)  # what the worker's `returned` tells


def _state(session: Session, kind: JobKind) -> JobState:
    return next(job for job in session.jobs() if job.kind == kind)


def _show(bar: progress, job: JobState) -> None:
    if job.total and job.total != bar.total:
        bar.reset(job.total)
    bar.set_description(f"{job.title}: {job.stage}" if job.stage else job.title)
    bar.update(job.done - bar.n)
