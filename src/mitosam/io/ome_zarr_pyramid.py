"""The coarser levels of a multiscale volume, made block by block."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Shaped

if TYPE_CHECKING:
    import zarr

Kind = Literal["labels", "image"]
Zyx = tuple[int, int, int]
Block = tuple[slice, slice, slice]

LARGEST_SIDE_PX = 256
"""The pyramid ends where a section's longer side is no longer than this."""

NEARLY_ISOTROPIC = 2**0.5
"""An axis is halved if its step is less than this times the finest, so that steps draw level."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One level: its shape, and how many voxels of level 0 and of the level before it spans."""

    shape_zyx: Zyx
    factors_zyx: Zyx
    halved_zyx: Zyx


def plan_levels(
    shape_zyx: Zyx, voxel_size_nm: tuple[float, float, float] | None
) -> tuple[Level, ...]:
    """Level 0 and the coarser ones; the finer axes are halved first, z only with a known step.

    >>> [level.factors_zyx for level in plan_levels((64, 2048, 2048), (30.0, 8.0, 8.0))]
    [(1, 1, 1), (1, 2, 2), (1, 4, 4), (2, 8, 8)]
    """
    levels = [Level(shape_zyx=shape_zyx, factors_zyx=(1, 1, 1), halved_zyx=(1, 1, 1))]
    while max(levels[-1].shape_zyx[1:]) > LARGEST_SIDE_PX:
        levels.append(_next_level(levels[-1], voxel_size_nm or (np.inf, 1.0, 1.0)))
    return tuple(levels)


def _next_level(level: Level, voxel_size_nm: tuple[float, float, float]) -> Level:
    pairs = zip(voxel_size_nm, level.factors_zyx, strict=True)
    steps = [size * factor for size, factor in pairs]
    long = [length > 1 for length in level.shape_zyx]
    finest = min(step for step, is_long in zip(steps, long, strict=True) if is_long)
    halved = [
        2 if is_long and step < NEARLY_ISOTROPIC * finest else 1
        for step, is_long in zip(steps, long, strict=True)
    ]
    depth, height, width = (-(-n // by) for n, by in zip(level.shape_zyx, halved, strict=True))
    z, y, x = (f * by for f, by in zip(level.factors_zyx, halved, strict=True))
    return Level(
        shape_zyx=(depth, height, width),
        factors_zyx=(z, y, x),
        halved_zyx=(halved[0], halved[1], halved[2]),
    )


def halve(
    block: Shaped[np.ndarray, "z y x"], halved_zyx: Zyx, kind: Kind
) -> Shaped[np.ndarray, "z2 y2 x2"]:
    """Every second voxel of labels, so that ids stay ids; the mean of an image's voxels.

    A voxel at the edge whose partner lies outside is averaged without it.

    >>> halve(np.array([[[1, 2, 8]]], np.uint8), (1, 1, 2), "image").tolist()
    [[[2, 8]]]
    """
    if kind == "labels":
        every_second: Shaped[np.ndarray, "z2 y2 x2"] = block[
            tuple(slice(None, None, by) for by in halved_zyx)
        ]
        return every_second
    padding = [(0, -n % by) for n, by in zip(block.shape, halved_zyx, strict=True)]
    padded = np.pad(block, padding, mode="edge")
    split = itertools.chain.from_iterable(
        (n // by, by) for n, by in zip(padded.shape, halved_zyx, strict=True)
    )
    # 8 values of 16 bits sum up in float32 without rounding
    exact = np.float32 if block.dtype.itemsize <= 2 else np.float64
    mean = padded.reshape(tuple(split)).mean(axis=(1, 3, 5), dtype=exact)
    values: Shaped[np.ndarray, "z2 y2 x2"] = np.rint(mean) if block.dtype.kind in "ui" else mean
    return values.astype(block.dtype)


def chunk_blocks(shape_zyx: Zyx, chunk_zyx: tuple[int, ...]) -> Iterator[Block]:
    """The region of each chunk, in order."""
    starts = [range(0, n, chunk) for n, chunk in zip(shape_zyx, chunk_zyx, strict=True)]
    for corner in itertools.product(*starts):
        z, y, x = (
            slice(start, min(start + chunk, n))
            for start, chunk, n in zip(corner, chunk_zyx, shape_zyx, strict=True)
        )
        yield z, y, x


def span(block: Block, halved_zyx: Zyx) -> Block:
    """The voxels of the level before that a block of a level is made of."""
    z, y, x = (slice(s.start * by, s.stop * by) for s, by in zip(block, halved_zyx, strict=True))
    return z, y, x


def fill_block(
    fine: zarr.Array[Any], coarse: zarr.Array[Any], block: Block, halved_zyx: Zyx, kind: Kind
) -> None:
    """Fill one block of a level from the level before."""
    coarse[block] = halve(np.asarray(fine[span(block, halved_zyx)]), halved_zyx, kind)
