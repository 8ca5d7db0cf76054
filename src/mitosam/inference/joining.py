"""Which cores of which blocks are one instance, and which instances are kept.

Blocks may be summarised in any order and on any machine; what joins them is a graph of cores, of
which no voxel is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int, Int64, UInt32

from mitosam.geometry import Box
from mitosam.inference.blocks import BlockGrid
from mitosam.inference.cores import NOWHERE, CoreSummary, Plane
from mitosam.inference.instance_settings import InstanceSettings

Pairs = Int64[np.ndarray, "pairs 2"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """The instance of each core of each block, from 1, in the order of their first voxels.

    The cores of block `b` are those from `starts[b]` to `starts[b + 1]`.
    """

    numbers: UInt32[np.ndarray, " cores"]
    starts: Int64[np.ndarray, " blocks_and_1"]

    @property
    def num_instances(self) -> int:
        """How many instances there are."""
        return int(self.numbers.max(initial=0))

    def of_block(self, number: int) -> UInt32[np.ndarray, " cores_and_background"]:
        """The instance of each label of a block's cores; 0 stays 0."""
        cores = self.numbers[self.starts[number] : self.starts[number + 1]]
        return np.concatenate([np.zeros(1, np.uint32), cores])


def join_cores(
    grid: BlockGrid, summary_of: Callable[[int], CoreSummary], link_overlap: float
) -> Joined:
    """Join the cores of all blocks; see `InstanceSettings.link_overlap`.

    `summary_of` is asked for each block once, and again for those with cores and their neighbours.
    """
    starts = np.zeros(len(grid) + 1, np.int64)
    sizes, first = [], []
    for number in range(len(grid)):
        summary = summary_of(number)
        starts[number + 1] = starts[number] + summary.num_cores
        sizes.append(summary.sizes)
        first.append(summary.first)
    same, links = _pairs(grid, summary_of, starts, link_overlap)
    piece = _groups(same, int(starts[-1]))
    num_pieces = int(piece.max(initial=-1)) + 1
    piece_sizes = np.zeros(num_pieces, np.int64)
    np.add.at(piece_sizes, piece, np.concatenate(sizes))
    pieces_linked = _strong(piece[links[:, :2]], links[:, 2], piece_sizes, link_overlap)
    instance = _groups(pieces_linked, num_pieces)[piece]
    return Joined(numbers=_in_order(instance, np.concatenate(first)), starts=starts)


def _pairs(
    grid: BlockGrid,
    summary_of: Callable[[int], CoreSummary],
    starts: Int64[np.ndarray, " n"],
    link_overlap: float,
) -> tuple[Pairs, Int64[np.ndarray, "links 3"]]:
    """Cores of two blocks that are the same, and cores of two sections with what they share."""
    same, links = [np.empty((0, 2), np.int64)], [np.empty((0, 3), np.int64)]
    for number in range(len(grid)):
        if starts[number] == starts[number + 1]:
            continue
        here, start = summary_of(number), starts[number] - 1
        links.append(here.links + np.array([start, start, 0]))
        for axis in range(3):
            beside = grid.after(number, axis)
            if beside is None or starts[beside] == starts[beside + 1]:
                continue
            there, other = summary_of(beside), starts[beside] - 1
            if axis == 0:
                links.append(here.link_to(there, link_overlap) + np.array([start, other, 0]))
            else:
                shared = _shared(here.seams[axis], there.faces[axis])
                same.append(shared + np.array([start, other]))
    return np.concatenate(same), np.concatenate(links)


def _shared(seam: Plane, face: Plane) -> Pairs:
    both = (seam > 0) & (face > 0)
    packed = np.unique(seam[both].astype(np.int64) << 32 | face[both].astype(np.int64))
    return np.stack([packed >> 32, packed & 0xFFFFFFFF], axis=1)


def _groups(pairs: Pairs, num: int) -> Int64[np.ndarray, " num"]:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), (num, num))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)


def _strong(
    pairs: Pairs,
    px: Int64[np.ndarray, " pairs"],
    sizes: Int64[np.ndarray, " pieces"],
    overlap: float,
) -> Pairs:
    """The pairs of which the smaller is covered far enough, over all blocks they share."""
    unique, inverse = np.unique(pairs, axis=0, return_inverse=True)
    shared = np.zeros(len(unique), np.int64)
    np.add.at(shared, inverse.ravel(), px)
    smaller = sizes[unique].min(axis=1) if len(unique) else np.zeros(0, np.int64)
    return unique[shared >= overlap * smaller]


def _in_order(
    instance: Int64[np.ndarray, " cores"], first: Int64[np.ndarray, " cores"]
) -> UInt32[np.ndarray, " cores"]:
    """Numbers from 1 by each instance's first voxel, whatever the blocks."""
    num = int(instance.max(initial=-1)) + 1
    places = np.full(num, NOWHERE)
    np.minimum.at(places, instance, first)
    rank = np.empty(num, np.int64)
    rank[np.argsort(places)] = np.arange(1, num + 1)
    return rank[instance].astype(np.uint32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Extents:
    """How large some instances are and how far they reach; parts of a volume add up."""

    ids: Int64[np.ndarray, " n"]
    sizes: Int64[np.ndarray, " n"]
    sure: Int64[np.ndarray, " n"]
    """Voxels whose foreground is as high as half of an instance's must be."""
    first: Int64[np.ndarray, " n"]
    """The first section."""
    last: Int64[np.ndarray, " n"]
    at_edge: Bool[np.ndarray, " n"]
    """Whether a side of the volume cuts it, other than its first and last section."""


def measure_extents(
    labels: Int[np.ndarray, "z y x"],
    sure: Bool[np.ndarray, "z y x"],
    box: Box,
    shape_zyx: tuple[int, int, int],
) -> Extents:
    """Those of a block of a volume of this shape."""
    voxels = np.flatnonzero(labels)
    z, y, x = (
        place + start
        for place, start in zip(np.unravel_index(voxels, labels.shape), box.start_zyx, strict=True)
    )
    ids, first, at = np.unique(labels.ravel()[voxels], return_index=True, return_inverse=True)
    num = len(ids)
    last = np.zeros(num, np.int64)
    np.maximum.at(last, at, z)
    is_edge = (y == 0) | (y == shape_zyx[1] - 1) | (x == 0) | (x == shape_zyx[2] - 1)
    on_edge = np.zeros(num, bool)
    on_edge[at[is_edge]] = True
    return Extents(
        ids=ids.astype(np.int64),
        sizes=np.bincount(at, minlength=num),
        sure=np.bincount(at[sure.ravel()[voxels]], minlength=num),
        first=z[first],
        last=last,
        at_edge=on_edge,
    )


def number_kept(
    parts: Iterator[Extents], num_instances: int, num_sections: int, settings: InstanceSettings
) -> UInt32[np.ndarray, " instances_and_background"]:
    """New numbers from 1 for the instances that are large and sure enough, 0 for the others."""
    sizes, sure = np.zeros((2, num_instances + 1), np.int64)
    first = np.full(num_instances + 1, num_sections)
    last = np.full(num_instances + 1, -1)
    at_edge = np.zeros(num_instances + 1, bool)
    for part in parts:
        sizes[part.ids] += part.sizes
        sure[part.ids] += part.sure
        first[part.ids] = np.minimum(first[part.ids], part.first)
        last[part.ids] = np.maximum(last[part.ids], part.last)
        at_edge[part.ids] |= part.at_edge
    at_end = (first == 0) | (last == num_sections - 1)
    long_enough = (last - first + 1 >= min(settings.min_sections, num_sections)) | at_end
    # Of what a face of the volume cuts, only a part is seen.
    cut = at_end | at_edge
    whole = max(settings.min_whole_voxels, settings.min_volume_voxels)
    kept = (sizes >= np.where(cut, settings.min_volume_voxels, whole)) & long_enough
    kept &= 2 * sure >= sizes
    kept[0] = False
    return np.where(kept, np.cumsum(kept), 0).astype(np.uint32)
