"""The interactive session: a volume, its labels, a model that helps, and what goes on behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from mitosam.config import RunSettings
from mitosam.errors import InputError, ModelError
from mitosam.geometry import Window
from mitosam.io.volume import Volume
from mitosam.progress import SILENT, Progress
from mitosam.ui.session.assistant import Assistant, FoundMask
from mitosam.ui.session.carry import CarryResult, box_prompt, most_alike
from mitosam.ui.session.draft import Draft
from mitosam.ui.session.export import ExportFormat, export_labels, only_ids
from mitosam.ui.session.jobs import Jobs, Work, WorkProgress
from mitosam.ui.session.labelling import Labelling
from mitosam.ui.session.snapshot import Candidate, Comparison, JobKind, JobState
from mitosam.ui.session.store import AnnotationStore
from mitosam.ui.session.teaching import Lesson, run_lesson, write_lesson
from mitosam.ui.session.view import CandidateMask, View
from mitosam.workflows.voxel_sizes import VoxelSize

# A model by name at work on the session's volume, and whom to tell when more is embedded.
Assist = Callable[[Path | str, Callable[[], None]], Assistant]
LESSONS = "taught"
MODEL = "model"


class Session(Labelling):
    """What all tabs of one volume share; made by `open_session`, safe to use from any thread.

    `folder` holds the labels (`annotations.sqlite`) and whatever else is made on the way.
    """

    def __init__(
        self,
        volume: Volume,
        store: AnnotationStore,
        model: Path | str,
        assist: Assist,
        *,
        folder: Path,
        settings: RunSettings,
        voxel_size_nm: VoxelSize | None = None,
    ) -> None:
        super().__init__(store, volume.shape_zyx, spacing=voxel_size_nm or (1.0, 1.0, 1.0))
        self.volume = volume
        self.voxel_size_nm = voxel_size_nm
        self.folder = folder
        self._assist = assist
        self._assistant = assist(model, self.touch)
        self._settings = settings
        self._jobs = Jobs(self.touch)
        self._comparison: Comparison | None = None

    def close(self) -> None:
        """Stop what goes on, and let others open the folder."""
        self._jobs.close()
        self._assistant.close()
        with self._lock:
            self._store.close()

    def view(self, z: int = 0) -> View:
        """A new tab's view."""
        view = View(self, z)
        self.look_at(z)
        return view

    def image(self, z: int) -> UInt8[np.ndarray, "height width"]:
        """A section in grey values of 0 to 255."""
        self.check_section(z)
        return self._assistant.image(z)

    @property
    def assistant(self) -> Assistant:
        """The model at work."""
        return self._assistant

    @property
    def model_name(self) -> str:
        """The model that helps."""
        return self._assistant.model_name

    @property
    def remark(self) -> str:
        """What to beware of with the model on this volume; "" where nothing is."""
        return self._assistant.remark

    def embedded(self) -> frozenset[int]:
        """The sections on which prompts are answered at once."""
        return self._assistant.embedded()

    def look_at(self, z: int) -> None:
        """Have this section made ready first, then those beside it."""
        self._assistant.look_at(z)

    def jobs(self) -> tuple[JobState, ...]:
        """What goes on in the background, or ended last."""
        return self._jobs.states()

    def stop(self, kind: JobKind) -> None:
        """End a job in the background."""
        self._jobs.stop(kind)

    def wait(self, kind: JobKind, timeout_s: float | None = None) -> bool:
        """Wait for a job's end; whether there is none running now."""
        return self._jobs.wait(kind, timeout_s)

    def comparison(self) -> Comparison | None:
        """The old and the newly taught model side by side, until one of them is chosen."""
        return self._comparison

    def candidates(self, z: int, draft: Draft) -> tuple[CandidateMask, ...]:
        """The masks among which to choose; what was drawn by hand stands last."""
        prompts = draft.prompts()
        found = self._assistant.candidates(z, prompts) if prompts is not None else ()
        masks = [_candidate(one) for one in found if one.mask.any()]
        if draft.lasso_xy:
            masks.append(_drawn(draft.drawn_window(), draft.drawn_mask()))
        return tuple(masks)

    def ask(self, text: str, z: int) -> str:
        """Propose all objects of a section that a word names; the answer is a sentence."""
        found = self._assistant.ask(text, z)
        sections = self.propose(found.labels, found.confidence)
        count = len([one for one in self.objects(z) if one.state == "proposed"]) if sections else 0
        noun = "object" if count == 1 else "objects"
        heard = found.sentence or f"“{text.strip()}”"
        return f"{heard}: {count} {noun} proposed on section {z + 1}"

    def carry(self, object_id: int, z: int, *, step: int, count: int = 1) -> CarryResult:
        """Outline an object on the sections that follow (`step` 1) or precede (-1) this one."""
        if step not in (1, -1) or count < 1:
            raise InputError(f"step must be 1 or -1 and count positive, got {step} and {count}")
        done: list[int] = []
        stopped = None
        while stopped is None and len(done) < count:
            stopped = self._carry_on(object_id, z, z + step)
            if stopped is None:
                z += step
                done.append(z)
        return CarryResult(sections=tuple(done), stopped=stopped)

    def _carry_on(self, object_id: int, z: int, to: int) -> str | None:
        """Carry an object one section on; why that cannot be, or None."""
        if not 0 <= to < self.shape_zyx[0]:
            return f"section {z + 1} is the last one"
        if to in self.sections_of(object_id):
            return f"object {object_id} is on section {to + 1} already"
        y, x, mask = self.mask_of(object_id, z)
        found = most_alike(self._assistant.candidates(to, box_prompt(y, x, mask)), y, x, mask)
        if found is None:
            return f"section {to + 1} shows nothing like it"
        window = found.window
        other = self.labels_region(to, window.y, window.x, found.mask.shape)
        taken = other[found.mask]
        if np.count_nonzero(taken) * 2 > len(taken):
            neighbour = np.bincount(taken[taken > 0]).argmax()
            return f"section {to + 1} has object {neighbour} there; merge them if they are one"
        self.add_to(object_id, to, window.y, window.x, found.mask)
        return None

    def segment(self, sections: range, *, method: str = "auto") -> None:
        """Find all objects of some sections in the background; they are proposed."""
        for z in (sections[0], sections[-1]):
            self.check_section(z)
        title = (
            f"segmenting section {sections[0] + 1}"
            if len(sections) == 1
            else f"segmenting sections {sections[0] + 1} to {sections[-1] + 1}"
        )
        self._jobs.start("segment", title, lambda work: self._segment(work, sections, method))

    def teach(self, *, show: int) -> None:
        """Teach the model with the finished sections, in the background.

        Then the old and the new model are compared on the section nearest to `show` that is not
        finished; nothing is switched by itself.

        Raises
        ------
        InputError
            No section is finished, or none of them holds an object.
        """
        self.check_section(show)
        sections = sorted(self.finished())
        folder = self._next_lesson()
        lesson = write_lesson(
            self.image,
            self.labels,
            sections,
            folder,
            self._settings,
            self._assistant.origin,
            self.voxel_size_nm,
        )
        title = f"teaching with {len(sections)} section{'s' if len(sections) > 1 else ''}"
        self._jobs.start("teach", title, lambda work: self._teach(work, lesson, show))

    def switch_model(self) -> None:
        """Use the newly taught model from now on.

        Raises
        ------
        InputError
            None was taught.
        """
        compared = self._compared()
        assistant = self._assist(compared.new_model, self.touch)
        old, self._assistant = self._assistant, assistant
        with self._lock:
            self._store.note(MODEL, str(compared.new_model))
        old.close()
        self.keep_model()

    def keep_model(self) -> None:
        """Go on with the model in use; the newly taught one stays in `folder`."""
        self._compared()
        self._comparison = None
        self.touch()

    def _compared(self) -> Comparison:
        if self._comparison is None:
            raise InputError("no newly taught model waits for a choice")
        return self._comparison

    def _next_lesson(self) -> Path:
        numbers = [int(path.name) for path in (self.folder / LESSONS).glob("[0-9]*")]
        folder = self.folder / LESSONS / str(max(numbers, default=0) + 1)
        folder.mkdir(parents=True)
        return folder

    def _teach(self, work: Work, lesson: Lesson, show: int) -> None:
        run = run_lesson(lesson, work)
        if run is None:
            return
        unused = set(range(self.shape_zyx[0])) - self.finished() or {show}
        z = min(unused, key=lambda other: abs(other - show))
        work.report(0, 0, "comparing the old and the new model")
        taught = self._assist(run, lambda: None)
        try:
            new = taught.segment(range(z, z + 1), "auto", WorkProgress(work))
        finally:
            taught.close()
        try:
            old = self._assistant.segment(range(z, z + 1), "auto", WorkProgress(work))
        except ModelError:  # a base model has no head
            old = None
        self._comparison = Comparison(
            z=z, old=old.labels[z] if old else None, new=new.labels[z], new_model=run
        )

    def label_volume(self, *, only_accepted: bool = False) -> Volume:
        """The labels as a volume, read as they are at the time of reading."""
        volume = Volume(
            name="labels",
            shape_zyx=self.shape_zyx,
            dtype=np.dtype(np.uint32),
            section_names=self.volume.section_names,
            read_section=self.labels,
            voxel_size_nm=self.voxel_size_nm,
        )
        return only_ids(volume, self._accepted()) if only_accepted else volume

    def export(
        self,
        out: Path,
        export_format: ExportFormat,
        *,
        only_accepted: bool = False,
        progress: Progress = SILENT,
    ) -> Path:
        """Write the labels, or what is measured of them, into the new file or folder `out`."""
        labels = self.label_volume(only_accepted=only_accepted)
        return export_labels(labels, out, export_format, progress)

    def _accepted(self) -> frozenset[int]:
        sections = self.annotated()
        return frozenset(
            one.id for z in sections for one in self.objects(z) if one.state == "accepted"
        )

    def _segment(self, work: Work, sections: range, method: str) -> None:
        found = self._assistant.segment(sections, method, WorkProgress(work))
        self.propose(found.labels, found.confidence)


def _candidate(found: FoundMask) -> CandidateMask:
    """A found mask, cut to the box round it."""
    rows, columns = (np.flatnonzero(found.mask.any(axis=axis)) for axis in (1, 0))
    top, left = int(rows[0]), int(columns[0])
    mask = found.mask[top : rows[-1] + 1, left : columns[-1] + 1]
    return CandidateMask(
        shown=Candidate(kind="sam", area_px=int(mask.sum()), score=found.score),
        window=Window(found.window.y + top, found.window.x + left, *mask.shape),
        mask=mask,
    )


def _drawn(window: Window, mask: np.ndarray) -> CandidateMask:
    return CandidateMask(
        shown=Candidate(kind="drawn", area_px=int(mask.sum())), window=window, mask=mask
    )
