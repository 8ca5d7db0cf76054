"""What an OME-Zarr volume is to become, and the empty arrays of its levels."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mitosam.errors import InputError
from mitosam.io.ome_zarr_attributes import NgffVersion
from mitosam.io.ome_zarr_pyramid import Kind, Zyx

if TYPE_CHECKING:
    import zarr
    from zarr.core.common import JSON

CHUNK_ZYX = (32, 256, 256)
COMPRESSION_LEVEL = 3


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class VolumeSpec:
    """What an OME-Zarr volume is to become; labels are whole numbers, images any numbers."""

    shape_zyx: Zyx
    dtype: np.dtype[Any]
    kind: Kind
    voxel_size_nm: tuple[float, float, float] | None = None
    chunk_zyx: Zyx = CHUNK_ZYX
    name: str = ""
    ngff_version: NgffVersion = "0.5"

    def __post_init__(self) -> None:
        kinds = "ui" if self.kind == "labels" else "uif"
        if self.dtype.kind not in kinds or self.dtype.itemsize > 8:
            wanted = "whole numbers" if self.kind == "labels" else "numbers"
            raise InputError(f"{self.kind} must be {wanted}, got {self.dtype}")
        if min(*self.shape_zyx, *self.chunk_zyx) < 1:
            raise InputError(
                "a volume needs at least one voxel along each axis, and so do its chunks, "
                f"got shape {self.shape_zyx} and chunks {self.chunk_zyx}"
            )

    @property
    def grid_zyx(self) -> Zyx:
        """The number of chunks along each axis."""
        z, y, x = (-(-n // c) for n, c in zip(self.shape_zyx, self.chunk_zyx, strict=True))
        return z, y, x

    def to_json(self) -> str:
        """The same volume has the same text."""
        return json.dumps({**dataclasses.asdict(self), "dtype": self.dtype.str}, indent=1) + "\n"

    @property
    def zarr_format(self) -> Literal[2, 3]:
        """OME-Zarr 0.5 is zarr v3."""
        return 3 if self.ngff_version == "0.5" else 2


def create_array(volume: Path, number: int, shape_zyx: Zyx, spec: VolumeSpec) -> zarr.Array[Any]:
    """The empty array of level `number` in the group `volume`, in place of what was there."""
    import zarr
    from zarr.codecs import ZstdCodec

    is_v3 = spec.zarr_format == 3
    # with a checksum, so that a damaged chunk is noticed; blosc has none
    v2_codec: dict[str, JSON] = {"id": "zstd", "level": COMPRESSION_LEVEL, "checksum": True}
    v3_codec = ZstdCodec(level=COMPRESSION_LEVEL, checksum=True)
    return zarr.create_array(
        store=volume,
        name=str(number),
        shape=shape_zyx,
        dtype=spec.dtype,
        chunks=tuple(map(min, spec.chunk_zyx, shape_zyx)),
        compressors=v3_codec if is_v3 else v2_codec,
        fill_value=0,
        zarr_format=spec.zarr_format,
        dimension_names="zyx" if is_v3 else None,
        chunk_key_encoding={"name": "default" if is_v3 else "v2", "separator": "/"},
        overwrite=True,
    )
