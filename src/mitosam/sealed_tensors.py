"""Checksums in safetensors files, which any other software reads as before.

The checksum stands in the file's metadata and is of everything else in it: names, types, shapes,
the other metadata, and the tensors' bytes.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from mitosam.checksums import Data, checksum_of_parts, damaged

SEAL = "mitosam_checksum"
METADATA = "__metadata__"
MAX_HEADER_BYTES = 100_000_000
"""The format's own bound."""
_LENGTH = struct.Struct("<Q")
_PIECE_BYTES = 1 << 20


def seal_tensors(content: bytes) -> bytes:
    """The safetensors file in `content` with a checksum; its metadata are put into order."""
    header, data = _split(content)
    metadata = {**header.get(METADATA, {}), SEAL: _checksum(header, [data])}
    header[METADATA] = dict(sorted(metadata.items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _LENGTH.size)  # so that tensors begin at a multiple of 8
    return b"".join((_LENGTH.pack(len(text)), text, data))


def check_tensors(path: Path, content: bytes) -> bool:
    """Whether the safetensors file in `content` was sealed; of older versions none was.

    Raises
    ------
    DamagedFileError
        It was, and is not as it was written; or it is no safetensors file.
    """
    try:
        header, data = _split(content)
    except ValueError as error:
        raise damaged(path, str(error)) from error
    return _fits(path, header, [data])


def check_tensor_file(path: Path) -> bool:
    """The same of a file, read piece by piece, and once only as long as it does not change.

    Raises
    ------
    DamagedFileError
        It is not as it was written, or no safetensors file.
    """
    stat = path.stat()
    return _check_file(path, (stat.st_mtime_ns, stat.st_size, stat.st_ino))


@lru_cache(64)
def _check_file(path: Path, state: tuple[int, ...]) -> bool:  # noqa: ARG001
    with path.open("rb") as file:
        try:
            header = _read_header(file)
        except ValueError as error:
            raise damaged(path, str(error)) from error
        if SEAL not in header.get(METADATA, {}):
            return False  # such as base models, which may be large
        return _fits(path, header, iter(lambda: file.read(_PIECE_BYTES), b""))


def _fits(path: Path, header: dict[str, Any], data: list[memoryview] | Iterator[bytes]) -> bool:
    seal = header.get(METADATA, {}).get(SEAL)
    if seal is not None and seal != _checksum(header, data):
        raise damaged(path, "its checksum does not fit")
    return seal is not None


def _checksum(header: dict[str, Any], data: list[memoryview] | Iterator[bytes]) -> str:
    facts = dict(header)
    facts[METADATA] = {n: text for n, text in header.get(METADATA, {}).items() if n != SEAL}
    text = json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()

    def parts() -> Iterator[Data]:
        yield text
        yield from data

    return checksum_of_parts(parts())


def _split(content: bytes) -> tuple[dict[str, Any], memoryview]:
    view = memoryview(content)
    if len(content) < _LENGTH.size:
        raise ValueError(f"it has {len(content)} bytes")
    stop = _LENGTH.size + _LENGTH.unpack(view[: _LENGTH.size])[0]
    return _parse(bytes(view[_LENGTH.size : stop]), stop - _LENGTH.size), view[stop:]


def _read_header(file: IO[bytes]) -> dict[str, Any]:
    length = file.read(_LENGTH.size)
    if len(length) < _LENGTH.size:
        raise ValueError(f"it has {len(length)} bytes")
    num_bytes = _LENGTH.unpack(length)[0]
    if num_bytes > MAX_HEADER_BYTES:
        raise ValueError("its header has no end")
    return _parse(file.read(num_bytes), num_bytes)


def _parse(text: bytes, num_bytes: int) -> dict[str, Any]:
    if len(text) != num_bytes:
        raise ValueError("its header is cut short")
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError("its header is no JSON") from error
    if not isinstance(header, dict) or not isinstance(header.get(METADATA, {}), dict):
        raise ValueError("its header is no JSON object")  # noqa: TRY004  # of the file, not a type
    return header
