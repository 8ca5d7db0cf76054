"""Cores of instances: section by section, and what a block says of how its cores hang together.

Whether a pixel is of a core depends on its surroundings up to `margin_px` alone, so a block read
with that margin has the cores that the whole volume has there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Int, Int64, UInt8
from scipy import ndimage

from mitosam.geometry import Box
from mitosam.inference.instance_settings import InstanceSettings

EIGHT = np.ones((3, 3), bool)
CORE_SHARE = 8
"""The smallest core is this fraction of the smallest instance's area."""
REACH_PX = 64
"""Farthest that an instance reaches from its cores, in steps within the foreground of a section."""
NOWHERE = np.iinfo(np.int64).max
Plane = Int[np.ndarray, "rows columns"]


def margin_px(settings: InstanceSettings) -> int:
    """How far round a block its cores depend on the maps."""
    smallest_core = settings.min_area_px / CORE_SHARE
    return REACH_PX + settings.min_area_px + math.ceil(smallest_core) + 2


def section_cores(
    foreground: UInt8[np.ndarray, "height width"],
    boundary: UInt8[np.ndarray, "height width"],
    settings: InstanceSettings,
) -> tuple[Bool[np.ndarray, "height width"], Bool[np.ndarray, "height width"]]:
    """Foreground and cores of one section; maps run from 0 to 255.

    A piece of foreground that no core reaches, as it is boundary throughout, is a core as a whole.
    """
    mask = foreground >= 255 * settings.foreground_threshold
    if not mask.any():
        return mask, mask
    parts = settings.boundary_threshold < 1
    inner = mask & (boundary < 255 * settings.boundary_threshold) if parts else mask
    # Specks that a ragged boundary leaves would be instances of their own.
    cores = _pieces_from(inner, settings.min_area_px / CORE_SHARE)
    reached = ndimage.binary_dilation(cores, EIGHT, iterations=REACH_PX, mask=mask)
    return mask, cores | _pieces_from(mask & ~reached, settings.min_area_px)


def _pieces_from(
    mask: Bool[np.ndarray, "height width"], min_px: float
) -> Bool[np.ndarray, "height width"]:
    """The connected pieces of at least so many pixels."""
    pieces, count = ndimage.label(mask, EIGHT)
    kept = np.bincount(pieces.ravel(), minlength=count + 1) >= min_px
    kept[0] = False
    return np.asarray(kept[pieces])


def number_cores(cores: Iterable[Bool[np.ndarray, "height width"]]) -> Int[np.ndarray, "n y x"]:
    """The 8-connected pieces of each section's cores, from 1 through all sections."""
    numbered, total = [], 0
    for section in cores:
        labels, count = ndimage.label(section, EIGHT)
        labels[section] += total
        numbered.append(labels)
        total += int(count)
    return np.stack(numbered)


def linked(above: Plane, below: Plane) -> Int64[np.ndarray, "links 3"]:
    """Cores of a section, those of the next one that lie above them, and the pixels they share."""
    both = (above > 0) & (below > 0)
    packed = above[both].astype(np.int64) << 32 | below[both].astype(np.int64)
    packed, px = np.unique(packed, return_counts=True)
    return np.stack([packed >> 32, packed & 0xFFFFFFFF, px], axis=1)


def touching(above: Plane, below: Plane) -> Int64[np.ndarray, "links 3"]:
    """The same for cores that touch over 26 neighbours; as shared pixels stands 0."""
    height, width = above.shape
    found = []
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            here = above[max(dy, 0) : height + min(dy, 0), max(dx, 0) : width + min(dx, 0)]
            there = below[max(-dy, 0) : height + min(-dy, 0), max(-dx, 0) : width + min(-dx, 0)]
            both = (here > 0) & (there > 0)
            found.append(here[both].astype(np.int64) << 32 | there[both].astype(np.int64))
    packed = np.unique(np.concatenate(found))
    return np.stack([packed >> 32, packed & 0xFFFFFFFF, np.zeros_like(packed)], axis=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreSummary:
    """What joining needs to know of a block's cores, which it numbers from 1.

    A block looks one pixel beyond its lower and its right face, if another block is there: the
    pixels of that seam are its neighbour's too, and so tell which cores are the same.
    """

    sizes: Int64[np.ndarray, " cores"]
    """Pixels in the block itself."""
    first: Int64[np.ndarray, " cores"]
    """Place of the first of them in the whole volume, counted in its order; or NOWHERE."""
    links: Int64[np.ndarray, "links 3"]
    """Which cores lie above which in the next section, and how many pixels they share."""
    faces: tuple[Plane, Plane, Plane]
    """The block's first section, row and column, with the seams; empty where it has no cores."""
    seams: tuple[Plane, Plane, Plane]
    """Its last section, and the row and the column beyond it, with the seams; may be empty."""
    shape_yx: tuple[int, int]
    """Rows and columns of the block itself."""

    @property
    def num_cores(self) -> int:
        """How many cores it has."""
        return len(self.sizes)

    def link_to(self, below: CoreSummary, overlap: float) -> Int64[np.ndarray, "links 3"]:
        """The links of its last section with the first one of the block below."""
        return _links(self.seams[0], below.faces[0], self.shape_yx, overlap)


def summarise_cores(
    labels: Int[np.ndarray, "z y x"], box: Box, shape_zyx: tuple[int, int, int], overlap: float
) -> CoreSummary:
    """The summary of a block's numbered cores, which reach one pixel into its neighbours."""
    _, height, width = box.shape_zyx
    if not labels.any():
        nothing, plane = np.empty(0, np.int64), np.empty((0, 0), labels.dtype)
        return CoreSummary(
            sizes=nothing, first=nothing, links=np.empty((0, 3), np.int64),
            faces=(plane,) * 3, seams=(plane,) * 3, shape_yx=(height, width),
        )  # fmt: skip
    own = labels[:, :height, :width]
    num = int(labels.max(initial=0))
    sizes = np.bincount(own.ravel(), minlength=num + 1)[1:]
    links = [_links(a, b, (height, width), overlap) for a, b in pairwise(labels)]
    return CoreSummary(
        sizes=sizes,
        first=_first_places(own, num, box, shape_zyx),
        links=np.concatenate([np.empty((0, 3), np.int64), *links]),
        faces=(labels[0], labels[:, 0], labels[:, :, 0]),
        seams=(labels[-1], labels[:, height:].reshape(-1, labels.shape[2]),
               labels[:, :, width:].reshape(len(labels), -1)),
        shape_yx=(height, width),
    )  # fmt: skip


def _links(
    above: Plane, below: Plane, shape_yx: tuple[int, int], overlap: float
) -> Int64[np.ndarray, "links 3"]:
    if overlap == 0:
        return touching(above, below)
    height, width = shape_yx
    return linked(above[:height, :width], below[:height, :width])


def _first_places(
    labels: Int[np.ndarray, "z y x"], num: int, box: Box, shape_zyx: tuple[int, int, int]
) -> Int64[np.ndarray, " cores"]:
    voxels = np.flatnonzero(labels)
    found, at = np.unique(labels.ravel()[voxels], return_index=True)
    places = np.unravel_index(voxels[at], labels.shape)
    z, y, x = (place + start for place, start in zip(places, box.start_zyx, strict=True))
    first = np.full(num, NOWHERE)
    first[found - 1] = (z.astype(np.int64) * shape_zyx[1] + y) * shape_zyx[2] + x
    return first


def grow_section(
    cores: Int[np.ndarray, "height width"], mask: Bool[np.ndarray, "height width"]
) -> Int[np.ndarray, "height width"]:
    """Each pixel of the mask takes the label of the core it can reach by the shortest way.

    Of two cores equally near, the one above wins, then the one to the left. Pixels that are more
    than `REACH_PX` steps from any core stay 0.
    """
    padded = np.pad(np.where(mask, cores, 0), 1)
    labels = padded.ravel()
    unlabelled = np.pad(mask, 1).ravel() & (labels == 0)
    steps = [dy * padded.shape[1] + dx for dy, dx in _NEIGHBOURS]
    front = np.flatnonzero(unlabelled)
    for _ in range(REACH_PX):
        reached = np.zeros(front.size, labels.dtype)
        for step in steps:
            np.copyto(reached, labels[front + step], where=reached == 0)
        front, reached = front[reached > 0], reached[reached > 0]
        if not front.size:
            break
        labels[front] = reached
        unlabelled[front] = False
        beside = np.add.outer(front, steps).ravel()
        front = np.unique(beside[unlabelled[beside]])
    return labels.reshape(padded.shape)[1:-1, 1:-1]


# The nearer ones first. Which of two cores wins must not depend on their numbers, as those depend
# on the block.
_NEIGHBOURS = ((-1, 0), (0, -1), (0, 1), (1, 0), (-1, -1), (-1, 1), (1, -1), (1, 1))


def median_of_sections(
    sections: Sequence[UInt8[np.ndarray, "*maps height width"]],
) -> UInt8[np.ndarray, "*maps height width"]:
    """The median of an odd number of sections; one section is its own."""
    ranked = list(sections)
    middle = len(ranked) // 2
    # A few exchanges of whole sections: numpy sorts each pixel's values by themselves, and takes
    # ten times as long.
    for rank in range(middle + 1 if middle else 0):
        for place in range(len(ranked) - 1, rank, -1):
            lower, upper = ranked[place - 1], ranked[place]
            ranked[place - 1], ranked[place] = np.minimum(lower, upper), np.maximum(lower, upper)
    return ranked[middle]


def medians(
    maps: UInt8[np.ndarray, "2 n height width"], sections: range, first: int, radius: int, last: int
) -> Iterator[UInt8[np.ndarray, "2 height width"]]:
    """The medians of some sections; `maps` begin at `first`, and the volume ends with `last`."""
    for z in sections:
        near = (min(max(z + step, 0), last) - first for step in range(-radius, radius + 1))
        yield median_of_sections([maps[:, place] for place in near])
