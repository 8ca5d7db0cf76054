"""The labels being made, in one SQLite file: whole after every edit, undone without limit.

A section is held as blocks of ids, and an edit as what its blocks and marks were before and after.
So an edit costs what it touches, memory does not grow with the number of edits or sections, and
what was committed survives the process, and the machine.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt32

from mitosam.ui.session.blocks import BlockPlace, Ids, parts
from mitosam.ui.session.database import Database
from mitosam.ui.session.snapshot import ObjectInfo
from mitosam.ui.session.tables import MarkKind, ObjectFacts, Tables


@dataclass(frozen=True, slots=True, kw_only=True)
class Edited:
    """An edit that was made, taken back or made again: its name and the sections it changed."""

    title: str
    sections: frozenset[int]


class AnnotationStore:
    """The labels of one volume in one file, which one process at a time may open.

    One thread at a time may use it; which one does not matter.

    Raises
    ------
    StorageError
        The file is damaged, in use, or cannot be written.
    InputError
        It belongs to a volume of another shape.
    """

    def __init__(self, path: Path, shape_zyx: tuple[int, int, int]) -> None:
        self._database = Database(path)
        try:
            self._tables = Tables(self._database, shape_zyx)
        except BaseException:
            self._database.close()
            raise

    def close(self) -> None:
        """Let others open the file."""
        self._database.close()

    def fact(self, name: str) -> Any:  # noqa: ANN401  # whatever JSON holds
        """What was noted under `name`; None if nothing was."""
        return self._tables.fact(name)

    def note(self, name: str, value: object) -> None:
        """Keep a fact that is no edit and so is not undone."""
        with self._database.transaction():
            self._tables.note(name, value)

    def section(self, z: int) -> Ids:
        """The ids of a section, 0 where there is no object."""
        return self._tables.region(z, 0, 0, self._tables.shape_yx)

    def region(self, z: int, y: int, x: int, shape_yx: tuple[int, int]) -> Ids:
        """The ids of part of a section, with its corner at y, x."""
        return self._tables.region(z, y, x, shape_yx)

    def objects(self, z: int) -> tuple[ObjectInfo, ...]:
        """The objects of a section by id."""
        return self._tables.objects(z)

    def object_on(self, object_id: int, z: int) -> ObjectInfo | None:
        """One object on one section, None if it is not there."""
        return next((found for found in self.objects(z) if found.id == object_id), None)

    def sections_of(self, object_id: int) -> tuple[int, ...]:
        """The sections that an object is on, in order."""
        return self._tables.sections_of(object_id)

    def annotated(self) -> frozenset[int]:
        """The sections that hold an object."""
        return self._tables.annotated()

    def finished(self) -> frozenset[int]:
        """The sections that were marked as finished."""
        return self._tables.finished()

    @contextmanager
    def edit(self, title: str) -> Iterator[Edit]:
        """An edit that is kept as a whole if the block ends without an error, else not at all.

        What was undone before can then no longer be made again.
        """
        with self._database.transaction():
            edit = Edit(self._tables)
            yield edit
            if changes := edit.changes():
                self._record(title, changes)

    def undo_title(self) -> str | None:
        """The edit that `undo` would take back."""
        row = self._last_made()
        return None if row is None else row[1]

    def redo_title(self) -> str | None:
        """The edit that `redo` would make again."""
        row = self._first_undone()
        return None if row is None else row[1]

    def undo(self) -> Edited | None:
        """Take back the last edit; None if there is none."""
        row = self._last_made()
        return None if row is None else self._turn(row[0], row[1], "before")

    def redo(self) -> Edited | None:
        """Make the edit again that was taken back last; None if there is none."""
        row = self._first_undone()
        return None if row is None else self._turn(row[0], row[1], "after")

    def _last_made(self) -> Any:  # noqa: ANN401  # a row
        return self._database.one(
            "SELECT number, title FROM edits WHERE undone = 0 ORDER BY number DESC LIMIT 1"
        )

    def _first_undone(self) -> Any:  # noqa: ANN401  # a row
        return self._database.one(
            "SELECT number, title FROM edits WHERE undone = 1 ORDER BY number LIMIT 1"
        )

    def _turn(self, number: int, title: str, side: Literal["before", "after"]) -> Edited:
        """Put what an edit touched back to how it was on one side of it."""
        every = self._database.all
        with self._database.transaction():
            blocks = every(
                f"SELECT z, row, col, {side} FROM block_changes WHERE number = ?", number
            )
            for z, row, column, packed in blocks:
                self._tables.put_packed(BlockPlace(z, row, column), packed)
            marks = every(f"SELECT kind, key, {side} FROM mark_changes WHERE number = ?", number)
            for kind, key, value in marks:
                self._tables.put_mark(kind, key, value)
            self._database.run(
                "UPDATE edits SET undone = ? WHERE number = ?", side == "before", number
            )
        finished = {key for kind, key, _ in marks if kind == "finished"}
        return Edited(title=title, sections=frozenset({row[0] for row in blocks} | finished))

    def _record(self, title: str, changes: Changes) -> None:
        """Write an edit into the history, and forget what was undone."""
        run, run_many = self._database.run, self._database.run_many
        for table in ("block_changes", "mark_changes"):
            run(f"DELETE FROM {table} WHERE number IN (SELECT number FROM edits WHERE undone = 1)")
        run("DELETE FROM edits WHERE undone = 1")
        number = run("INSERT INTO edits (title, undone) VALUES (?, 0)", title)
        run_many(
            "INSERT INTO block_changes VALUES (?, ?, ?, ?, ?, ?)",
            ((number, *row) for row in changes.blocks),
        )
        run_many(
            "INSERT INTO mark_changes VALUES (?, ?, ?, ?, ?)",
            ((number, *row) for row in changes.marks),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What an edit changed: rows of the history's tables, each with before and after."""

    blocks: list[tuple[int, int, int, bytes | None, bytes | None]]
    marks: list[tuple[MarkKind, int, str | None, str | None]]

    def __bool__(self) -> bool:
        return bool(self.blocks or self.marks)


class Edit:
    """What is changed within one edit; made by `AnnotationStore.edit`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._blocks: dict[BlockPlace, bytes | None] = {}
        self._marks: dict[tuple[MarkKind, int], str | None] = {}

    def paint(self, z: int, y: int, x: int, ids: UInt32[np.ndarray, "h w"]) -> None:
        """Replace part of a section, with its corner at y, x."""
        for part in parts(z, y, x, (ids.shape[0], ids.shape[1])):
            block = self._tables.block(part.place)
            if np.array_equal(block[part.in_block], ids[part.in_region]):
                continue
            self._blocks.setdefault(part.place, self._tables.packed(part.place))
            block[part.in_block] = ids[part.in_region]
            self._tables.put_block(part.place, block)

    def new_id(self) -> int:
        """An id that nothing had before."""
        return self._tables.take_id()

    def keep_above(self, object_id: int) -> None:
        """See to it that new objects get ids above this one."""
        self._tables.keep_above(object_id)

    def describe(self, object_id: int, facts: ObjectFacts) -> None:
        """Say what an object is."""
        self._put("object", object_id, json.dumps(asdict(facts)))

    def finish(self, z: int, *, finished: bool) -> None:
        """Mark a section as finished, or not."""
        self._put("finished", z, "true" if finished else None)

    def _put(self, kind: MarkKind, key: int, value: str | None) -> None:
        self._marks.setdefault((kind, key), self._tables.mark(kind, key))
        self._tables.put_mark(kind, key, value)

    @property
    def sections(self) -> frozenset[int]:
        """The sections whose pixels it has touched."""
        return frozenset(place.z for place in self._blocks)

    def changes(self) -> Changes:
        """What is different now from before the edit."""
        return Changes(
            blocks=[
                (place.z, place.row, place.column, before, after)
                for place, before in self._blocks.items()
                if before != (after := self._tables.packed(place))
            ],
            marks=[
                (kind, key, mark, mark_now)
                for (kind, key), mark in self._marks.items()
                if mark != (mark_now := self._tables.mark(kind, key))
            ],
        )
