"""What a file of weights asks for, held against what it holds, before it is read."""

from __future__ import annotations

import lzma
import pickletools
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, cast

import torch
from torch import Tensor, nn

from mitosam.errors import ModelError
from mitosam.io.limits import HEADER

WEIGHT_ERRORS: tuple[type[Exception], ...] = (
    OSError, EOFError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError,
    RuntimeError, AssertionError, MemoryError, struct.error, zipfile.BadZipFile, zlib.error,
    lzma.LZMAError,
)  # fmt: skip
"""What torch's reader raises on files that are cut short or damaged."""

_LEGACY_PICKLES = 5
"""A number, a version, the machine, the weights, and the names of their storages."""
_SPARE_BYTES = 2**26
_SPARE_NUMBERS = 2**23
"""What a network may hold that its file does not: tables it makes by itself."""
# Each makes as much memory as a number in the file says, or a tensor that holds less than it shows.
_MAKERS = (
    "builtins bytearray", "__builtin__ bytearray",
    "torch _utils._rebuild", "torch._utils _rebuild_sparse",
    "torch._utils _rebuild_nested", "torch._utils _rebuild_wrapper", "torch._utils _rebuild_meta",
    "torch._utils _rebuild_qtensor", "torch Tensor", "torch nested",
)  # fmt: skip


def check_safetensors(path: Path) -> None:
    """Raise ModelError if the header is longer than any model's.

    One that says to be longer than the file is damaged, as whoever reads it finds out.
    """
    with path.open("rb") as file:
        num_bytes = int.from_bytes(file.read(8), "little")
    if num_bytes <= path.stat().st_size:
        HEADER.check(path, num_bytes, error=ModelError)


def check_pickle(path: Path) -> None:
    """Raise ModelError if a file of torch's asks for memory beside the tensors that it holds.

    torch reads weights without running anything of the file's, but it does make arrays of any size
    that the file names.
    """
    for name in _names(path):
        is_tensor_type = name.startswith("torch") and name.endswith("Tensor")
        if is_tensor_type or name.startswith(_MAKERS):
            raise ModelError(
                f"{path} is not a plain checkpoint of tensors (it asks for "
                f"{name.replace(' ', '.')[:100]}); re-save its weights as safetensors"
            )


def _names(path: Path) -> Iterator[str]:
    """The classes and functions that its pickles name, as `module name`."""
    if not zipfile.is_zipfile(path):
        num_bytes = path.stat().st_size
        with path.open("rb") as file:
            for _ in range(_LEGACY_PICKLES):
                if file.tell() < num_bytes:
                    yield from _names_in(cast("IO[bytes]", _Within(file, num_bytes)))
        return
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(info.file_size for info in archive.infolist())
        if unpacked > 2 * path.stat().st_size + _SPARE_BYTES:
            raise ModelError(
                f"{path} unpacks to {unpacked >> 20} MB, which no checkpoint of its size does; "
                "fetch it again"
            )
        for info in archive.infolist():
            if info.filename.endswith(".pkl"):
                HEADER.check(f"{path}, {info.filename}", info.file_size, error=ModelError)
                with archive.open(info) as member:
                    yield from _names_in(member)


class _Within:
    """A file of which no more is asked for than it holds: memory is taken for what is asked for."""

    def __init__(self, file: IO[bytes], num_bytes: int) -> None:
        self._file, self._num_bytes = file, num_bytes
        self.readline, self.tell = file.readline, file.tell

    def read(self, count: int) -> bytes:
        """As many bytes, or all that are left."""
        return self._file.read(min(count, self._num_bytes - self.tell()))


def _names_in(file: IO[bytes]) -> Iterator[str]:
    texts = ["", ""]
    for operation, value, _ in pickletools.genops(file):
        if operation.name == "GLOBAL":
            yield str(value)
        elif operation.name == "STACK_GLOBAL":
            yield " ".join(texts[-2:])
        elif isinstance(value, str):
            texts = [texts[-1], value]


def check_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raise ModelError if the tensors together show more numbers than the file can hold."""
    shown = 0
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        shown += size
        if tensor.layout != torch.strided or size > tensor.untyped_storage().nbytes():
            raise ModelError(f"{path}: {name} shows more numbers than it holds; fetch it again")
    if shown > 2 * path.stat().st_size + _SPARE_BYTES:
        raise ModelError(
            f"{path} shows {shown >> 20} MB of weights, more than it holds; fetch it again"
        )


def check_size(build: Callable[[], nn.Module], held_bytes: int, where: str) -> None:
    """Raise ModelError if the network that `build` makes is larger than a file of its weights.

    On torch's device `meta`, where it is built for that, it takes no memory.
    """
    with torch.device("meta"):
        network = build()
    asked = sum(tensor.numel() for tensor in (*network.parameters(), *network.buffers()))
    if asked > held_bytes + _SPARE_NUMBERS:
        raise ModelError(
            f"{where} has a config.json of {asked} numbers, and weights of {held_bytes} bytes; "
            "fetch the model again"
        )
