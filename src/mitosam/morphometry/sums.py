"""What blocks tell of a volume's instances, and how that of several blocks becomes one.

Each kind is a table with one row a key, in the keys' order. `joined` (and `+`) is commutative and
associative: whole numbers are added exactly. Second moments are whole numbers too, counted from
the corner of what they belong to and held as floats, which are exact up to 2^53 and never overflow.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self, TypeVar

import numpy as np
from jaxtyping import Float, Int

Ints = Int[np.ndarray, " rows"]
NOWHERE = np.iinfo(np.int64).max
"""Where something begins that is not there, so that the least start is another's."""

Table = dict[str, np.ndarray]
Reductions = dict[str, np.ufunc]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """A table whose rows are added where their keys are equal."""

    instance: Ints

    def __add__(self, other: Self) -> Self:
        return self.joined([self, other])

    @classmethod
    def joined(cls, parts: Iterable[Self]) -> Self:
        """All parts' rows, those of one key as one; sums of floats run in the parts' order."""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.instance)

    def renamed(self, ids: Int[np.ndarray, " ids"]) -> Self:
        """With `ids[n]` for each instance n, which may be one id for several."""
        instance = ids[self.instance]
        return self.joined([type(self)(**{**self.columns(), "instance": instance})])

    def columns(self) -> Table:
        """The arrays by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


def _stacked(parts: Sequence[Sums]) -> Table:
    tables = [part.columns() for part in parts]
    return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}


class _Groups:
    """Rows brought together by equal keys, the first of which counts most."""

    def __init__(self, *keys: Ints) -> None:
        self._order = np.lexsort(keys[::-1])
        ordered = [key[self._order] for key in keys]
        begins = np.ones(len(self._order), np.bool_)
        begins[1:] = np.any([key[1:] != key[:-1] for key in ordered], axis=0)
        self._starts = np.flatnonzero(begins)
        self.keys = [key[self._starts] for key in ordered]
        self._group = np.cumsum(begins) - 1

    def reduce(self, column: np.ndarray, ufunc: np.ufunc) -> np.ndarray:
        """One value a key."""
        if not len(self._starts):
            return column
        reduced: np.ndarray = ufunc.reduceat(column[self._order], self._starts, axis=0)
        return reduced

    def spread(self, values: np.ndarray) -> np.ndarray:
        """One value a row, from one a key."""
        rows = np.empty((len(self._order), *values.shape[1:]), values.dtype)
        rows[self._order] = values[self._group]
        return rows


def _reduced(groups: _Groups, table: Table, how: Reductions) -> dict[str, Any]:
    return {name: groups.reduce(table[name], ufunc) for name, ufunc in how.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class SectionSums(Sums):
    """Each instance on each section, as far as blocks show it.

    A row without area is there for its crossings, and begins `NOWHERE`. `moments` are the sums of
    y, x, y y, y x and x x over its pixels, counted from (y0, x0).
    """

    section: Ints
    area: Ints
    y0: Ints
    x0: Ints
    y1: Ints
    x1: Ints
    moments: Float[np.ndarray, "rows 5"]
    crossings: Int[np.ndarray, "rows 4"]

    @classmethod
    def joined(cls, parts: Iterable[Self]) -> Self:
        """All parts' rows, those of one instance on one section as one."""
        table = _stacked(list(parts))
        groups = _Groups(table["section"], table["instance"])
        first = {name: groups.reduce(table[name], np.minimum) for name in ("y0", "x0")}
        table["moments"] = _recentred(table, *(groups.spread(first[name]) for name in first))
        section, instance = groups.keys
        return cls(section=section, instance=instance, **first, **_reduced(groups, table, _SECTION))

    def between(self, start: int, stop: int) -> Self:
        """The rows of sections from `start` up to, and without, `stop`."""
        first, last = np.searchsorted(self.section, [start, stop])
        return type(self)(**{name: array[first:last] for name, array in self.columns().items()})


_SECTION: Reductions = {
    "area": np.add, "y1": np.maximum, "x1": np.maximum, "moments": np.add, "crossings": np.add,
}  # fmt: skip


def _recentred(table: Table, y0: Ints, x0: Ints) -> Float[np.ndarray, "rows 5"]:
    """The moments, counted from the corner (y0, x0) instead."""
    inside = table["area"] > 0
    area = table["area"].astype(np.float64)
    down = np.where(inside, table["y0"] - y0, 0).astype(np.float64)
    right = np.where(inside, table["x0"] - x0, 0).astype(np.float64)
    y, x, yy, yx, xx = table["moments"].T
    columns = (
        y + area * down,
        x + area * right,
        yy + 2 * down * y + area * down**2,
        yx + down * x + right * y + area * down * right,
        xx + 2 * right * x + area * right**2,
    )
    return np.stack(columns, axis=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceSums(Sums):
    """What of each instance no section has: crossings between sections, and probability.

    `probability` is the sum of a file's values over its voxels, NaN where there is none.
    """

    crossings: Int[np.ndarray, "rows 9"]
    probability: Float[np.ndarray, " rows"]

    @classmethod
    def joined(cls, parts: Iterable[Self]) -> Self:
        """All parts' rows, those of one instance as one."""
        table = _stacked(list(parts))
        groups = _Groups(table["instance"])
        how: Reductions = {"crossings": np.add, "probability": np.add}
        return cls(instance=groups.keys[0], **_reduced(groups, table, how))


@dataclass(frozen=True, slots=True, kw_only=True)
class Extents(Sums):
    """How large each instance is, and where, from sections whose rows are whole.

    Boxes' upper ends lie past the last voxel; `sum_zyx` adds up the voxels' indices.
    """

    num_voxels: Ints
    num_sections: Ints
    largest_area: Ints
    start_zyx: Int[np.ndarray, "rows 3"]
    stop_zyx: Int[np.ndarray, "rows 3"]
    sum_zyx: Int[np.ndarray, "rows 3"]
    crossings: Int[np.ndarray, "rows 4"]

    @classmethod
    def joined(cls, parts: Iterable[Self]) -> Self:
        """All parts' rows, those of one instance as one; no two parts share a section."""
        table = _stacked(list(parts))
        groups = _Groups(table["instance"])
        return cls(instance=groups.keys[0], **_reduced(groups, table, _EXTENT))

    @classmethod
    def of_sections(cls, rows: SectionSums) -> Self:
        """What whole sections tell of their instances."""
        z, area = rows.section, rows.area
        y, x = (rows.moments[:, axis].astype(np.int64) for axis in (0, 1))
        one_each = cls(
            instance=rows.instance,
            num_voxels=area,
            num_sections=np.ones_like(area),
            largest_area=area,
            start_zyx=np.stack([z, rows.y0, rows.x0], axis=1),
            stop_zyx=np.stack([z + 1, rows.y1, rows.x1], axis=1),
            sum_zyx=np.stack([z * area, y + rows.y0 * area, x + rows.x0 * area], axis=1),
            crossings=rows.crossings,
        )
        return cls.joined([one_each])

    def touches_border(self, shape_zyx: tuple[int, int, int]) -> np.ndarray:
        """Which reach the volume's border, where they may be cut off.

        In a single section only the border in plane counts.
        """
        axes = slice(0 if shape_zyx[0] > 1 else 1, 3)
        first = (self.start_zyx == 0)[:, axes]
        last = (self.stop_zyx == np.array(shape_zyx))[:, axes]
        touching: np.ndarray = (first | last).any(axis=1)
        return touching


_EXTENT: Reductions = {
    "num_voxels": np.add, "num_sections": np.add, "largest_area": np.maximum,
    "start_zyx": np.minimum, "stop_zyx": np.maximum, "sum_zyx": np.add, "crossings": np.add,
}  # fmt: skip


class Gathered:
    """The sums of all instances, fed part by part, in an order that gives floats once and again."""

    def __init__(self) -> None:
        self._extents: list[Extents] = []
        self._instances: list[InstanceSums] = []

    def add_sections(self, whole: SectionSums) -> None:
        """Take in sections whose rows are whole."""
        _push(self._extents, Extents.of_sections(whole))

    def add_instances(self, part: InstanceSums) -> None:
        """Take in what a block tells beside its sections."""
        _push(self._instances, part)

    @property
    def extents(self) -> Extents:
        """Of all sections that were taken in."""
        return Extents.joined(self._extents)

    @property
    def instances(self) -> InstanceSums:
        """Of all blocks that were taken in."""
        return InstanceSums.joined(self._instances)


Part = TypeVar("Part", Extents, InstanceSums)


def _push(parts: list[Part], part: Part) -> None:
    """Add a part, and join those at the end that are not much larger, so that few are left.

    Each row is joined with others as often as the number of parts can be halved, and no oftener.
    """
    parts.append(part)
    while len(parts) > 1 and len(parts[-2]) <= 2 * len(parts[-1]):
        last = parts.pop()
        parts[-1] = parts[-1] + last
