"""A folder as the read-only store that zarr reads arrays from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from zarr.abc.store import (
    ByteRequest,
    OffsetByteRequest,
    RangeByteRequest,
    Store,
    SuffixByteRequest,
)
from zarr.core.buffer import Buffer, BufferPrototype

from mitosam.io.zarr_folder import Folder

NUM_READERS = 16
"""Files read at a time: what a store takes long to answer is asked for together."""


@cache
def _readers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(NUM_READERS, thread_name_prefix="mitosam-read")


class FolderStore(Store):
    """What zarr reads of a folder; `check` is given each file that is read whole, and may raise."""

    supports_writes = False
    supports_deletes = False
    supports_listing = False

    def __init__(self, folder: Folder, check: Callable[[str, bytes], None]) -> None:
        super().__init__(read_only=True)
        self._folder = folder
        self._check = check

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FolderStore) and self._folder == other._folder

    def __hash__(self) -> int:
        return hash(self._folder)

    def __str__(self) -> str:
        return str(self._folder)

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """The bytes of one file, or None where it is not there."""
        content = await asyncio.get_running_loop().run_in_executor(
            _readers(), self._read, key, byte_range
        )
        return None if content is None else prototype.buffer.from_bytes(content)

    def _read(self, key: str, byte_range: ByteRequest | None) -> bytes | None:
        if isinstance(byte_range, RangeByteRequest):
            return self._folder.read(key, byte_range.start, byte_range.end)
        if isinstance(byte_range, OffsetByteRequest):
            return self._folder.read(key, byte_range.offset)
        if isinstance(byte_range, SuffixByteRequest):
            content = self._folder.read(key, -byte_range.suffix)
            return None if content is None else content[-byte_range.suffix :]
        content = self._folder.read(key)
        if content is not None:
            self._check(key, content)
        return content

    async def get_partial_values(
        self,
        prototype: BufferPrototype,
        key_ranges: Iterable[tuple[str, ByteRequest | None]],
    ) -> list[Buffer | None]:
        """The bytes of several files."""
        return list(await asyncio.gather(*(self.get(k, prototype, r) for k, r in key_ranges)))

    async def exists(self, key: str) -> bool:
        """Whether there is such a file."""
        read = asyncio.get_running_loop().run_in_executor(_readers(), self._folder.read, key)
        return await read is not None

    async def set(self, key: str, value: Buffer) -> None:  # noqa: ARG002
        """Nothing is ever written."""
        self._check_writable()

    async def delete(self, key: str) -> None:  # noqa: ARG002
        """Nothing is ever removed."""
        self._check_writable()

    def list(self) -> AsyncIterator[str]:
        """Nothing: arrays are read without listing their files."""
        return _nothing()

    def list_prefix(self, prefix: str) -> AsyncIterator[str]:  # noqa: ARG002
        """Nothing: arrays are read without listing their files."""
        return _nothing()

    def list_dir(self, prefix: str) -> AsyncIterator[str]:  # noqa: ARG002
        """Nothing: arrays are read without listing their files."""
        return _nothing()


async def _nothing() -> AsyncIterator[str]:
    names: tuple[str, ...] = ()
    for name in names:
        yield name
