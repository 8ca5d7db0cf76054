"""Damage of the kinds that strangers, disks and programs do, by a seed: same seed, same damage."""

from __future__ import annotations

import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from random import Random
from typing import Any

Files = dict[str, bytes]
"""Contents by path relative to a folder."""

NUMBERS = (0, 1, -1, 2, 3, 7, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40,
           2**63 - 1, 2**63, 2**64 - 1, 10**30)  # fmt: skip
VALUES: tuple[Any, ...] = (
    *NUMBERS, -(2**31), 0.5, -0.0, 1e308, 1e-308, float("nan"), float("inf"), None, True, False,
    "", "0", "a", "ä\u0000\ud800", "../../outside", "/absolute", "C:\\outside", "x" * 5000,
    [], {}, [[]], [0] * 2000, ["a", None], {"a": {"b": []}},
)  # fmt: skip
TEXT_SUFFIXES = (".json", ".toml", ".csv", ".txt", ".zarray", ".zattrs", ".zgroup")
METADATA = "__metadata__"
"""Beside a safetensors file's tensors, which are many."""
MAX_GROWN = 1 << 20


def mutate(files: Files, random: Random, knowing: float = 0.6) -> Files:
    """The files with one to four kinds of damage, of which so many know the format."""
    damaged = dict(files)
    for _ in range(random.choice((1, 1, 1, 2, 2, 3, 4))):
        if len(damaged) > 1 and random.random() < 0.12:
            _among_files(damaged, random)
        if not damaged:
            return damaged
        name = random.choice(sorted(damaged))
        damaged[name] = mutate_bytes(name, damaged[name], random, knowing)
    return damaged


def _among_files(files: Files, random: Random) -> None:
    """A file goes, takes another's name, or another's contents."""
    one, other = random.choice(sorted(files)), random.choice(sorted(files))
    kind = random.randrange(4)
    if kind == 0:
        del files[one]
    elif kind == 1:
        files[one], files[other] = files[other], files[one]
    elif kind == 2:
        files[one] = files[other]
    else:
        name = random.choice(("", "x", "9999", "ä", "a b")) + one.rsplit("/", 1)[-1]
        files[one.rsplit("/", 1)[0] + "/" + name if "/" in one else name] = files.pop(one)


def mutate_bytes(name: str, data: bytes, random: Random, knowing: float) -> bytes:
    """One kind of damage; mostly one that knows the format."""
    known = _knowing(name, data)
    kinds = known if known and random.random() < knowing else ANY
    if name.endswith(TEXT_SUFFIXES) and random.random() < 0.5:
        kinds = (_number_in_text, _line, *known)
    try:
        return random.choice(kinds)(data, random)[: len(data) + MAX_GROWN]
    except _STRANGE:
        return _flip(data, random)  # damaged so far that its format is not to be known any more


def _knowing(name: str, data: bytes) -> tuple[Kind, ...]:
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return (_png_chunk,)
    if data[:2] == b"PK":
        return (_zip_member,)
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0"):
        return (_tiff_tag, _tiff_tag, _number_in_text)
    if data[:6] == b"\x93NUMPY":
        return (_number_in_text,)
    if name.endswith(".safetensors") or data[8:10] == b'{"':
        return (_safetensors_header,)
    return (_json,) if data[:1] in (b"{", b"[") else ()


def _flip(data: bytes, random: Random) -> bytes:
    damaged = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 8, 32)) if data else 0):
        damaged[random.randrange(len(damaged))] ^= 1 << random.randrange(8)
    return bytes(damaged)


def _truncate(data: bytes, random: Random) -> bytes:
    return data[: random.randrange(len(data) + 1)]


def _run(data: bytes, random: Random) -> bytes:
    """A run of one byte in the place of others, or between them."""
    at, length = random.randrange(len(data) + 1), random.choice((1, 4, 16, 300))
    run = bytes([random.choice((0, 0xFF, 0x80, random.randrange(256)))]) * length
    return data[:at] + run + data[at + random.choice((0, length)) :]


def _cut(data: bytes, random: Random) -> bytes:
    start = random.randrange(len(data) + 1)
    return data[:start] + data[start + random.choice((1, 4, 50)) :]


def _splice(data: bytes, random: Random) -> bytes:
    """A part of the file, elsewhere in it, once or very often."""
    start, at = random.randrange(len(data) + 1), random.randrange(len(data) + 1)
    part = data[start : start + random.choice((1, 8, 64, 1000))]
    return data[:at] + part * random.choice((1, 1, 2, 1000)) + data[at:]


def _field(data: bytes, random: Random) -> bytes:
    """A number of 2, 4 or 8 bytes, mostly near the beginning, set to an extreme."""
    code = random.choice("HIQ")
    size = struct.calcsize(code)
    reach = max(1, min(len(data), random.choice((16, 64, 512, len(data)))))
    at = random.randrange(reach)
    value = random.choice((*NUMBERS, len(data), len(data) + 1, max(0, len(data) - 1)))
    packed = struct.pack(random.choice("<>") + code, value % 256**size)
    return data[:at] + packed + data[at + size :]


def _number_in_text(data: bytes, random: Random) -> bytes:
    """A number written in digits, replaced."""
    found = list(re.finditer(rb"-?\d+(\.\d+)?", data[: 1 << 16]))
    if not found:
        return _line(data, random)
    match = random.choice(found)
    value = random.choice((*NUMBERS, -5, "1e308", "nan", "1e999", "", "0x10", "9" * 5000, "-"))
    return data[: match.start()] + str(value).encode() + data[match.end() :]


def _line(data: bytes, random: Random) -> bytes:
    """A line twice, away, emptied, very long, or with quotes and commas in it."""
    lines = data.split(b"\n")
    at, kind = random.randrange(len(lines)), random.randrange(6)
    if kind == 0:
        lines.insert(at, lines[at])
    elif kind == 1:
        del lines[at]
    elif kind == 2:
        lines[at] = b""
    elif kind == 3:
        lines[at] += b"," * random.choice((1, 5, 3000)) + b"x" * random.choice((1, 200_000))
    elif kind == 4:
        lines[at] = random.choice((b'"', b"\x00", b"\xff\xfe", b"\r", b"'''", b"[[a]]")) + lines[at]
    else:
        lines[at] = b"[" * random.choice((1, 100, 20_000)) + lines[at]
    return b"\n".join(lines)


def _json(data: bytes, random: Random) -> bytes:
    """A value, a key or an item of a JSON text, replaced, removed or put twice."""
    return json.dumps(_changed(json.loads(data), random)).encode("utf-8", "surrogatepass")


def _changed(node: Any, random: Random) -> Any:
    if isinstance(node, str) and node[:1] in ("{", "["):
        return json.dumps(_changed(json.loads(node), random))  # JSON within JSON
    if isinstance(node, str) and "\n" in node and random.random() < 0.8:
        kind = random.choice((_number_in_text, _line))  # TOML within JSON
        return kind(node.encode("utf-8", "surrogatepass"), random).decode("utf-8", "replace")
    if not isinstance(node, dict | list) or not node or random.random() < 0.1:
        return random.choice(VALUES)
    key = random.choice(list(node)) if isinstance(node, dict) else random.randrange(len(node))
    if isinstance(node, dict) and METADATA in node and random.random() < 0.5:
        key = METADATA
    changed = dict(node) if isinstance(node, dict) else list(node)
    kind = random.randrange(8)
    if kind == 0:
        del changed[key]
    elif kind == 1 and isinstance(changed, dict):
        changed[random.choice(("", "x", "__class__", "../y", "z" * 300))] = changed.pop(key)
    elif kind == 1:
        changed = changed * random.choice((2, 100))
    else:
        changed[key] = _changed(node[key], random)
    return changed


def _safetensors_header(data: bytes, random: Random) -> bytes:
    """The header's JSON changed, or its length."""
    length = int.from_bytes(data[:8], "little")
    header, rest = data[8 : 8 + length], data[8 + length :]
    if random.random() < 0.2:
        wrong = random.choice((*NUMBERS, length - 1, length + 1, 100_000_001, len(data) - 8))
        return struct.pack("<Q", wrong % 2**64) + data[8:]
    header = random.choice((_json, _json, _number_in_text))(header, random)
    return struct.pack("<Q", len(header)) + header + rest


def _png_chunk(data: bytes, random: Random) -> bytes:
    """A chunk's contents changed, with a checksum that fits again."""
    chunks, at = [], 8
    while at + 12 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    number = random.randrange(len(chunks))
    kind, body = chunks[number]
    chunks[number] = (
        kind,
        random.choice((_flip, _field, _run, _truncate, _number_in_text))(body, random),
    )
    if random.random() < 0.2:
        chunks.insert(random.randrange(len(chunks)), random.choice(chunks))
    return data[:8] + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


def _tiff_tag(data: bytes, random: Random) -> bytes:
    """One entry of one page's directory: its type, its count, its value, or the next page."""
    order = "<" if data[:2] == b"II" else ">"
    big = data[2 if order == "<" else 3] == 43
    head, entry, offset = ("Q", 20, "Q") if big else ("H", 12, "I")
    at = struct.unpack_from(order + offset, data, 8 if big else 4)[0]
    for _ in range(random.randrange(3)):
        count = struct.unpack_from(order + head, data, at)[0]
        following = struct.unpack_from(
            order + offset, data, at + struct.calcsize(head) + entry * count
        )[0]
        at = following or at
    count = struct.unpack_from(order + head, data, at)[0]
    start = at + struct.calcsize(head)
    damaged = bytearray(data)
    if random.random() < 0.1:
        struct.pack_into(
            order + offset, damaged, start + entry * count, random.choice((at, 8, 1, 2**31))
        )
        return bytes(damaged)
    place = start + entry * random.randrange(min(count, 100))
    part, code = random.choice(
        ((0, "H"), (2, "H"), (4, offset), (4 + struct.calcsize(offset), offset))
    )
    value = random.choice((*NUMBERS, 40, 48, 5000, 30000, 100_000, len(data)))
    struct.pack_into(order + code, damaged, place + part, value % 256 ** struct.calcsize(code))
    return bytes(damaged)


def _zip_member(data: bytes, random: Random) -> bytes:
    """One member changed, in an archive that is whole."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    names = sorted(members)
    name = next((n for n in names if n.endswith(".pkl")), names[0])
    name = name if random.random() < 0.7 else random.choice(names)
    if random.random() < 0.1:
        members["../outside" if random.random() < 0.5 else "x" + name] = members.pop(name)
    else:
        members[name] = random.choice((*ANY, _number_in_text))(members[name], random)
    packed = io.BytesIO()
    how = zipfile.ZIP_DEFLATED if random.random() < 0.1 else zipfile.ZIP_STORED
    with zipfile.ZipFile(packed, "w", how) as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    return packed.getvalue()


Kind = Callable[[bytes, Random], bytes]
ANY: tuple[Kind, ...] = (_flip, _flip, _truncate, _run, _cut, _splice, _field, _field, _field)
_STRANGE = (
    *(ValueError, LookupError, ArithmeticError, RecursionError, NotImplementedError),
    *(struct.error, zipfile.BadZipFile, zlib.error),
)
"""What a format's own code says of a file that is damaged so far that it is none any more."""
