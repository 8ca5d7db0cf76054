"""The tables of a session's file: blocks of ids, what objects are, and which sections are done."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mitosam.errors import InputError
from mitosam.ui.session.blocks import BlockPlace, Ids, pack, parts, presences, unpack
from mitosam.ui.session.database import Database
from mitosam.ui.session.snapshot import ObjectInfo, State

FORMAT = 1
SCHEMA = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE blocks (z INT, row INT, col INT, ids BLOB NOT NULL, PRIMARY KEY (z, row, col))
    WITHOUT ROWID;
CREATE TABLE presence (z INT, row INT, col INT, id INT, area INT, x0 INT, y0 INT, x1 INT, y1 INT,
    PRIMARY KEY (z, row, col, id)) WITHOUT ROWID;
CREATE INDEX presence_of_id ON presence (id, z);
CREATE TABLE objects (id INTEGER PRIMARY KEY, state TEXT NOT NULL, confidence REAL);
CREATE TABLE finished (z INTEGER PRIMARY KEY);
CREATE TABLE edits (number INTEGER PRIMARY KEY, title TEXT NOT NULL, undone INT NOT NULL);
CREATE TABLE block_changes (number INT, z INT, row INT, col INT, before BLOB, after BLOB,
    PRIMARY KEY (number, z, row, col)) WITHOUT ROWID;
CREATE TABLE mark_changes (number INT, kind TEXT, key INT, before TEXT, after TEXT,
    PRIMARY KEY (number, kind, key)) WITHOUT ROWID;
"""
MarkKind = Literal["object", "finished"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectFacts:
    """What is known of an object beyond its pixels; `confidence` is the automatic method's."""

    state: State = "accepted"
    confidence: float | None = None


class Tables:
    """Reading and replacing single blocks and marks; history and transactions are the store's.

    A mark is a small text on an object (its facts) or a section (that it is finished).

    Raises
    ------
    InputError
        The file belongs to a volume of another shape, or is of another version.
    StorageError
        It is damaged.
    """

    def __init__(self, database: Database, shape_zyx: tuple[int, int, int]) -> None:
        self._database = database
        self.shape_yx = shape_zyx[1:]
        if database.one("SELECT name FROM sqlite_master WHERE name = 'facts'") is None:
            shape = json.dumps(list(shape_zyx))
            database.make(
                f"{SCHEMA} INSERT INTO facts VALUES ('format', '{FORMAT}'), "
                f"('shape_zyx', '{shape}'), ('next_id', '1');"
            )
        self._check(shape_zyx)

    def fact(self, name: str) -> Any:  # noqa: ANN401  # whatever JSON holds
        """What was noted under `name`; None if nothing was."""
        row = self._database.one("SELECT value FROM facts WHERE name = ?", name)
        return None if row is None else json.loads(row[0])

    def note(self, name: str, value: object) -> None:
        """Keep a fact that belongs to no edit and so is never undone."""
        self._database.run("INSERT OR REPLACE INTO facts VALUES (?, ?)", name, json.dumps(value))

    def region(self, z: int, y: int, x: int, shape_yx: tuple[int, int]) -> Ids:
        """The ids of part of a section, with its corner at y, x."""
        region = np.zeros(shape_yx, np.uint32)
        for part in parts(z, y, x, shape_yx):
            packed = self.packed(part.place)
            if packed is not None:
                region[part.in_region] = self._unpacked(part.place, packed)[part.in_block]
        return region

    def packed(self, place: BlockPlace) -> bytes | None:
        """A block as it is kept, None if nothing is in it."""
        row = self._database.one(
            "SELECT ids FROM blocks WHERE z = ? AND row = ? AND col = ?", *_where(place)
        )
        return None if row is None else row[0]

    def block(self, place: BlockPlace) -> Ids:
        """A block's ids, writable."""
        return self._unpacked(place, self.packed(place))

    def put_block(self, place: BlockPlace, ids: Ids) -> None:
        """Replace a block."""
        self.put_packed(place, pack(ids))

    def put_packed(self, place: BlockPlace, packed: bytes | None) -> None:
        """Replace a block by one as it is kept."""
        where, run = _where(place), self._database.run
        run("DELETE FROM presence WHERE z = ? AND row = ? AND col = ?", *where)
        if packed is None:
            run("DELETE FROM blocks WHERE z = ? AND row = ? AND col = ?", *where)
            return
        run("INSERT OR REPLACE INTO blocks VALUES (?, ?, ?, ?)", *where, packed)
        found = presences(self._unpacked(place, packed), place.corner_yx)
        self._database.run_many(
            "INSERT INTO presence VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            ((*where, one.id, one.area_px, *one.box_xyxy) for one in found),
        )

    def mark(self, kind: MarkKind, key: int) -> str | None:
        """A mark as text; None if there is none."""
        if kind == "finished":
            row = self._database.one("SELECT z FROM finished WHERE z = ?", key)
            return None if row is None else "true"
        row = self._database.one("SELECT state, confidence FROM objects WHERE id = ?", key)
        return None if row is None else json.dumps({"state": row[0], "confidence": row[1]})

    def put_mark(self, kind: MarkKind, key: int, value: str | None) -> None:
        """Replace a mark; None removes it."""
        table, column = ("finished", "z") if kind == "finished" else ("objects", "id")
        self._database.run(f"DELETE FROM {table} WHERE {column} = ?", key)
        if value is not None and kind == "finished":
            self._database.run("INSERT INTO finished VALUES (?)", key)
        elif value is not None:
            facts = json.loads(value)
            self._database.run(
                "INSERT INTO objects VALUES (?, ?, ?)", key, facts["state"], facts["confidence"]
            )

    def take_id(self) -> int:
        """An id that nothing had before, not even something undone."""
        number = int(self.fact("next_id"))
        self.note("next_id", number + 1)
        return number

    def keep_above(self, object_id: int) -> None:
        """See to it that `take_id` gives ids above this one."""
        self.note("next_id", max(int(self.fact("next_id")), object_id + 1))

    def objects(self, z: int) -> tuple[ObjectInfo, ...]:
        """The objects of a section by id."""
        rows = self._database.all(
            "SELECT p.id, SUM(area), MIN(x0), MIN(y0), MAX(x1), MAX(y1), state, confidence "
            "FROM presence p LEFT JOIN objects o ON o.id = p.id WHERE z = ? GROUP BY p.id",
            z,
        )
        return tuple(
            ObjectInfo(
                id=row[0],
                z=z,
                area_px=row[1],
                box_xyxy=(row[2], row[3], row[4], row[5]),
                state=row[6] or "accepted",
                confidence=row[7],
            )
            for row in rows
        )

    def sections_of(self, object_id: int) -> tuple[int, ...]:
        """The sections that an object is on, in order."""
        query = "SELECT DISTINCT z FROM presence WHERE id = ? ORDER BY z"
        return tuple(row[0] for row in self._database.all(query, object_id))

    def annotated(self) -> frozenset[int]:
        """The sections that hold an object."""
        return frozenset(row[0] for row in self._database.all("SELECT DISTINCT z FROM presence"))

    def finished(self) -> frozenset[int]:
        """The sections that are marked as finished."""
        return frozenset(row[0] for row in self._database.all("SELECT z FROM finished"))

    def _unpacked(self, place: BlockPlace, packed: bytes | None) -> Ids:
        try:
            return unpack(packed, place.shape_in(self.shape_yx))
        except ValueError as error:
            raise self._database.damaged(f"section {place.z + 1}: {error}") from error

    def _check(self, shape_zyx: tuple[int, int, int]) -> None:
        path = self._database.path
        if self.fact("format") != FORMAT:
            raise InputError(
                f"{path} was written by another version of mitosam (format {self.fact('format')}, "
                f"this one knows {FORMAT}); choose another --out"
            )
        shape = self.fact("shape_zyx")
        if shape != list(shape_zyx):
            raise InputError(
                f"{path} holds labels of a volume of {' x '.join(map(str, shape))} (z, y, x), this "
                f"one has {' x '.join(map(str, shape_zyx))}; choose another --out"
            )


def _where(place: BlockPlace) -> tuple[int, int, int]:
    return place.z, place.row, place.column
