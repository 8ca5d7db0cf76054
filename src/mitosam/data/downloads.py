"""One file fetched from the network: checked, and gone on with where it was cut off."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse
from urllib.request import url2pathname

from mitosam.errors import DownloadError, InputError
from mitosam.progress import SILENT, Progress
from mitosam.storage import disk_errors_of, sha256_of_file, write_text

if TYPE_CHECKING:
    from requests import Response

BLOCK_BYTES = 1 << 20
TIMEOUT_S = 30.0
NOTHING_AFTER = 416
MAX_BYTES = 512 << 30
"""Of one file, whose server may send without end."""


def fetch_file(
    url: str,
    path: Path,
    *,
    sha256: str | None = None,
    max_bytes: int = MAX_BYTES,
    progress: Progress = SILENT,
) -> str:
    """Fetch `url` to `path` by pooch, and return its SHA-256; a `path` of that checksum is kept.

    What was fetched before the connection was cut is kept in `path`.part, and gone on with where
    the server can and its file is still the same. A file whose checksum is wrong is removed.

    Raises
    ------
    DownloadError
        The address cannot be reached, has no such file, or was cut off; or the checksum is wrong.
    InputError
        The file that is there already has another checksum.
    """
    import pooch

    if path.exists():
        return check_file(path, sha256)
    path.parent.mkdir(parents=True, exist_ok=True)
    fetcher = _Fetcher(path, max_bytes, progress)
    pooch.get_logger().setLevel("WARNING")
    try:
        with disk_errors_of(path):
            pooch.retrieve(
                url, sha256 and f"sha256:{sha256}", fname=path.name, path=path.parent,
                downloader=fetcher,
            )  # fmt: skip
    except ValueError as error:  # pooch's word for another checksum
        raise DownloadError(
            f"what {url} sends has another sha256 than {sha256}, so it is damaged, or the set was "
            "changed; nothing of it was kept"
        ) from error
    return sha256_of_file(path)


def check_file(path: Path, sha256: str | None) -> str:
    """The SHA-256 of a file that is there, provided it is the expected one.

    Raises
    ------
    InputError
        It is another.
    """
    found = sha256_of_file(path)
    if sha256 not in (None, found):
        raise InputError(
            f"{path} has the sha256 {found} instead of {sha256}; remove it and fetch it again"
        )
    return found


class _Fetcher:
    """What pooch calls to fetch a file: it keeps what it has in a file of its own, and shows it."""

    def __init__(self, path: Path, max_bytes: int, progress: Progress) -> None:
        self._part = path.with_name(f"{path.name}.part")
        self._facts = path.with_name(f"{path.name}.part.json")
        self._name, self._max_bytes, self._progress = path.name, max_bytes, progress

    def __call__(self, url: str, output_file: str, pooch: object) -> None:  # noqa: ARG002
        if urlparse(url).scheme == "file":
            self._copy(Path(url2pathname(unquote(urlparse(url).path))))
        else:
            self._download(url)
        self._part.replace(output_file)
        self._facts.unlink(missing_ok=True)

    def _copy(self, source: Path) -> None:
        try:
            with source.open("rb") as file, self._part.open("wb") as part:
                total = source.stat().st_size
                blocks = iter(lambda: file.read(BLOCK_BYTES), b"")
                self._write(part, blocks, 0, total)
        except FileNotFoundError as error:
            raise DownloadError(f"{source} does not exist") from error

    def _download(self, url: str) -> None:
        import requests

        held = self._held(url)
        headers = {"Accept-Encoding": "identity"}
        if held:
            headers |= {"Range": f"bytes={held}-", "If-Range": self._read_facts()["validator"]}
        try:
            with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
                if held and response.status_code == NOTHING_AFTER:  # what is held may be all of it
                    self._part.unlink()
                    return self._download(url)
                self._receive(url, response, held)
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
            raise DownloadError(_unreachable(url, self._part, error)) from error
        except requests.RequestException as error:
            raise DownloadError(f"{url} cannot be fetched: {_short(error)}") from error

    def _receive(self, url: str, response: Response, held: int) -> None:
        if response.status_code >= 400:
            raise DownloadError(
                f"{url} cannot be fetched: the server answers {response.status_code} "
                f"{response.reason}; look at the set's page whether it has moved"
            )
        start = held if response.status_code == 206 and _starts_at(response, held) else 0
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdecimal() else None
        self._write_facts(url, response)
        with self._part.open("r+b" if start else "wb") as part:
            part.seek(start)
            part.truncate()
            self._write(part, response.iter_content(BLOCK_BYTES), start, total)
        if total is not None and self._part.stat().st_size < total:
            raise DownloadError(_cut_off(url, self._part, total))

    def _write(self, part: Any, blocks: Iterator[bytes], start: int, total: int | None) -> None:  # noqa: ANN401
        done, title = start, f"fetching {self._name}"
        count = -(-(total - start) // BLOCK_BYTES) if total is not None else None
        for block in self._progress.track(blocks, title, total=count, unit="MB"):
            done += len(block)
            if done > self._max_bytes:
                raise DownloadError(
                    f"{self._name} is larger than {self._max_bytes} bytes, which is more than "
                    "was expected of it"
                )
            part.write(block)

    def _held(self, url: str) -> int:
        """Bytes of the same file that an earlier try left; 0 where that is not certain."""
        facts = self._read_facts()
        if facts.get("url") != url or not facts.get("validator") or not self._part.exists():
            return 0
        return self._part.stat().st_size

    def _read_facts(self) -> dict[str, str]:
        with suppress(OSError, ValueError, RecursionError):
            found = json.loads(self._facts.read_text("utf-8"))
            return found if isinstance(found, dict) else {}
        return {}

    def _write_facts(self, url: str, response: Response) -> None:
        """What tells later whether the server's file is still this one."""
        tag = response.headers.get("ETag", "")
        # A weak tag promises the same meaning, not the same bytes.
        strong = "" if tag.startswith("W/") else tag
        validator = strong or response.headers.get("Last-Modified", "")
        write_text(self._facts, json.dumps({"url": url, "validator": validator}))


def _starts_at(response: Response, start: int) -> bool:
    return response.headers.get("Content-Range", "").startswith(f"bytes {start}-")


def _cut_off(url: str, part: Path, total: int | None) -> str:
    held = part.stat().st_size if part.exists() else 0
    of = f" of {total}" if total is not None else ""
    return f"{url} was cut off after {held}{of} bytes; run the same command again to go on"


def _unreachable(url: str, part: Path, error: Exception) -> str:
    if part.exists() and part.stat().st_size:
        return _cut_off(url, part, None)
    return f"{url} cannot be reached: {_short(error)}"


def _short(error: Exception) -> str:
    """The innermost reason, without addresses of Python objects."""
    reason: Any = error
    while getattr(reason, "args", None) and isinstance(reason.args[0], Exception):
        reason = reason.args[0]
    inner = getattr(reason, "reason", None) or reason
    return str(inner).rpartition(">: ")[2] or type(error).__name__
