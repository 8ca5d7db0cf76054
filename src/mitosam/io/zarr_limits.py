"""Chunks of a zarr array, held against what its metadata says of them, before they are unpacked.

zarr takes whatever memory a chunk unpacks to, and only then looks whether that is a chunk of this
array. So each chunk's bytes are looked at as they are read: what its compressor would make of them
must be what a chunk may be.
"""

from __future__ import annotations

import bz2
import lzma
import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, cast

from mitosam.errors import InputError
from mitosam.io.limits import CHUNK

if TYPE_CHECKING:
    import zarr
    from zarr.core.array_spec import ArraySpec
    from zarr.core.buffer import Buffer

    from mitosam.io.zarr_folder import Folder

    Array = zarr.Array[Any]

COMPRESSORS = ("blosc", "zstd", "gzip", "zlib", "bz2", "lzma", "lz4", "zfpy", "pcodec")
IN_SHARDS = ("zstd", "gzip", "blosc")
_AFTER = ("crc32c", "crc32", "adler32", "fletcher32", "bytes")
"""What may follow a compressor: checksums, and the codecs of a shard's index."""
_SPARE_BYTES = 2**24
"""What the metadata of a codec may add, and what is too little to be looked at."""
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_ZSTD_BLOCK = 2**17


def compressor_of(folder: Folder, codecs: Sequence[str]) -> str | None:
    """The one compressor among an array's codecs, those within its shards included.

    Raises
    ------
    InputError
        There are several, each of which multiplies what a byte can become, or it is not the last.
    """
    found = [name for name in codecs if name in COMPRESSORS]
    after = codecs[codecs.index(found[0]) + 1 :] if found else []
    if any(name not in _AFTER for name in after):
        raise InputError(
            f"{folder} is stored with {', '.join(codecs)}, which is not read here; "
            "save it with zstd, blosc or gzip alone"
        )
    return found[0] if found else None


def check_unpacked(key: str, compressor: str | None, packed: bytes, most: int) -> None:
    """Raise EOFError if a chunk unpacks to more than `most` bytes by far, or is cut short.

    Of one that is shorter than its header says, blosc would read what lies behind it.
    """
    if compressor == "blosc" and not 16 <= int.from_bytes(packed[12:16], "little") <= len(packed):
        raise EOFError(f"{key} is cut short")
    size = _SIZES.get(compressor or "")
    allowed = most + max(_SPARE_BYTES, most // 4)
    if size is not None and size(packed, allowed) > allowed:
        raise EOFError(f"{key} unpacks to more than a chunk")


def _by_header(start: int) -> Callable[[bytes, int], int]:
    """Of compressors that write the size first, in four bytes."""
    return lambda packed, _: int.from_bytes(packed[start : start + 4], "little")


def _zstd_size(packed: bytes, _: int) -> int:
    """The most that the frame's blocks can make; a frame that says its size is held to it.

    Source: RFC 8878, 3.1.1.
    """
    if packed[:4] != _ZSTD_MAGIC or len(packed) < 6:
        return 0  # no frame, which the decoder will say
    flags = packed[4]
    is_single, size_code = bool(flags & 0x20), flags >> 6
    at = 5 + (not is_single) + (0, 1, 2, 4)[flags & 3]
    length = (int(is_single), 2, 4, 8)[size_code]
    if length:
        return int.from_bytes(packed[at : at + length], "little") + (256 if length == 2 else 0)
    return sum(_zstd_blocks(packed, at + length))


def _zstd_blocks(packed: bytes, at: int) -> Iterator[int]:
    """The most that each block of a frame makes."""
    while at + 3 <= len(packed):
        header = int.from_bytes(packed[at : at + 3], "little")
        kind, size = header >> 1 & 3, header >> 3
        yield size if kind < 2 else _ZSTD_BLOCK
        at += 3 + (1 if kind == 1 else size)
        if header & 1:
            return


def _counted(start: Callable[[], Any]) -> Callable[[bytes, int], int]:
    """Of compressors that do not say the size: unpacked in pieces that are thrown away."""

    def size(packed: bytes, most: int) -> int:
        made, rest, unpacker = 0, packed, start()
        try:
            while made <= most and not unpacker.eof:
                piece = unpacker.decompress(rest, 2**20)
                rest = getattr(unpacker, "unconsumed_tail", b"")
                made += len(piece)
                if not piece:
                    break
        except (zlib.error, OSError, lzma.LZMAError, EOFError, ValueError):
            return made  # damaged, which the decoder will say
        return made

    return size


def _deflate_size(packed: bytes, most: int) -> int:
    """Counted where it might be too much: deflate makes at most 1032 bytes of one."""
    if 1032 * len(packed) <= most:
        return 0
    return _counted(lambda: zlib.decompressobj(wbits=47))(packed, most)


_SIZES: dict[str, Callable[[bytes, int], int]] = {
    "zstd": _zstd_size,
    "blosc": _by_header(4),
    "lz4": _by_header(0),
    "gzip": _deflate_size,
    "zlib": _deflate_size,
    "bz2": _counted(bz2.BZ2Decompressor),
    "lzma": _counted(lzma.LZMADecompressor),
}


def open_guarded(folder: Folder, compressor: str | None, *, zarr_format: Literal[2, 3]) -> Array:
    """The array in a folder, whose chunks are looked at before zarr unpacks them.

    Raises
    ------
    InputError
        One chunk is larger than a chunk may be.
    """
    import zarr

    from mitosam.io.zarr_store import FolderStore

    opened: list[Array] = []

    def check(key: str, content: bytes) -> None:
        if opened and opened[0].shards is None:  # a shard is many chunks
            check_unpacked(key, compressor, content, _chunk_bytes(opened[0]))

    store = FolderStore(folder, check)
    with zarr.config.set({f"codecs.{name}": _register(name) for name in IN_SHARDS}):
        array = zarr.open_array(store=store, mode="r", zarr_format=zarr_format)
    CHUNK.check(folder, _chunk_bytes(array))
    if array.shards is not None and compressor not in (None, *IN_SHARDS):
        raise InputError(
            f"{folder} is stored with {compressor} in shards, which is not read here; save it "
            f"with {', '.join(IN_SHARDS)}"
        )
    opened.append(array)
    return array


def _chunk_bytes(array: Array) -> int:
    return math.prod(array.chunks) * array.dtype.itemsize


@cache
def _register(name: str) -> str:
    """The name under which zarr finds a compressor that looks at the chunks within shards."""
    from zarr.registry import get_codec_class, register_codec

    class Guarded(get_codec_class(name)):  # type: ignore[misc]  # one of zarr's three
        async def _decode_single(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> Buffer:
            most = math.prod(chunk_spec.shape) * chunk_spec.dtype.to_native_dtype().itemsize
            check_unpacked("a chunk in a shard", name, chunk_bytes.to_bytes(), most)
            return cast("Buffer", await super()._decode_single(chunk_bytes, chunk_spec))

    register_codec(name, Guarded, qualname=f"mitosam.{name}")
    return f"mitosam.{name}"
