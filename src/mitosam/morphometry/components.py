"""Binary masks of sections joined to instances through the volume."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
from jaxtyping import Int, Shaped
from scipy import ndimage, sparse
from scipy.sparse import csgraph

from mitosam.io.volume import Volume
from mitosam.morphometry.crofton import neighbour_views
from mitosam.progress import SILENT, Progress


def connect(masks: Volume, *, progress: Progress = SILENT) -> Volume:
    """A label volume whose instances are the connected regions of what is not 0.

    Voxels that share a face, an edge or a corner are connected (26 neighbours). Ids count from 1
    in the order of the regions' first voxels. Two sections are in memory at a time; the labels of
    a section are made anew whenever it is read.
    """
    offsets, joined = [0], [np.empty((0, 2), np.int64)]
    before = np.zeros(masks.shape_zyx[1:], np.int64)
    for z in progress.track(
        range(len(masks)), "connecting sections", total=len(masks), unit="section"
    ):
        regions, count = _regions(masks.section(z))
        numbered = np.where(regions > 0, regions + offsets[-1], 0)
        joined.append(_touching(before, numbered))
        offsets.append(offsets[-1] + count)
        before = numbered
    ids = _merged(np.concatenate(joined), offsets[-1])
    return replace(
        masks,
        dtype=np.dtype(np.int32),
        read_section=lambda z: _relabelled(masks.section(z), ids, offsets[z]),
    )


def _regions(mask: Shaped[np.ndarray, "h w"]) -> tuple[Int[np.ndarray, "h w"], int]:
    regions, count = ndimage.label(mask != 0, np.ones((3, 3)))
    return regions.astype(np.int64), count


def _touching(
    above: Int[np.ndarray, "h w"], below: Int[np.ndarray, "h w"]
) -> Int[np.ndarray, "pairs 2"]:
    """The pairs of regions of two neighbouring sections that share a face, an edge or a corner."""
    base = int(below.max(initial=0)) + 1
    found = []
    for step in itertools.product((-1, 0, 1), repeat=2):
        one, _ = neighbour_views(above, step)
        _, other = neighbour_views(below, step)
        both = (one > 0) & (other > 0)
        # Pairs as one number each, since sorting rows takes a hundred times as long.
        found.append(np.unique(one[both] * base + other[both]))
    pairs = np.unique(np.concatenate(found))
    return np.stack([pairs // base, pairs % base], axis=1)


def _merged(pairs: Int[np.ndarray, "pairs 2"], num_regions: int) -> Int[np.ndarray, " regions"]:
    """The id of each region (0 for number 0), counted in the order of first regions."""
    links = sparse.coo_array(
        (np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(num_regions + 1,) * 2
    )
    _, groups = csgraph.connected_components(links, directed=False)
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    order = np.empty(len(first), np.int32)
    order[np.argsort(first)] = np.arange(len(first), dtype=np.int32)
    return order[inverse]


def _relabelled(
    mask: Shaped[np.ndarray, "h w"], ids: Int[np.ndarray, " regions"], offset: int
) -> Int[np.ndarray, "h w"]:
    regions, _ = _regions(mask)
    return ids[np.where(regions > 0, regions + offset, 0)]
