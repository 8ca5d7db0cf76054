"""Bytes from a store at a URL, asked for again where a store falters, and named in one line."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

from mitosam.errors import InputError, InputNotFoundError, MitosamError, RemoteError, SettingsError
from mitosam.io.place import Url, scrubbed

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

logger = logging.getLogger(__name__)
T = TypeVar("T")

PAUSES_S = (1.0, 2.0, 4.0, 8.0)
"""How long to wait before asking again; then a store is given up."""

CONNECT_S, STALLED_S = 20.0, 60.0
"""How long a web server may take to accept a connection, and to send the next bytes."""

BLOCK_BYTES, NUM_BLOCKS = 2**20, 64
"""Files are read in blocks of this size, and so many are kept."""

_FINAL = (PermissionError, ImportError, NotImplementedError, ValueError, TypeError, AttributeError)

MISSING = (FileNotFoundError, IsADirectoryError, NotADirectoryError)


@dataclass(frozen=True, slots=True)
class Remote:
    """One place in a store: a file, or a folder of files."""

    files: AbstractFileSystem
    path: str
    url: Url

    def __str__(self) -> str:
        return str(self.url)

    def at(self, key: str) -> Remote:
        """The place below this one."""
        return Remote(self.files, joined(self.path, key), Url(f"{self.url}/{key}"))

    def read(self, start: int | None = None, stop: int | None = None) -> bytes | None:
        """Its bytes from `start` to `stop`, or None where it is not there.

        A negative `start` counts from the end. There may be fewer bytes than were asked for, and
        more from a web server that knows no ranges.

        Raises
        ------
        RemoteError
            The store cannot be reached, refuses, or was lost on the way.
        """
        try:
            content: bytes = persistently(lambda: self._cat(start, stop), str(self))
        except MISSING:
            return None
        return content

    def _cat(self, start: int | None, stop: int | None) -> bytes:
        content = self.files.cat_file(self.path, start=start, end=stop)
        return bytes(content)

    def num_bytes(self) -> int | None:
        """Its size, or None where it is no file, is not there, or the store does not say.

        Raises
        ------
        RemoteError
            The store cannot be reached, refuses, or was lost on the way.
        """
        try:
            facts = persistently(lambda: self.files.info(self.path), str(self))
        except MISSING:
            return None
        size = facts.get("size")
        return None if size is None or facts.get("type") == "directory" else int(size)


def remote_at(url: Url) -> Remote:
    """The place of a URL; nothing is asked of its store yet.

    Raises
    ------
    SettingsError
        Its protocol is unknown, or the package that speaks it is not installed.
    """
    from fsspec.core import url_to_fs

    text = url.text if urlsplit(url.text).query else url.text.rstrip("/")
    try:
        files, path = url_to_fs(text, **_options(text))
    except ImportError as error:
        raise SettingsError(_what_to_install(url, error)) from error
    except ValueError as error:
        raise SettingsError(f"{url} cannot be opened: {scrubbed(str(error)).lower()}") from error
    except (OSError, RuntimeError) as error:  # a chain of protocols asks at once
        raise as_remote_error(error, str(url), 1) from error
    return Remote(files, path, url)


def _options(text: str) -> dict[str, Any]:
    """Time limits of web servers, unless fsspec's own configuration has some."""
    from fsspec.config import conf

    scheme = urlsplit(text).scheme.lower()
    if scheme not in ("http", "https") or "client_kwargs" in conf.get(scheme, {}):
        return {}
    try:
        from aiohttp import ClientTimeout
    except ImportError:
        return {}  # fsspec says what to install
    limits = ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=STALLED_S)
    return {"client_kwargs": {"timeout": limits, "trust_env": True}}


def _what_to_install(url: Url, error: ImportError) -> str:
    from fsspec.registry import known_implementations

    scheme = urlsplit(url.text).scheme.lower()
    module = str(known_implementations.get(scheme, {}).get("class", "")).partition(".")[0]
    named = module if module not in ("", "fsspec") else error.name or ""
    package = named.partition(".")[0] or "'mitosam[remote]'"
    return f"{scheme}:// needs another package; pip install {package}"


def joined(path: str, key: str) -> str:
    """A path of a store and what lies below it; a query stays at the end.

    >>> joined("https://host/a.zarr?sig=1", "s0/zarr.json")
    'https://host/a.zarr/s0/zarr.json?sig=1'
    """
    if not path.startswith(("http://", "https://")):
        return f"{path.rstrip('/')}/{key}"
    parts = urlsplit(path)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{key}"))


def persistently(action: Callable[[], T], what: str) -> T:
    """What `action` gives, tried again after growing waits while the store falters.

    Raises
    ------
    RemoteError
        The store cannot be reached, refuses, or was lost on the way.
    """
    for number, pause in enumerate((*PAUSES_S, None), start=1):
        try:
            return action()
        except (*MISSING, MitosamError):
            raise
        except Exception as error:  # each store has errors of its own
            if pause is None or not _may_pass(error):
                raise as_remote_error(error, what, number) from error
            logger.warning("%s: %s; trying again in %g s", what, _reason(error), pause)
            time.sleep(pause)
    raise AssertionError("the last try returns or raises")


def _status(error: BaseException) -> int | None:
    """What a web server answered; aiohttp calls it status, others code."""
    status = error.status if hasattr(error, "status") else getattr(error, "code", None)
    return status if isinstance(status, int) else None


def _may_pass(error: Exception) -> bool:
    """Whether asking again may help: not where the store has understood and says no."""
    if isinstance(error, _FINAL) or _unsigned(error):
        return False
    status = _status(error)
    return status is None or status in (408, 425, 429) or status >= 500


def _unsigned(error: Exception) -> bool:
    return type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError")


def _reason(error: BaseException) -> str:
    """An error in a few words, without what opens a store."""
    status = _status(error)
    if status is not None:
        return f"HTTP {status}"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return scrubbed(" ".join(str(error).split()))[:200] or type(error).__name__


def as_remote_error(error: Exception, what: str, num_tries: int) -> MitosamError:
    """The error that a user gets for an error of a store."""
    if isinstance(error, MISSING):
        return InputNotFoundError(f"{what} does not exist; check the spelling of the address")
    if _unsigned(error):
        return RemoteError(
            f"{what} needs credentials and none were found; give them as its store's own tools "
            "take them, or set FSSPEC_S3_ANON=true for a public bucket"
        )
    if isinstance(error, PermissionError) or _status(error) in (401, 403):
        return RemoteError(
            f"{what} may not be opened ({_reason(error)}); check the address, your credentials and "
            "what they may do"
        )
    status = _status(error)
    if status is not None and not _may_pass(error):
        return InputError(f"{what} was refused (HTTP {status}); check the address")
    tries = "" if num_tries == 1 else f" after {num_tries} tries"
    return RemoteError(
        f"{what} cannot be reached{tries} ({_reason(error)}); check the address and the network, "
        "and run the same command again, which goes on where it was"
    )


def open_remote_file(remote: Remote) -> RemoteFile:
    """A file in a store, of which only the parts that are read are fetched.

    Raises
    ------
    InputNotFoundError
        There is no such file.
    InputError
        The web server sends files only as a whole.
    RemoteError
        The store cannot be reached, refuses, or was lost on the way.
    """
    size = remote.num_bytes()
    if size is None:
        raise InputNotFoundError(f"{remote} does not exist, or is no file of a known size")
    if size == 0:
        raise InputError(f"{remote} is empty (0 bytes); copy it again from its source")
    return RemoteFile(remote, size)


class RemoteFile(io.RawIOBase):
    """A file in a store, read in blocks, of which the latest are kept.

    Libraries may swallow the errors of a file that they read from; `failure` keeps the last one.
    """

    def __init__(self, remote: Remote, size: int) -> None:
        super().__init__()
        self.remote = remote
        self.size = size
        self.failure: MitosamError | None = None
        self._position = 0
        self._block = lru_cache(maxsize=NUM_BLOCKS)(self._fetch)

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where the next byte is read."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a byte."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        self._position = max(base + offset, 0)
        return self._position

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401  whatever takes bytes
        """Fill the buffer as far as the file reaches."""
        view = memoryview(buffer).cast("B")
        content = self.read_range(self._position, self._position + len(view))
        view[: len(content)] = content
        self._position += len(content)
        return len(content)

    def read_range(self, start: int, stop: int) -> bytes:
        """The bytes from `start` to `stop`, as far as the file reaches."""
        stop = min(stop, self.size)
        if stop - start > NUM_BLOCKS * BLOCK_BYTES // 4:  # would only push out what is kept
            return self._fetched(start, stop)
        numbers = range(start // BLOCK_BYTES, -(-stop // BLOCK_BYTES)) if start < stop else range(0)
        content = b"".join(self._block(number) for number in numbers)
        first = start - (start // BLOCK_BYTES) * BLOCK_BYTES
        return content[first : first + max(stop - start, 0)]

    def _fetch(self, number: int) -> bytes:
        start = number * BLOCK_BYTES
        return self._fetched(start, min(start + BLOCK_BYTES, self.size))

    def _fetched(self, start: int, stop: int) -> bytes:
        try:
            content = self.remote.read(start, stop)
            if content is None or len(content) < stop - start:
                raise InputError(f"{self.remote} changed while it was in use; start again")
            if len(content) > stop - start:
                raise InputError(
                    f"{self.remote} lies on a server that sends files only as a whole; download "
                    "it, or have it served as OME-Zarr"
                )
        except MitosamError as error:
            self.failure = error
            raise
        return content
