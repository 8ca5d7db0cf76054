"""What the JSON files of a zarr folder say, read and checked before any pixel is.

OME-Zarr 0.4 is zarr v2 (`.zgroup`, `.zarray`, `.zattrs`), 0.5 is zarr v3 (`zarr.json`).
Specification: https://ngff.openmicroscopy.org/0.5/
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from mitosam.errors import InputError, MitosamError
from mitosam.io.tiff_voxels import NM_PER_UNIT, Sizes
from mitosam.io.zarr_folder import Folder, local_folder
from mitosam.io.zarr_limits import compressor_of

logger = logging.getLogger(__name__)

NODE_FILES = ("zarr.json", ".zarray", ".zgroup")
SAFE_CODECS = {
    *("bytes", "transpose", "sharding_indexed", "crc32c", "crc32", "adler32", "fletcher32"),
    *("blosc", "zstd", "gzip", "zlib", "bz2", "lzma", "lz4", "zfpy", "pcodec", "packbits"),
    *("shuffle", "delta", "fixedscaleoffset", "quantize", "bitround", "astype"),
}
"""Codecs of plain numbers; none of them runs code that stands in a file, as pickle does."""


def is_zarr(folder: Path | Folder) -> bool:
    """Whether a folder is a zarr group or array."""
    if isinstance(folder, Path):
        return any((folder / name).is_file() for name in NODE_FILES)
    return any(folder.read(name) is not None for name in NODE_FILES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One group or array of a zarr hierarchy.

    `ome` holds its OME metadata, if any, and `compressor` is what packed an array's chunks.
    """

    folder: Folder
    zarr_format: Literal[2, 3]
    is_array: bool
    ome: dict[str, Any]
    axis_names: tuple[str, ...] | None
    compressor: str | None


def read_node(place: Path | Folder) -> Node:
    """The metadata of a zarr folder; an array's codecs have been found harmless.

    Raises
    ------
    InputError
        A metadata file is damaged, or the array holds Python objects.
    RemoteError
        The folder's store cannot be reached.
    """
    folder = local_folder(place) if isinstance(place, Path) else place
    node = _read_json(folder, "zarr.json")
    version: Literal[2, 3] = 2 if node is None else 3
    if node is not None:
        metadata, is_array = node, node.get("node_type") == "array"
        attributes = metadata.get("attributes")
    else:
        array = _read_json(folder, ".zarray")
        is_array = array is not None
        metadata = array or _read_json(folder, ".zgroup") or {}
        attributes = _read_json(folder, ".zattrs")
    attributes = attributes if isinstance(attributes, dict) else {}
    ome = attributes.get("ome", attributes)
    return Node(
        folder=folder,
        zarr_format=version,
        is_array=is_array,
        ome=ome if isinstance(ome, dict) else {},
        axis_names=_dimension_names(metadata, attributes) if is_array else None,
        compressor=_check_harmless(folder, metadata) if is_array else None,
    )


def _read_json(folder: Folder, name: str) -> dict[str, Any] | None:
    """What a metadata file says, or None where there is none."""
    try:
        text = folder.read(name)
        content = {} if text is None else json.loads(text.decode("utf-8"))
    except MitosamError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{folder.at(name)} is damaged ({str(error)[:200]}); copy it again from its source"
        ) from error
    if not isinstance(content, dict):
        raise InputError(
            f"{folder.at(name)} is damaged (no JSON object); copy it again from its source"
        )
    return None if text is None else content


def _check_harmless(folder: Folder, metadata: dict[str, Any]) -> str | None:
    """The array's compressor, provided it holds no Python objects, which zarr would unpickle.

    Raises
    ------
    InputError
        It does, or its codecs are unknown or too many.
    """
    dtype = metadata.get("dtype", metadata.get("data_type"))
    if not isinstance(dtype, str) or dtype.startswith("|O"):
        raise InputError(
            f"{folder} holds {dtype} values, not numbers; save it as an array of those"
        )
    found = [metadata.get(key) for key in ("filters", "compressor", "codecs")]
    codecs = list(_codec_names(found))
    unknown = sorted({name for name in codecs if name not in SAFE_CODECS})
    if unknown:
        raise InputError(
            f"{folder} is stored with {', '.join(unknown)}, which is not read here; "
            "save it with zstd, blosc or gzip"
        )
    return compressor_of(folder, codecs)


def _codec_names(found: Any) -> Iterator[str]:  # noqa: ANN401
    """All codecs in `found`, also those inside of shards, without their namespace."""
    if isinstance(found, dict):
        for key, value in found.items():
            if key in ("id", "name"):
                yield str(value).removeprefix("numcodecs.")
            else:
                yield from _codec_names(value)
    elif isinstance(found, list):
        for item in found:
            yield from [item] if isinstance(item, str) else _codec_names(item)


def _dimension_names(
    metadata: dict[str, Any], attributes: dict[str, Any]
) -> tuple[str, ...] | None:
    """The array's own names of its axes (xarray's in v2), if they are those of images."""
    names = metadata.get("dimension_names") or attributes.get("_ARRAY_DIMENSIONS")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return None
    lower = tuple(name.lower() for name in names)
    return lower if set(lower) <= set("tczyx") else None


class Axis(BaseModel):
    """One axis of an image."""

    name: str
    unit: str | None = None


class _Transformation(BaseModel):
    type: str
    scale: list[float] | None = None


class _Dataset(BaseModel):
    path: str
    transformations: list[_Transformation] = Field([], alias="coordinateTransformations")


class Multiscale(BaseModel):
    """An image in several resolutions, the finest first."""

    axes: list[Axis | str] = ["t", "c", "z", "y", "x"]  # the rule before OME-Zarr 0.3
    datasets: list[_Dataset] = Field(min_length=1)
    transformations: list[_Transformation] = Field([], alias="coordinateTransformations")

    @property
    def axis_names(self) -> tuple[str, ...]:
        """The axes' names in lower case, in the order of the array's dimensions."""
        return tuple((axis if isinstance(axis, str) else axis.name).lower() for axis in self.axes)

    def sizes_nm(self, what: str) -> Sizes:
        """The step along z, y and x in nm; None for an axis without a scale or a known unit."""
        scales = [t.scale for t in (*self.datasets[0].transformations, *self.transformations)]
        known = [scale for scale in scales if scale and len(scale) == len(self.axes)]
        if not known:
            return None, None, None
        step = dict(zip(self.axis_names, map(math.prod, zip(*known, strict=True)), strict=True))
        unit = {axis.name.lower(): axis.unit for axis in self.axes if isinstance(axis, Axis)}
        z, y, x = (_length_nm(what, axis, step.get(axis), unit.get(axis)) for axis in "zyx")
        return z, y, x


def _length_nm(what: str, axis: str, step: float | None, unit: str | None) -> float | None:
    if step is None or (unit is None and step == 1):
        return None
    nm = NM_PER_UNIT.get((unit or "").strip().lower())
    if nm is None:
        logger.warning(
            "%s: its %s step of %g has %s; the voxel size is left out",
            what, axis, step, f"the unknown unit {unit!r}" if unit else "no unit",
        )  # fmt: skip
        return None
    return step * nm


def read_multiscale(node: Node) -> Multiscale | None:
    """The image that a group is, or None where its metadata speak of none.

    Raises
    ------
    InputError
        The metadata are damaged, or point outside of the group.
    """
    multiscales = node.ome.get("multiscales")
    if not multiscales:
        return None
    try:
        first = Multiscale.model_validate(multiscales[0] if isinstance(multiscales, list) else None)
    except ValidationError as error:
        detail = error.errors()[0]
        where = ".".join(str(part) for part in detail["loc"]) or "multiscales"
        raise InputError(
            f"{node.folder} has damaged OME metadata ({where}: {detail['msg'].lower()}); "
            "copy it again from its source"
        ) from error
    if isinstance(multiscales, list) and len(multiscales) > 1:
        logger.warning("%s holds %d images; took the first", node.folder, len(multiscales))
    for dataset in first.datasets:
        if _leads_out(dataset.path):
            raise InputError(
                f"{node.folder} says its pixels lie in {dataset.path}, which is outside of it"
            )
    return first


def _leads_out(path: str) -> bool:
    """Whether a path within a group is absolute, a URL, or goes up, in any system's spelling."""
    parts = (*PurePosixPath(path).parts, *PureWindowsPath(path).parts)
    rooted = PurePosixPath(path).is_absolute() or PureWindowsPath(path).anchor != ""
    return rooted or ".." in parts or bool(set(path) & set("\\:\0"))
