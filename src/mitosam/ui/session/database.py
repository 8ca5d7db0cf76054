"""One SQLite file that one process at a time may open, with errors that name it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mitosam.errors import StorageError


class Database:
    """A connection to an SQLite file; the caller sees to it that one thread uses it at a time.

    Raises
    ------
    StorageError
        The file is damaged, in use by another process, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=1, check_same_thread=False)
        with self._errors():
            # What is committed survives a power cut; nobody else may even read meanwhile.
            for pragma in ("locking_mode=EXCLUSIVE", "journal_mode=WAL", "synchronous=FULL"):
                self._connection.execute(f"PRAGMA {pragma}").fetchall()

    def close(self) -> None:
        """Let others open the file."""
        self._connection.close()

    def one(self, query: str, *values: object) -> Any:  # noqa: ANN401  # a row of whatever types
        """The first row, None if there is none."""
        with self._errors():
            return self._connection.execute(query, values).fetchone()

    def all(self, query: str, *values: object) -> list[Any]:
        """All rows."""
        with self._errors():
            return self._connection.execute(query, values).fetchall()

    def run(self, command: str, *values: object) -> int:
        """The row that a command inserted last."""
        with self._errors():
            return self._connection.execute(command, values).lastrowid or 0

    def run_many(self, command: str, rows: Iterable[tuple[object, ...]]) -> None:
        """One command for each row."""
        with self._errors():
            self._connection.executemany(command, rows)

    def make(self, schema: str) -> None:
        """Make tables, all or none."""
        with self._errors():
            self._connection.executescript(f"BEGIN; {schema} COMMIT;")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """A block whose commands all take effect if it ends without an error, else none does."""
        with self._errors(), self._connection:
            yield

    def damaged(self, what: str) -> StorageError:
        """The error that says so."""
        return StorageError(
            f"{self.path} is damaged ({what}); restore it from a copy, or choose another --out"
        )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise self._refused(str(error)) from error
        except (sqlite3.Error, UnicodeDecodeError, OverflowError) as error:
            raise self.damaged(str(error)) from error
        except OSError as error:
            if isinstance(error, StorageError):
                raise
            raise self._refused(error.strerror or str(error)) from error

    def _refused(self, why: str) -> StorageError:
        if "locked" in why:
            return StorageError(
                f"{self.path} is in use by another mitosam; stop it, or choose another --out"
            )
        return StorageError(
            f"{self.path} cannot be written: {why}; free some space or choose another --out"
        )
