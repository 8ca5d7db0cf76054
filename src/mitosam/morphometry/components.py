"""Binary masks joined to instances through the volume, block by block."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, Shaped
from scipy import sparse
from scipy.sparse import csgraph

from mitosam.morphometry.block_grid import BlockGrid

Planes = tuple[Int[np.ndarray, "a b"], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Faces:
    """What a block's regions need to be joined with those of the blocks round it.

    The block reaches one voxel past its upper ends, into the blocks that follow. `lower` are its
    first planes along z, y and x, and `upper` its last ones, each with the regions' numbers from 1
    and 0 for background. `first_voxels` are the regions' first voxels, as indices of the volume.
    """

    first_voxels: Int[np.ndarray, " regions"]
    lower: Planes
    upper: Planes


def find_regions(mask: Shaped[np.ndarray, "z y x"]) -> Int[np.ndarray, "z y x"]:
    """The connected regions of what is not 0, numbered from 1.

    Voxels that share a face, an edge or a corner are connected (26 neighbours).
    """
    import cc3d

    # Padded, since cc3d 4.1 fails on arrays that are one voxel wide along two axes.
    padded = np.pad(mask != 0, ((0, 1), (0, 1), (0, 0)))
    regions = cc3d.connected_components(padded, connectivity=26)
    return np.asarray(regions[:-1, :-1])


def faces_of(regions: Int[np.ndarray, "z y x"], first_voxels: Int[np.ndarray, " regions"]) -> Faces:
    """The first and last planes of a block that reaches one voxel past its upper ends."""
    planes = [(regions.take(0, axis), regions.take(-1, axis)) for axis in range(3)]
    return Faces(
        first_voxels=first_voxels,
        lower=tuple(lower for lower, _ in planes),
        upper=tuple(upper for _, upper in planes),
    )


def connect(
    grid: BlockGrid, faces_of_block: Callable[[int], Faces]
) -> list[Int[np.ndarray, " regions_and_background"]]:
    """For each block the id of each of its regions, with 0 for number 0.

    Regions of two blocks are one where both hold the same voxel of the planes that the blocks
    share. Ids count from 1 in the order of the instances' first voxels, however the volume is cut.
    One block's planes and the last ones of those before it are needed at a time.
    """
    first_voxels, offsets = [], [1]
    pairs = [np.empty((0, 2), np.int64)]
    for number in range(len(grid)):
        first_voxels.append(faces_of_block(number).first_voxels)
        offsets.append(offsets[-1] + len(first_voxels[-1]))
    for number in range(len(grid)):
        here = faces_of_block(number)
        for axis in range(3):
            behind = grid.behind(number, axis)
            if behind is not None:
                there = faces_of_block(behind)
                same = _shared(here.upper[axis], there.lower[axis])
                pairs.append(same + np.array([offsets[number] - 1, offsets[behind] - 1]))
    ids = _merged(np.concatenate(pairs), np.concatenate([[-1], *first_voxels]))
    return [np.concatenate([[0], ids[start:stop]]) for start, stop in itertools.pairwise(offsets)]


def _shared(
    one: Int[np.ndarray, "a b"], other: Int[np.ndarray, "a b"]
) -> Int[np.ndarray, "pairs 2"]:
    """The pairs of regions that hold the same voxels."""
    inside = one > 0
    base = int(other.max(initial=0)) + 1
    # Pairs as one number each, since sorting rows takes a hundred times as long.
    codes = np.unique(one[inside].astype(np.int64) * base + other[inside])
    return np.stack([codes // base, codes % base], axis=1)


def _merged(
    pairs: Int[np.ndarray, "pairs 2"], first_voxels: Int[np.ndarray, " nodes"]
) -> Int[np.ndarray, " nodes"]:
    """The id of each node, counted in the order of first voxels; node 0 is the background."""
    links = sparse.coo_array(
        (np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(len(first_voxels),) * 2
    )
    num_groups, groups = csgraph.connected_components(links, directed=False)
    first = np.full(num_groups, np.iinfo(np.int64).max)
    np.minimum.at(first, groups, first_voxels)
    order = np.empty(num_groups, np.int64)
    order[np.argsort(first)] = np.arange(num_groups)
    ids: Int[np.ndarray, " nodes"] = order[groups]
    return ids
