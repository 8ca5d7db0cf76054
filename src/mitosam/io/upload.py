"""A finished folder copied to a URL, so that it can be taken up again and is never half there.

What makes a zarr of a folder is sent last, when all else has arrived; until then a marker lies in
the place too, by which the next try knows it for its own.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from mitosam.errors import InputError, InputNotFoundError, OutputExistsError, RemoteError
from mitosam.io.place import Url
from mitosam.io.remote import MISSING, Remote, as_remote_error, persistently, remote_at
from mitosam.progress import SILENT, Progress

logger = logging.getLogger(__name__)
T = TypeVar("T")

MARKER = ".mitosam-upload"
NUM_SENDERS = 8
"""Files that are under way at a time."""

_METADATA = (".zattrs", ".zarray", ".zmetadata", ".zgroup", "zarr.json")
"""In the order in which those of one folder are sent."""

_UNFINISHED = (".part", ".partial", ".lock")


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploaded:
    """What an upload did: files in all, and what of them had to be sent."""

    url: Url
    num_files: int
    num_sent: int
    bytes_sent: int


def upload_folder(folder: Path, url: Url, progress: Progress = SILENT) -> Uploaded:
    """Copy a finished folder to a URL; what an earlier try has brought there is not sent again.

    A file counts as there if the store tells the same size and MD5 (S3, Google and Azure do, of
    files that are not sent in parts); other stores are sent all files anew.

    Raises
    ------
    OutputExistsError
        Something else lies at the URL.
    InputNotFoundError
        There is no such folder, or no such bucket.
    RemoteError
        The store cannot be reached, refuses, or was lost on the way; the same call goes on.
    SettingsError
        The package that speaks the URL's protocol is not installed.
    """
    if not folder.is_dir():
        raise InputNotFoundError(f"{folder} is no folder that could be copied to {url}")
    if url.text.startswith(("http://", "https://")):
        raise InputError(f"{url} is a web server, which takes no files; give s3://, gs:// or such")
    remote = remote_at(url)
    files = _files_of(folder)
    missing = _take_place(remote, files, progress)
    data = [key for key in files if key in missing and not _is_metadata(key)]
    metadata = sorted((key for key in files if _is_metadata(key)), key=_rank)
    _send(remote, files, data, progress)
    _check_arrived(remote, {key: files[key] for key in files if not _is_metadata(key)})
    for key in metadata:
        if key in missing:
            _put(remote.at(key), files[key])
    if MARKER in _listed(remote):
        _asked(remote.at(MARKER), lambda: remote.files.rm_file(remote.at(MARKER).path))
    sent = [files[key] for key in missing]
    return Uploaded(
        url=url,
        num_files=len(files),
        num_sent=len(sent),
        bytes_sent=sum(path.stat().st_size for path in sent),
    )


def _files_of(folder: Path) -> dict[str, Path]:
    """The folder's files by their paths within it; links are not followed."""
    return {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink() and path.suffix not in _UNFINISHED
    }


def _is_metadata(key: str) -> bool:
    return key.rpartition("/")[2] in _METADATA


def _rank(key: str) -> tuple[int, int, str]:
    """The deepest first, so that a group comes after all that is in it."""
    return -key.count("/"), _METADATA.index(key.rpartition("/")[2]), key


def _take_place(remote: Remote, files: dict[str, Path], progress: Progress) -> set[str]:
    """The files that must be sent; the place is marked as one where an upload is under way."""
    there = _listed(remote)
    asked = progress.track(files, f"comparing with {remote}", unit="file")
    missing = {key for key in asked if key not in there or not _is_same(files[key], there[key])}
    foreign = sorted(set(there) - set(files) - {MARKER})
    if MARKER not in there and (foreign or (missing and there)):
        raise OutputExistsError(
            f"{remote} holds something else already; choose another place, or remove it if it is "
            "not needed"
        )
    if missing and MARKER not in there:
        note = json.dumps({"by": "mitosam", "files": len(files)}).encode()
        _asked(remote.at(MARKER), lambda: remote.files.pipe_file(remote.at(MARKER).path, note))
    for key in foreign:  # of an earlier try: a chunk that is not in the folder now holds nothing
        logger.warning("%s: removed, as it is of an earlier upload", remote.at(key))
        _asked(remote.at(key), partial(remote.files.rm_file, remote.at(key).path))
    return missing


def _listed(remote: Remote) -> dict[str, dict[str, Any]]:
    """What lies below a place: the facts that its store tells, by path."""
    remote.files.invalidate_cache()
    try:
        found = persistently(lambda: remote.files.find(remote.path, detail=True), str(remote))
    except MISSING:
        return {}
    prefix = remote.path.strip("/") + "/"
    paths = {str(path).lstrip("/"): facts for path, facts in found.items()}
    return {
        path.removeprefix(prefix): facts for path, facts in paths.items() if path.startswith(prefix)
    }


def _is_same(path: Path, facts: dict[str, Any]) -> bool:
    """Whether the store surely holds the file as it is here."""
    md5 = _stored_md5(facts)
    if facts.get("size") != path.stat().st_size or md5 is None:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).digest() == md5


def _stored_md5(facts: dict[str, Any]) -> bytes | None:
    """The MD5 that a store tells: S3's ETag (unless sent in parts), Google's and Azure's."""
    etag = str(facts.get("ETag", "")).strip('"')
    if len(etag) == 32 and not set(etag) - set("0123456789abcdef"):
        return bytes.fromhex(etag)
    if isinstance(facts.get("md5Hash"), str):
        return base64.b64decode(facts["md5Hash"])
    azure = facts.get("content_settings")
    content_md5 = azure.get("content_md5") if isinstance(azure, dict) else None
    return bytes(content_md5) if content_md5 else None


def _send(remote: Remote, files: dict[str, Path], keys: list[str], progress: Progress) -> None:
    """Send files, several of them at a time; after an error none is begun any more."""
    with ThreadPoolExecutor(NUM_SENDERS, thread_name_prefix="mitosam-send") as pool:
        sent = [pool.submit(_put, remote.at(key), files[key]) for key in keys]
        try:
            for one in progress.track(sent, f"sending to {remote}", unit="file"):
                one.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _put(remote: Remote, path: Path) -> None:
    _asked(remote, lambda: remote.files.put_file(str(path), remote.path))


def _asked(remote: Remote, action: Callable[[], T]) -> T:
    """What a store answers; a bucket that is not there is one line."""
    try:
        return persistently(action, str(remote))
    except MISSING as error:
        raise as_remote_error(error, str(remote), 1) from error


def _check_arrived(remote: Remote, files: dict[str, Path]) -> None:
    """Raise unless the store tells of all files, in their sizes."""
    there = _listed(remote)
    lost = [
        key
        for key, path in files.items()
        if key not in there or there[key].get("size") != path.stat().st_size
    ]
    if lost:
        raise RemoteError(
            f"{remote} lacks {len(lost)} of {len(files)} files that were sent, the first "
            f"{lost[0]}; run the same command again, which goes on where it was"
        )
