"""The labels of a working folder, without a session."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from mitosam.errors import InputError, InputNotFoundError
from mitosam.io.limits import PAGES
from mitosam.io.volume import Volume, page_names
from mitosam.ui.session.blocks import BlockPlace, Ids, unpack
from mitosam.ui.session.database import Database
from mitosam.ui.session.tables import FORMAT

SUFFIX = ".mitosam"
LABELS = "annotations.sqlite"


def kept_labels(folder: Path) -> Volume:
    """The ids that a session left in its working folder, as they are now.

    They are held packed, and the folder is free again at once.

    Raises
    ------
    InputNotFoundError
        It is no working folder.
    InputError
        It was written by another version of mitosam; when read, a section is damaged.
    StorageError
        A session has it open, or it is damaged.
    """
    path = folder / LABELS
    if not path.is_file():
        raise InputNotFoundError(f"{folder} is no working folder of a session (it has no {LABELS})")
    database = Database(path)
    try:
        facts = dict(database.all("SELECT name, value FROM facts"))
        rows = database.all("SELECT z, row, col, ids FROM blocks")
    finally:
        database.close()
    try:
        found, (depth, height, width), size = _facts(facts)
        packed = {BlockPlace(*map(int, where)): bytes(block) for *where, block in rows}
    except (LookupError, ValueError, TypeError, ArithmeticError) as error:
        raise database.damaged(str(error)) from error
    if found != FORMAT:
        raise InputError(f"{path} was written by another version of mitosam; open it with that one")
    PAGES.check(path, depth)
    blocks = _Blocks(path, (height, width), packed)
    return Volume(
        name=folder.resolve().name.removesuffix(SUFFIX),
        shape_zyx=(depth, height, width),
        dtype=np.dtype(np.uint32),
        section_names=page_names(depth),
        read_section=blocks.section,
        voxel_size_nm=size,
    )


def _facts(
    facts: dict[str, str],
) -> tuple[int, tuple[int, int, int], tuple[float, float, float] | None]:
    """The format, the shape, and the voxel size where it is known."""
    depth, height, width = (int(length) for length in json.loads(facts["shape_zyx"]))
    if min(depth, height, width) < 1:
        raise ValueError(f"its shape is {depth} x {height} x {width}")
    size = json.loads(facts.get("voxel_size_nm", "null"))
    voxel_size_nm = None if size is None else (float(size[0]), float(size[1]), float(size[2]))
    return int(json.loads(facts["format"])), (depth, height, width), voxel_size_nm


class _Blocks:
    """Packed blocks of sections of `shape_yx`; where there is none, nothing was outlined."""

    def __init__(
        self, path: Path, shape_yx: tuple[int, int], packed: dict[BlockPlace, bytes]
    ) -> None:
        self._path = path
        self._shape_yx = shape_yx
        self._of_section: dict[int, list[tuple[BlockPlace, bytes]]] = {}
        for place, found in packed.items():
            self._of_section.setdefault(place.z, []).append((place, found))

    def section(self, z: int) -> Ids:
        """The ids of section `z`."""
        ids = np.zeros(self._shape_yx, np.uint32)
        for place, packed in self._of_section.get(z, ()):
            block = self._unpacked(place, packed)
            y, x = place.corner_yx
            ids[y : y + block.shape[0], x : x + block.shape[1]] = block
        return ids

    def _unpacked(self, place: BlockPlace, packed: bytes) -> Ids:
        try:
            return unpack(packed, place.shape_in(self._shape_yx))
        except ValueError as error:
            raise InputError(
                f"{self._path} is damaged (section {place.z + 1}: {error}); restore it from a copy"
            ) from error
