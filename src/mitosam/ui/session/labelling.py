"""Editing the labels: each method is one step of the history, and says which sections changed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

import numpy as np
from jaxtyping import Bool, Int

from mitosam.errors import InputError
from mitosam.ui.session.blocks import Ids
from mitosam.ui.session.edits import Change, cut_out, given, painted, parts_round, replaced
from mitosam.ui.session.snapshot import ObjectInfo
from mitosam.ui.session.store import AnnotationStore, Edit, Edited
from mitosam.ui.session.tables import ObjectFacts

# A proposal of which less than this is free of other objects is one that they have already.
MIN_FREE = 0.5


class Labelling:
    """The labels of a volume and all that can be done to them, safe to use from any thread.

    Ids count from 1; one id is one mitochondrion, on all sections that it is on. Points and boxes
    are whole pixels. A wrong request is an `InputError` and changes nothing.
    """

    def __init__(
        self,
        store: AnnotationStore,
        shape_zyx: tuple[int, int, int],
        *,
        spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    ) -> None:
        self.shape_zyx = shape_zyx
        self.revision = 0
        self._store = store
        self._spacing = spacing
        self._lock = threading.RLock()
        self._subscribers: list[Callable[[], None]] = []

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Have `changed` called, from any thread, after each change; the result ends that."""
        with self._lock:
            self._subscribers.append(changed)

        def unsubscribe() -> None:
            with self._lock, suppress(ValueError):
                self._subscribers.remove(changed)

        return unsubscribe

    def touch(self) -> None:
        """Tell everybody that something changed."""
        with self._lock:
            self.revision += 1
            subscribers = list(self._subscribers)
        for changed in subscribers:
            changed()

    def labels(self, z: int) -> Ids:
        """The ids of a section, 0 where there is no object."""
        return self.labels_region(z, 0, 0, self.shape_zyx[1:])

    def labels_region(self, z: int, y: int, x: int, shape_yx: tuple[int, int]) -> Ids:
        """The ids of part of a section, with its corner at y, x."""
        self.check_section(z)
        with self._lock:
            return self._store.region(z, y, x, shape_yx)

    def id_at(self, z: int, x: float, y: float) -> int:
        """The object at a place of a section, 0 for none."""
        height, width = self.shape_zyx[1:]
        if not (0 <= x < width and 0 <= y < height):
            return 0
        return int(self.labels_region(z, int(y), int(x), (1, 1))[0, 0])

    def objects(self, z: int) -> tuple[ObjectInfo, ...]:
        """The objects of a section: proposed ones first, the uncertain before the certain."""
        self.check_section(z)
        with self._lock:
            return tuple(sorted(self._store.objects(z), key=_order))

    def mask_of(self, object_id: int, z: int) -> tuple[int, int, Bool[np.ndarray, "h w"]]:
        """An object on a section: the corner y, x of the box round it, and its mask in there.

        Raises
        ------
        InputError
            It is not on that section.
        """
        with self._lock:
            x0, y0, x1, y1 = self._found(object_id, z).box_xyxy
            region = self._store.region(z, y0, x0, (y1 - y0, x1 - x0))
        return y0, x0, region == object_id

    def sections_of(self, object_id: int) -> tuple[int, ...]:
        """The sections that an object is on, in order."""
        with self._lock:
            return self._store.sections_of(object_id)

    def annotated(self) -> frozenset[int]:
        """The sections that hold an object."""
        with self._lock:
            return self._store.annotated()

    def finished(self) -> frozenset[int]:
        """The sections that were marked as finished."""
        with self._lock:
            return self._store.finished()

    def undo_title(self) -> str | None:
        """What `undo` would take back, None for nothing."""
        with self._lock:
            return self._store.undo_title()

    def redo_title(self) -> str | None:
        """What `redo` would make again, None for nothing."""
        with self._lock:
            return self._store.redo_title()

    def undo(self) -> Edited | None:
        """Take back the last edit."""
        return self._turned(self._store.undo)

    def redo(self) -> Edited | None:
        """Make the edit again that was taken back last."""
        return self._turned(self._store.redo)

    def add(self, z: int, y: int, x: int, mask: Bool[np.ndarray, "h w"]) -> int:
        """The id of a new object: the mask, with its corner at y, x, where no other object is."""
        with self._editing("new object") as edit:
            object_id = edit.new_id()
            self._paint(edit, z, y, x, mask, object_id)
            edit.describe(object_id, ObjectFacts())
        return object_id

    def add_to(
        self, object_id: int, z: int, y: int, x: int, mask: Bool[np.ndarray, "h w"]
    ) -> frozenset[int]:
        """Give an object what the mask holds and no other object has, on whatever section."""
        self._must_exist(object_id)
        with self._editing(f"add to {object_id}") as edit:
            self._paint(edit, z, y, x, mask, object_id)
        return edit.sections

    def cut_from(
        self, object_id: int, z: int, y: int, x: int, mask: Bool[np.ndarray, "h w"]
    ) -> frozenset[int]:
        """Take what the mask holds away from an object."""
        with self._editing(f"cut from {object_id}") as edit:
            self._change(edit, z, (y, x), mask.shape, cut_out(mask, object_id))
            if not edit.sections:
                raise InputError(f"the outline does not touch object {object_id}")
        return edit.sections

    def erase(self, object_id: int, *, z: int | None = None) -> frozenset[int]:
        """Remove an object from a section, or from all."""
        if z is not None:
            self._found(object_id, z)
        self._must_exist(object_id)
        with self._editing(f"erase {object_id}") as edit:
            for section in self._store.sections_of(object_id) if z is None else (z,):
                self._relabel(edit, section, object_id, 0)
        return edit.sections

    def accept(self, object_ids: Iterable[int]) -> frozenset[int]:
        """Take proposed objects as they are."""
        ids = list(object_ids)
        with self._editing(f"accept {_listed(ids)}") as edit:
            return self._accept(edit, ids)

    def reject(self, object_ids: Iterable[int]) -> frozenset[int]:
        """Remove proposed objects from all sections."""
        ids = list(object_ids)
        with self._editing(f"reject {_listed(ids)}") as edit:
            for object_id in ids:
                self._must_exist(object_id)
                for z in self._store.sections_of(object_id):
                    self._relabel(edit, z, object_id, 0)
        return edit.sections

    def merge(self, object_ids: Sequence[int]) -> frozenset[int]:
        """Make several objects one, which keeps the first one's id."""
        first, *others = dict.fromkeys(object_ids)
        if not others:
            raise InputError("merging needs two objects or more; select another one too")
        with self._editing(f"merge {_listed([first, *others])}") as edit:
            for object_id in (first, *others):
                self._must_exist(object_id)
            for object_id in others:
                for z in self._store.sections_of(object_id):
                    self._relabel(edit, z, object_id, first)
            edit.describe(first, ObjectFacts())
        return edit.sections

    def split(self, object_id: int, points_zyx: Sequence[tuple[int, int, int]]) -> tuple[int, ...]:
        """The ids of an object's parts, one round each point; the first keeps the object's id.

        It is cut on all sections, where it is thin between the points.
        """
        if len(set(points_zyx)) < 2:
            raise InputError("splitting needs two points or more, one in each part")
        for z, y, x in points_zyx:
            if self.id_at(z, x, y) != object_id:
                raise InputError(
                    f"points must lie on object {object_id}, got x={x}, y={y} on section {z + 1}"
                )
        with self._editing(f"split {object_id}") as edit:
            corner, mask = self._whole(object_id)
            seeds = [(z - corner[0], y - corner[1], x - corner[2]) for z, y, x in points_zyx]
            parts = parts_round(mask, seeds, self._spacing)
            ids = [object_id, *(edit.new_id() for _ in points_zyx[1:])]
            self._paint_parts(edit, corner, mask, np.array([0, *ids], np.uint32)[parts])
            for part in ids:
                edit.describe(part, ObjectFacts())
        return tuple(ids)

    def finish(self, z: int, *, finished: bool) -> frozenset[int]:
        """Say that everything on a section is right, its proposed objects too; or take it back."""
        self.check_section(z)
        title = f"finish section {z + 1}" if finished else f"reopen section {z + 1}"
        with self._editing(title) as edit:
            edit.finish(z, finished=finished)
            if finished:
                proposed = [one.id for one in self._store.objects(z) if one.state == "proposed"]
                self._accept(edit, proposed)
        return edit.sections | {z}

    def propose(
        self,
        found: Mapping[int, Int[np.ndarray, "height width"]],
        confidence: Mapping[int, float],
    ) -> frozenset[int]:
        """Take what an automatic method found on some sections as proposed objects.

        An id that is on several sections is one object. What was proposed there before goes;
        other objects keep their pixels, and what lies mostly on them is not proposed again.
        """
        with self._editing(f"segment {_listed([z + 1 for z in found], 'section')}") as edit:
            new_ids: dict[int, int] = {}
            for z, labels in found.items():
                self.check_section(z)
                self._propose_on(edit, z, labels, new_ids)
            for number, object_id in new_ids.items():
                trust = confidence.get(number)
                edit.describe(object_id, ObjectFacts(state="proposed", confidence=trust))
        return edit.sections

    def take_labels(self, sections: Iterable[tuple[int, Int[np.ndarray, "height width"]]]) -> None:
        """Replace whole sections by given ids."""
        with self._editing("open labels") as edit:
            for z, labels in sections:
                self.check_section(z)
                edit.keep_above(int(labels.max(initial=0)))
                edit.paint(z, 0, 0, labels.astype(np.uint32))

    def check_section(self, z: int) -> None:
        """Raise InputError if there is no such section."""
        if not 0 <= z < self.shape_zyx[0]:
            raise InputError(f"sections must lie in 1 to {self.shape_zyx[0]}, got section {z + 1}")

    def _accept(self, edit: Edit, object_ids: Iterable[int]) -> frozenset[int]:
        sections: set[int] = set()
        for object_id in object_ids:
            on = self._must_exist(object_id)
            found = self._found(object_id, on[0])
            edit.describe(object_id, ObjectFacts(confidence=found.confidence))
            sections.update(on)
        return frozenset(sections)

    def _propose_on(
        self, edit: Edit, z: int, labels: Int[np.ndarray, "height width"], new_ids: dict[int, int]
    ) -> None:
        """Paint one section's finds; `new_ids` are those of what earlier sections held."""
        before = self._store.section(z)
        old = [one.id for one in self._store.objects(z) if one.state == "proposed"]
        before[np.isin(before, old)] = 0
        free = before == 0
        counts = np.bincount(labels.ravel())
        free_counts = np.bincount(labels[free], minlength=len(counts))
        id_of = np.zeros(len(counts), np.uint32)
        for number in np.flatnonzero(counts[1:]) + 1:
            if free_counts[number] >= MIN_FREE * counts[number]:
                if number not in new_ids:
                    new_ids[int(number)] = edit.new_id()
                id_of[number] = new_ids[int(number)]
        edit.paint(z, 0, 0, np.where(free, id_of[labels], before))

    def _whole(self, object_id: int) -> tuple[tuple[int, int, int], Bool[np.ndarray, "z y x"]]:
        """An object on all its sections, with the corner of the box round it."""
        sections = self._must_exist(object_id)
        boxes = np.array([self._found(object_id, z).box_xyxy for z in sections])
        (x0, y0), (x1, y1) = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
        shape = (int(y1 - y0), int(x1 - x0))
        first, last = sections[0], sections[-1]
        mask = np.stack(
            [
                self._store.region(z, int(y0), int(x0), shape) == object_id
                for z in range(first, last + 1)
            ]
        )
        return (first, int(y0), int(x0)), mask

    def _paint_parts(
        self,
        edit: Edit,
        corner: tuple[int, int, int],
        mask: Bool[np.ndarray, "z y x"],
        ids: Int[np.ndarray, "z y x"],
    ) -> None:
        """Give the voxels of a mask new ids."""
        z, y, x = corner
        for step, (here, new) in enumerate(zip(mask, ids, strict=True)):
            self._change(edit, z + step, (y, x), here.shape, given(here, new))

    def _paint(
        self, edit: Edit, z: int, y: int, x: int, mask: Bool[np.ndarray, "h w"], object_id: int
    ) -> None:
        self.check_section(z)
        self._change(edit, z, (y, x), mask.shape, painted(mask, object_id))
        if not edit.sections:
            raise InputError("nothing of the outline is free: other objects have these pixels")

    def _relabel(self, edit: Edit, z: int, object_id: int, by: int) -> None:
        x0, y0, x1, y1 = self._found(object_id, z).box_xyxy
        self._change(edit, z, (y0, x0), (y1 - y0, x1 - x0), replaced(object_id, by))

    def _change(
        self, edit: Edit, z: int, corner_yx: tuple[int, int], shape_yx: tuple[int, ...],
        change: Change,
    ) -> None:  # fmt: skip
        height, width = shape_yx
        before = self._store.region(z, *corner_yx, (height, width))
        edit.paint(z, *corner_yx, change(before))

    def _found(self, object_id: int, z: int) -> ObjectInfo:
        self.check_section(z)
        with self._lock:
            found = self._store.object_on(object_id, z)
        if found is None:
            raise InputError(f"object {object_id} is not on section {z + 1}")
        return found

    def _must_exist(self, object_id: int) -> tuple[int, ...]:
        """The sections an object is on."""
        sections = self.sections_of(object_id)
        if not sections:
            raise InputError(f"there is no object {object_id}")
        return sections

    def _turned(self, turn: Callable[[], Edited | None]) -> Edited | None:
        with self._lock:
            edited = turn()
        if edited is not None:
            self.touch()
        return edited

    @contextmanager
    def _editing(self, title: str) -> Iterator[Edit]:
        """One edit by this thread; everybody is told when it is made."""
        with self._lock, self._store.edit(title) as edit:
            yield edit
        self.touch()


def _order(one: ObjectInfo) -> tuple[bool, float, int]:
    trust = 1.0 if one.confidence is None else one.confidence
    return one.state != "proposed", trust if one.state == "proposed" else 0.0, one.id


def _listed(numbers: Sequence[int], noun: str = "") -> str:
    """`1`, `1 and 2`, or `3 objects`; with a noun `section 1`, `3 sections`."""
    if len(numbers) > 2:
        return f"{len(numbers)} {noun or 'object'}s"
    words = " and ".join(map(str, numbers))
    return f"{noun}{'s' if len(numbers) > 1 else ''} {words}" if noun else words
