"""Which dimensions of an array are z, y and x, and how a box is cut out of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Shaped

from mitosam.errors import InputError
from mitosam.geometry import Box


@dataclass(frozen=True, slots=True)
class AxisOrder:
    """The dimension of an array that is z, y and x; one of no dimension is a single voxel long."""

    dimensions: tuple[int | None, ...]
    ndim: int

    def lengths(self, per_dimension: tuple[int, ...]) -> tuple[int, int, int]:
        """What is given for each dimension, for z, y and x."""
        z, y, x = (1 if d is None else int(per_dimension[d]) for d in self.dimensions)
        return z, y, x

    def selection(self, box: Box) -> tuple[slice | int, ...]:
        """What cuts the box out of the array; dimensions that are not z, y or x have the length 1.

        >>> AxisOrder((None, 1, 0), 3).selection(Box((0, 1, 2), (1, 3, 4)))
        (slice(2, 4, None), slice(1, 3, None), 0)
        """
        wanted = dict(zip(self.dimensions, box.slices, strict=True))
        return tuple(wanted.get(d, 0) for d in range(self.ndim))

    def as_zyx(self, selected: Shaped[np.ndarray, ...]) -> Shaped[np.ndarray, "z y x"]:
        """What was selected, with its axes in the order z, y, x."""
        spatial = [d for d in self.dimensions if d is not None]
        ordered = selected.transpose([sorted(spatial).index(d) for d in spatial])
        return ordered if ordered.ndim == 3 else ordered[None]


def axis_order(what: str, shape: tuple[int, ...], names: tuple[str, ...] | None) -> AxisOrder:
    """The order of an array's axes; one that does not name them is taken as y, x or z, y, x.

    Raises
    ------
    InputError
        It has channels or timepoints, or axes that nobody named.
    """
    if names is None and len(shape) in (2, 3):
        names = ("z", "y", "x")[-len(shape) :]
    if names is None or len(names) != len(shape) or len(set(names)) != len(names):
        raise InputError(
            f"{what} has the shape {shape} and the axes {''.join(names or ())}; "
            "save it as z, y, x or as OME-Zarr"
        )
    if not {"y", "x"} <= set(names):
        raise InputError(f"{what} has the axes {', '.join(names)}; images need y and x")
    if 0 in shape:
        raise InputError(f"{what} is empty, its shape is {shape}")
    for name, length in zip(names, shape, strict=True):
        if name not in "zyx" and length > 1:
            plural = {"c": "channels", "t": "timepoints"}.get(name, f"planes along {name}")
            raise InputError(
                f"{what} has {length} {plural} (axes {''.join(names)}); "
                "save the EM channel, or one timepoint, alone"
            )
    dimensions = tuple(names.index(axis) if axis in names else None for axis in "zyx")
    return AxisOrder(dimensions, len(shape))
