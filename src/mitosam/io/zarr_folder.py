"""The files of a zarr hierarchy, on this machine or in a store; none leads out of its folder."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mitosam.errors import InputError, MitosamError
from mitosam.io.limits import TEXT
from mitosam.io.remote import MISSING, Remote, persistently

METADATA_FILES = ("zarr.json", ".zarray", ".zgroup", ".zattrs")
"""What is read as text, and may be as large as `limits.TEXT` says."""


def _is_metadata(key: str) -> bool:
    return key.rpartition("/")[2] in METADATA_FILES


class Folder(Protocol):
    """What is needed of a folder of zarr; as text it is what a user may read."""

    @property
    def name(self) -> str:
        """Its own name, without where it lies."""
        ...

    def at(self, path: str) -> Folder:
        """The folder or file at a path below it."""
        ...

    def read(self, key: str, start: int | None = None, stop: int | None = None) -> bytes | None:
        """The bytes of a file from `start` (negative: from the end) to `stop`; None without it."""
        ...

    def children(self) -> list[str]:
        """The names of what lies in it, as far as its store lists them."""
        ...


@dataclass(frozen=True, slots=True)
class LocalFolder:
    """A folder of this machine. `root` is the whole hierarchy's, without links."""

    path: Path
    root: str

    def __str__(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        """Its own name, without where it lies."""
        return self.path.resolve().name

    def at(self, path: str) -> LocalFolder:
        """The folder or file at a path below it."""
        return LocalFolder(self.path / path, self.root)

    def read(self, key: str, start: int | None = None, stop: int | None = None) -> bytes | None:
        """The bytes of a file from `start` (negative: from the end) to `stop`; None without it.

        Raises
        ------
        InputError
            It is a link that leads out of the hierarchy, or metadata that are too large.
        """
        path = self.path / key
        real = os.path.realpath(path)
        if os.path.commonpath([real, self.root]) != self.root:
            raise InputError(
                f"{path} is a link that leads out of {self.root}; copy what it names there, or "
                "name that itself"
            )
        try:
            if _is_metadata(key):
                TEXT.check(path, path.stat().st_size)
            if start is None and stop is None:
                return path.read_bytes()
            with path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                first = start or 0
                file.seek(first if first >= 0 else max(size + first, 0))
                return file.read() if stop is None else file.read(max(stop - file.tell(), 0))
        except MISSING:
            return None
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            return None  # such a file can be nowhere

    def children(self) -> list[str]:
        """The names of the folders in it."""
        return sorted(child.name for child in self.path.iterdir() if child.is_dir())


def local_folder(path: Path) -> LocalFolder:
    """A folder of this machine as the root of its hierarchy."""
    return LocalFolder(path, os.path.realpath(path))


@dataclass(frozen=True, slots=True)
class RemoteFolder:
    """A folder in a store."""

    remote: Remote

    def __str__(self) -> str:
        return str(self.remote)

    @property
    def name(self) -> str:
        """Its own name, without where it lies."""
        return self.remote.url.name

    def at(self, path: str) -> RemoteFolder:
        """The folder or file at a path below it."""
        return RemoteFolder(self.remote.at(path))

    def read(self, key: str, start: int | None = None, stop: int | None = None) -> bytes | None:
        """The bytes of a file from `start` (negative: from the end) to `stop`; None without it.

        Raises
        ------
        RemoteError
            The store cannot be reached, refuses, or was lost on the way.
        InputError
            It is metadata, and too large.
        """
        file = self.remote.at(key)
        if _is_metadata(key) and start is None and stop is None:
            content = file.read(0, int(TEXT.most) + 1)
            TEXT.check(file, len(content or b""))
            return content
        content = file.read(start, stop)
        if content is None or start is None:
            return content
        if start < 0:
            return content[start:]
        # A web server that knows no ranges sends the whole file.
        if stop is None:
            is_whole = start > 0 and len(content) == file.num_bytes()
        else:
            is_whole = len(content) > stop - start
        return content[start:stop] if is_whole else content

    def children(self) -> list[str]:
        """The names of what lies in it; web servers and some stores list nothing."""
        try:
            paths = persistently(
                lambda: self.remote.files.ls(self.remote.path, detail=False), str(self)
            )
        except (*MISSING, MitosamError):
            return []
        return sorted({str(path).rstrip("/").rpartition("/")[2] for path in paths})
