"""Files that carry a checksum, opened for damage and sealed again, as who means harm would do.

A checksum stops nearly all damage that disks and programs do, and so keeps it from the parsers
behind. Whoever changes a file on purpose puts a checksum on it that fits.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from mitosam.checksums import (
    KEY,
    MAGIC,
    checksum,
    sealed_object,
    sealed_text,
    unsealed_text,
    write_sealed,
)
from mitosam.sealed_tensors import METADATA, SEAL, seal_tensors
from tests.fuzz.mutate import Files

TRAILER_BYTES = 20
SEALED_TEXT = b"# checksum: "
CANNOT_SEAL = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
"""What sealing says of contents that are damaged too far to be given a checksum."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """One way of carrying a checksum: how a file is told, opened, and closed again."""

    is_on: Callable[[bytes], bool]
    take_off: Callable[[bytes], bytes]
    put_on: Callable[[bytes], bytes]


def is_sealed(files: Files) -> bool:
    """Whether any of the files carries a checksum."""
    return any(_seal_of(content) for content in files.values())


def opened(files: Files) -> Files:
    """The files without their checksums."""
    return {name: _opened(content) for name, content in files.items()}


def sealed_again(honest: Files, damaged: Files) -> Files:
    """Damaged contents of honest files, with checksums wherever the honest ones had them.

    A checksum of another file's, as records of folders hold them, becomes that of the damaged one.
    """
    seals = {name: _seal_of(content) for name, content in honest.items()}
    closed = {name: c for name, c in damaged.items() if not seals.get(name)}
    pairs = {
        checksum(honest[name]).encode(): checksum(content).encode()
        for name, content in closed.items()
        if name in honest
    }
    for name, content in damaged.items():
        seal = seals.get(name)
        if seal is not None:
            closed[name] = _closed(seal, _exchanged(content, pairs))
    return closed


def _exchanged(content: bytes, pairs: dict[bytes, bytes]) -> bytes:
    return re.sub(rb"crc32c:[0-9a-f]{8}", lambda m: pairs.get(m[0], m[0]), content)


def _closed(seal: Seal, content: bytes) -> bytes:
    try:
        return seal.put_on(content)
    except CANNOT_SEAL:
        return content


def _opened(content: bytes) -> bytes:
    seal = _seal_of(content)
    return seal.take_off(content) if seal else content


def _seal_of(content: bytes) -> Seal | None:
    return next((seal for seal in SEALS if seal.is_on(content)), None)


def _with_trailer(payload: bytes) -> bytes:
    with TemporaryDirectory(prefix="sealed-") as folder:
        write_sealed(Path(folder) / "a", payload)
        return (Path(folder) / "a").read_bytes()


def _is_object(content: bytes) -> bool:
    return content[:1] == b"{" and f'"{KEY}":'.encode() in content


def _plain_object(content: bytes) -> bytes:
    values = json.loads(content)
    values.pop(KEY, None)
    return json.dumps(values, indent=2).encode()


def _sealed_object(content: bytes) -> bytes:
    sealed = sealed_object(dict(json.loads(content)))
    return json.dumps(sealed, indent=2).encode("utf-8", "surrogatepass")


def _plain_tensors(content: bytes) -> bytes:
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header[METADATA].pop(SEAL)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


SEALS = (
    Seal(
        is_on=lambda c: c[-TRAILER_BYTES:].startswith(MAGIC),
        take_off=lambda c: c[:-TRAILER_BYTES],
        put_on=_with_trailer,
    ),
    Seal(is_on=_is_object, take_off=_plain_object, put_on=_sealed_object),
    Seal(
        is_on=lambda c: c.startswith(SEALED_TEXT),
        take_off=lambda c: unsealed_text(Path(), c.decode()).encode(),
        put_on=lambda c: sealed_text(c.decode()).encode(),
    ),
    Seal(
        is_on=lambda c: c[8:10] == b'{"' and SEAL.encode() in c,
        take_off=_plain_tensors,
        put_on=seal_tensors,
    ),
)
