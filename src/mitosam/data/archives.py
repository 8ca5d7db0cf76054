"""Members of strangers' zip archives, unpacked without leaving the folder they are meant for."""

from __future__ import annotations

import fnmatch
import lzma
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from mitosam.errors import InputError, MitosamError
from mitosam.progress import SILENT, Progress
from mitosam.storage import atomic_folder, disk_errors_of

MAX_UNPACKED_BYTES = 256 << 30
"""Of one folder: more than any known set, less than what fills a disk unseen."""
MAX_RATIO = 200
"""A member that is so many times larger than it is packed is a bomb; EM images pack to a half, and
masks, which are mostly background, to a hundredth."""
FREE_BYTES = 64 << 20
"""Bytes that a small member may have whatever its ratio: an empty mask packs to almost nothing."""
_COPY_BYTES = 1 << 20
_ARCHIVE_ERRORS = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
    *(EOFError, ValueError, LookupError, OverflowError, NotImplementedError),
)
"""What zipfile raises on archives that are cut short or damaged."""


def unpack_members(
    archive: Path,
    pattern: str,
    folder: Path,
    *,
    max_bytes: int = MAX_UNPACKED_BYTES,
    progress: Progress = SILENT,
) -> int:
    """Put the members whose names fit the pattern side by side into a new folder; count them.

    The folder holds nothing until it is whole.

    Raises
    ------
    InputError
        It is no zip archive or a damaged one, has no such member, or has members that lead
        elsewhere, are links, share a name, or unpack to more than `max_bytes`.
    OutputExistsError
        `folder` holds something already.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            chosen = [one for one in opened.infolist() if _is_chosen(one, pattern)]
            _check_members(archive, pattern, chosen, max_bytes)
            with atomic_folder(folder) as temporary:
                _unpack(archive, opened, chosen, temporary, max_bytes, progress)
    except MitosamError:
        raise
    except _ARCHIVE_ERRORS as error:
        raise InputError(f"{archive} is a damaged zip archive ({error}); fetch it again") from error
    except RuntimeError as error:  # zipfile's word for a password
        raise InputError(f"{archive} cannot be unpacked: {error}") from error
    return len(chosen)


def _is_chosen(member: zipfile.ZipInfo, pattern: str) -> bool:
    return not member.is_dir() and fnmatch.fnmatchcase(member.filename, pattern)


def _check_members(
    archive: Path, pattern: str, members: Sequence[zipfile.ZipInfo], max_bytes: int
) -> None:
    if not members:
        raise InputError(f"{archive} holds no {pattern}; it is not the archive that was expected")
    names = [PurePosixPath(member.filename).name.lower() for member in members]
    for member, name in zip(members, names, strict=True):
        path = PurePosixPath(member.filename)
        leads_out = path.is_absolute() or ".." in path.parts or "\\" in member.filename
        if leads_out or PureWindowsPath(member.filename).drive or name.startswith("."):
            raise InputError(f"{archive} holds {member.filename!r}, which leads out of its folder")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise InputError(
                f"{archive} holds the link {member.filename!r}; links are not unpacked"
            )
        if member.file_size > max(FREE_BYTES, MAX_RATIO * member.compress_size):
            raise InputError(
                f"{archive}: {member.filename!r} would unpack to {member.file_size} bytes, more "
                f"than {MAX_RATIO} times what it takes; it looks like a decompression bomb"
            )
    if len(set(names)) < len(names):
        raise InputError(f"{archive} holds several members of one name among {pattern}")
    if sum(member.file_size for member in members) > max_bytes:
        raise InputError(f"{archive} would unpack to more than {max_bytes} bytes")


def _unpack(
    archive: Path,
    opened: zipfile.ZipFile,
    members: Sequence[zipfile.ZipInfo],
    folder: Path,
    max_bytes: int,
    progress: Progress,
) -> None:
    left = max_bytes
    if sum(member.file_size for member in members) > shutil.disk_usage(folder).free:
        raise InputError(f"{archive} unpacks to more than the disk of {folder.parent} has free")
    title = f"unpacking {archive.name}"
    for member in progress.track(members, title, total=len(members), unit="file"):
        path = folder / PurePosixPath(member.filename).name
        with _member(opened, member) as source, disk_errors_of(path), path.open("xb") as target:
            left -= _copy(archive, source, target, min(left, member.file_size))


def _copy(archive: Path, source: IO[bytes], target: IO[bytes], limit: int) -> int:
    """Copy at most `limit` bytes: what the archive says of its sizes need not be true."""
    copied = 0
    while block := _read(source):
        copied += len(block)
        if copied > limit:
            raise InputError(f"{archive} unpacks to more than it says; it is damaged or malicious")
        target.write(block)
    return copied


def _member(opened: zipfile.ZipFile, member: zipfile.ZipInfo) -> IO[bytes]:
    try:
        return opened.open(member)
    except OSError as error:  # it is said to lie where no file can have it
        raise zipfile.BadZipFile(str(error)) from error


def _read(source: IO[bytes]) -> bytes:
    try:
        return source.read(_COPY_BYTES)
    except OSError as error:  # bz2's word for what it cannot unpack
        raise zipfile.BadZipFile(str(error)) from error
