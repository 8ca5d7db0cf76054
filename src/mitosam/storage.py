"""Whole files or none: what is written under its own name is complete."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from mitosam.errors import OutputExistsError, OutputInUseError, StorageError
from mitosam.locks import Claim, acquire


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its name once the block ends without an error.

    Parents are made. Whatever goes wrong, `path` keeps what it held and the temporary file goes.

    Raises
    ------
    StorageError
        The disk is full or cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=f".{path.name}.", suffix=f".part{path.suffix}", dir=path.parent
        )
        os.close(handle)
    except OSError as error:
        raise _storage_error(path, error) from error
    temporary = Path(name)
    try:
        with disk_errors_of(path):
            yield temporary
            temporary.chmod(0o666 & ~_umask())
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            _require_held()
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


DISK_ERRNOS = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO, errno.EPERM)
}


LOST_ERRNOS = {errno.ENOENT, errno.ESTALE, errno.ENODEV, errno.ENOTCONN}
"""Of files that went away with their disk while they were in use."""


@contextmanager
def disk_errors_of(path: Path) -> Iterator[None]:
    """A block in which a full or read-only disk is a `StorageError` that names `path`."""
    try:
        yield
    except OSError as error:
        if isinstance(error, StorageError) or error.errno not in DISK_ERRNOS:
            raise
        raise _storage_error(path, error) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _storage_error(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"{path} cannot be written: {error.strerror or error}; "
        "free some space or choose another folder"
    )


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def require_free(folder: Path) -> None:
    """Raise OutputExistsError if `folder` is a file, or holds something."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputExistsError(
            f"{folder} exists already; choose another --out, or remove it if it is not needed"
        )


def require_new_folder(folder: Path) -> Path:
    """`folder`, made, provided it did not exist or was empty.

    Raises
    ------
    OutputExistsError
        It holds something already.
    """
    require_free(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _storage_error(folder, error) from error
    return folder


def sha256_of_file(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder beside `folder` that takes its name once the block ends without an error.

    Raises
    ------
    OutputExistsError
        `folder` holds something already.
    StorageError
        The disk is full or cannot be written.
    """
    require_new_folder(folder)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
    try:
        with disk_errors_of(folder):
            yield temporary
            temporary.chmod(0o777 & ~_umask())
            _take_name(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _take_name(temporary: Path, folder: Path) -> None:
    """Give a folder that is whole its name, unless another process was first."""
    try:
        with contextlib.suppress(FileNotFoundError):
            folder.rmdir()
        temporary.rename(folder)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise OutputExistsError(
                f"{folder} was made by another process meanwhile; choose another --out, or remove "
                "it if it is not needed"
            ) from error
        raise


_HELD: ContextVar[Mapping[Path, Claim | None]] = ContextVar("held folders", default={})  # noqa: B039


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """A block in which no other process, and no other thread, writes to `folder` in such a block.

    The lock is a hidden file beside it, and dies with the process however that ends (`locks`).
    Within the block more of them may follow. Where no file can be made there, nothing is locked.

    Raises
    ------
    OutputInUseError
        Another one does.
    """
    path = folder.resolve()
    if path in _HELD.get() or not path.name:  # the root has no place beside it
        yield
        return
    claim = acquire(path)
    token = _HELD.set({**_HELD.get(), path: claim})
    try:
        yield
    finally:
        _HELD.reset(token)
        if claim is not None:
            claim.release()


def _require_held() -> None:
    """Raise OutputInUseError if another process took over what this one, asleep, was writing."""
    for folder, claim in _HELD.get().items():
        if claim is not None and not claim.is_held():
            raise OutputInUseError(
                f"{folder} was taken over by another process, as this one gave no sign for long; "
                "wait until that ends, or choose another folder"
            )
