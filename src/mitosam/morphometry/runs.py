"""Labels as runs: stretches of one id along x, which are far fewer than voxels."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from jaxtyping import Int, Shaped

from mitosam.errors import InputError

Column = Int[np.ndarray, " runs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """Stretches of voxels of one instance each, from x0 up to, and without, x1, none of 0."""

    instance: Column
    z: Column
    y: Column
    x0: Column
    x1: Column

    def __len__(self) -> int:
        return len(self.instance)

    def at(self, chosen: Shaped[np.ndarray, " chosen"] | slice) -> Self:
        """Those that indices, a mask or a slice choose."""
        return type(self)(**{f.name: getattr(self, f.name)[chosen] for f in fields(self)})

    def moved(self, start_zyx: tuple[int, int, int]) -> Runs:
        """The same, counted from a corner that lies at `start_zyx` from the present one."""
        z, y, x = start_zyx
        return Runs(
            instance=self.instance, z=self.z - z, y=self.y - y, x0=self.x0 - x, x1=self.x1 - x
        )

    @classmethod
    def joined(cls, parts: list[Runs]) -> Runs:
        """The runs of all parts."""
        return cls(
            **{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)}
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """A block's ids in ascending order, its voxels numbered by them from 1, and all its runs.

    The runs' `instance` is that number too.
    """

    ids: Int[np.ndarray, " ids"]
    ranks: Int[np.ndarray, "z y x"]
    runs: Runs


def rank_runs(labels: Shaped[np.ndarray, "z y x"], where: str, section_names: list[str]) -> Ranked:
    """A block of labels as runs.

    Raises
    ------
    InputError
        The labels are not whole numbers, or negative. `where` and the sections' names say where.
    """
    starts, lengths = _stretches(labels)
    values = labels.reshape(-1)[starts]
    _check_whole(values, starts, labels.shape, where, section_names)
    inside = values != 0
    ids, inverse = np.unique(values[inside].astype(np.int64), return_inverse=True)
    rank = np.zeros(len(values), np.min_scalar_type(len(ids)))
    rank[inside] = inverse + 1
    z, y, x0 = np.unravel_index(starts[inside], labels.shape)
    runs = Runs(instance=inverse + 1, z=z, y=y, x0=x0, x1=x0 + lengths[inside])
    return Ranked(ids=ids, ranks=np.repeat(rank, lengths).reshape(labels.shape), runs=runs)


def _stretches(labels: Shaped[np.ndarray, "z y x"]) -> tuple[Column, Column]:
    """Where each stretch of equal voxels begins, row by row, and how long it is."""
    begins = np.ones(labels.shape, np.bool_)
    np.not_equal(labels[..., 1:], labels[..., :-1], out=begins[..., 1:])
    starts = np.flatnonzero(begins)
    return starts, np.diff(starts, append=labels.size)


def _check_whole(
    values: Shaped[np.ndarray, " n"],
    starts: Column,
    shape: tuple[int, ...],
    where: str,
    section_names: list[str],
) -> None:
    bad = np.zeros(len(values), np.bool_)
    if values.dtype.kind == "f":
        bad = values != np.rint(values)  # NaN differs too
        if bad.any():
            raise InputError(
                f"labels must be whole numbers, but {where}, "
                f"{_section_of(bad, starts, shape, section_names)} holds others; "
                "give a label volume, with 0 for background and an id for each instance"
            )
    if values.dtype.kind != "b":
        bad = (values < 0) | (values > np.iinfo(np.int64).max)
    if bad.any():
        raise InputError(
            f"{where}, {_section_of(bad, starts, shape, section_names)} holds the id "
            f"{values[bad][0]}; ids must lie in 1 to 2^63 - 1, with 0 for background"
        )


def _section_of(
    bad: Shaped[np.ndarray, " n"], starts: Column, shape: tuple[int, ...], names: list[str]
) -> str:
    return names[int(starts[bad.argmax()]) // (shape[1] * shape[2])]


def painted(
    runs: Runs, shape_zyx: tuple[int, int, int], coarser: int = 1
) -> Shaped[np.ndarray, "z y x"]:
    """A mask of the runs, which do not overlap; a voxel of a coarser one holds any of them.

    `shape_zyx` is the mask's own, in its voxels, each `coarser` voxels of the runs along each axis.
    """
    depth, height, width = shape_zyx
    steps = np.zeros((depth, height, width + 1), np.int32 if coarser > 1 else np.int8)
    z, y, first = runs.z // coarser, runs.y // coarser, runs.x0 // coarser
    past = (runs.x1 - 1) // coarser + 1
    if coarser == 1:  # no two begin, and no two end, at one place
        steps[z, y, first] += 1
        steps[z, y, past] -= 1
    else:
        np.add.at(steps, (z, y, first), 1)
        np.subtract.at(steps, (z, y, past), 1)
    np.cumsum(steps, axis=2, out=steps)
    return steps[..., :-1] > 0
