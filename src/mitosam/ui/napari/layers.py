"""Volumes as napari's layer data: an array, what the layer is told of it, and the layer's type."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Shaped

from mitosam.io.volume import Volume

if TYPE_CHECKING:
    import dask.array

LayerData = tuple[Any, dict[str, Any], str]
VoxelSize = tuple[float, float, float]


def lazy_volume(volume: Volume) -> dask.array.Array:
    """The volume's sections (z, y, x), each read when it is looked at."""
    return lazy_sections(volume.shape_zyx, volume.dtype, volume.section)


def lazy_sections(
    shape_zyx: tuple[int, int, int],
    dtype: np.dtype[Any],
    read: Callable[[int], Shaped[np.ndarray, "height width"]],
) -> dask.array.Array:
    """A stack (z, y, x) of which each section is what `read` returns when it is looked at."""
    import dask.array

    def block(block_info: dict[None, dict[str, Any]]) -> Shaped[np.ndarray, "1 height width"]:
        (z, _), *_ = block_info[None]["array-location"]
        return read(z)[None]

    num_sections, height, width = shape_zyx
    return dask.array.map_blocks(
        block,
        chunks=((1,) * num_sections, (height,), (width,)),
        dtype=dtype,
        meta=np.empty((0, 0, 0), dtype),
    )


def placed(
    voxel_size_nm: VoxelSize | None, *, origin_zyx: tuple[int, int, int] = (0, 0, 0)
) -> dict[str, Any]:
    """Where a layer lies: in nm where the voxel size is known, else in pixels.

    `origin_zyx` is the pixel of the volume at which the layer begins.
    """
    size = voxel_size_nm or (1.0, 1.0, 1.0)
    place: dict[str, Any] = {
        "scale": size,
        "translate": tuple(start * step for start, step in zip(origin_zyx, size, strict=True)),
        "axis_labels": ("z", "y", "x"),
    }
    return place if voxel_size_nm is None else place | {"units": ("nm", "nm", "nm")}
