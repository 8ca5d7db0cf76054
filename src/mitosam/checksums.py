"""Checksums of what is kept on disk, so that a flipped or missing byte is found at reading.

CRC-32C (Castagnoli), which processors compute in hardware: about 25 GB/s, far quicker than any disk
reads. It finds every damage of up to 32 bits in a row, and any other but one in four thousand
million. It proves nothing against someone who changes a file on purpose.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from mitosam.errors import DamagedFileError
from mitosam.storage import atomic_path

Data = bytes | bytearray | memoryview

KEY = "checksum"
"""Under which a JSON object holds the checksum of all else that it holds."""
MAGIC = b"\x89MSEAL\r\n"
"""Begins a sealed file's trailer; no text ends so, and a transfer as text would change it."""
_REMARK = "# checksum: "
_TRAILER = struct.Struct("<8sQI")
_PIECE_BYTES = 1 << 17


def checksum(data: Data) -> str:
    """The CRC-32C of `data`, as it stands in files.

    >>> checksum(b"123456789")
    'crc32c:e3069283'
    """
    return checksum_of_parts([data])


def checksum_of_parts(parts: Iterable[Data]) -> str:
    """The checksum of all parts, one after the other, without ever holding them together.

    >>> checksum_of_parts([b"1234", b"56789"]) == checksum(b"123456789")
    True
    """
    return f"crc32c:{_crc(parts):08x}"


def checksum_of_file(path: Path) -> str:
    """The checksum of a file's bytes, read once only as long as the file does not change."""
    stat = path.stat()
    return _checksum_of_file(path, (stat.st_mtime_ns, stat.st_size, stat.st_ino))


@lru_cache(256)
def _checksum_of_file(path: Path, state: tuple[int, ...]) -> str:  # noqa: ARG001
    with path.open("rb") as file:
        return checksum_of_parts(iter(lambda: file.read(_PIECE_BYTES), b""))


def write_sealed(path: Path, payload: bytes | memoryview) -> None:
    """Write `payload` and a trailer with its length and checksum, whole or not at all.

    Raises
    ------
    StorageError
        The disk is full or cannot be written.
    """
    view = memoryview(payload).cast("B")
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(view)
        file.write(_TRAILER.pack(MAGIC, view.nbytes, _crc([view])))


def read_sealed(path: Path) -> bytes:
    """What `write_sealed` wrote.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    DamagedFileError
        It is not whole, or a byte of it changed.
    """
    content = path.read_bytes()
    payload, trailer = content[: -_TRAILER.size], content[-_TRAILER.size :]
    if len(trailer) < _TRAILER.size:
        raise damaged(path, f"it has {len(content)} bytes")
    magic, num_bytes, crc = _TRAILER.unpack(trailer)
    if magic != MAGIC:
        raise damaged(path, "its end is missing")
    if num_bytes != len(payload):
        raise damaged(path, f"it holds {len(payload)} of {num_bytes} bytes")
    if crc != _crc([payload]):
        raise damaged(path, "its checksum does not fit")
    return payload


def damaged(
    path: Path, what: str, *, way_out: str = "remove it, and run again"
) -> DamagedFileError:
    """The error that says so, to be raised."""
    error = DamagedFileError(f"{path} is damaged ({what}); {way_out}")
    error.what = what
    return error


def sealed_object(values: Mapping[str, Any]) -> dict[str, Any]:
    """`values`, which JSON can hold, and their checksum under `KEY`, whatever their order."""
    plain: dict[str, Any] = json.loads(json.dumps(values, default=str))
    return {**plain, KEY: _checksum_of_object(plain)}


def unsealed_object(path: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """What `sealed_object` was given; as it is, where it comes from a version without checksums.

    Raises
    ------
    DamagedFileError
        The checksum does not fit.
    """
    found = {key: value for key, value in values.items() if key != KEY}
    if KEY in values and values[KEY] != _checksum_of_object(found):
        raise damaged(path, "its checksum does not fit", way_out="make it again")
    return found


def sealed_text(body: str) -> str:
    """A text whose lines may begin with # as remarks, after one with its checksum.

    The first one, so that a text that is cut short is not taken for one without a checksum.
    """
    return f"{_REMARK}{checksum(body.encode())}\n{body}"


def unsealed_text(path: Path, text: str) -> str:
    """What `sealed_text` was given; as it is, where there is no such first line.

    Raises
    ------
    DamagedFileError
        The checksum does not fit.
    """
    if not text.startswith(_REMARK):
        return text
    found, _, body = text.removeprefix(_REMARK).partition("\n")
    if found != checksum(body.encode()):
        raise damaged(
            path,
            "its checksum does not fit",
            way_out="restore it; or, if you changed it on purpose, remove its first line",
        )
    return body


def _checksum_of_object(values: Mapping[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return checksum(text.encode())


def _crc(parts: Iterable[Data]) -> int:
    import google_crc32c

    crc = 0
    for part in parts:
        for piece in _pieces(part):
            crc = google_crc32c.extend(crc, piece)
    return crc


def _pieces(data: Data) -> Iterator[bytes]:
    """The bytes as the library takes them, which knows no views: copied by the piece."""
    if isinstance(data, bytes):
        yield data
        return
    view = memoryview(data).cast("B")
    for start in range(0, view.nbytes, _PIECE_BYTES):
        yield bytes(view[start : start + _PIECE_BYTES])
