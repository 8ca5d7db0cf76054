"""From maps of foreground and boundary to instances, block by block, in two and three dimensions.

An instance is a *core* (foreground that is no boundary) with the foreground round it. Whatever
looks beyond one section is either a filter of a few sections or the link between the cores of two,
so a stack cut into blocks gives the same instances as the stack in one piece.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Int, UInt8
from pydantic import BaseModel, ConfigDict, Field
from scipy import ndimage

EIGHT = np.ones((3, 3), bool)
CORE_SHARE = 8
"""The smallest core is this fraction of the smallest instance's area."""


class InstanceSettings(BaseModel):
    """How maps become instances; unless set, validation sections choose the thresholds."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    foreground_threshold: float = Field(default=0.5, gt=0, lt=1)
    """Foreground from which a pixel belongs to a mitochondrion."""
    boundary_threshold: float = Field(default=0.5, gt=0, le=1)
    """Boundary from which a pixel may part two mitochondria; 1 never parts what touches."""
    link_overlap: float = Field(default=0.1, ge=0, le=1)
    """Share of the smaller of two cores in neighbouring sections that the other must cover for both
    to be one instance, as no boundary shows between what lies one above the other; with 0 it is
    enough that they touch, be it at a corner."""
    z_radius: int = Field(default=0, ge=0)
    """Sections above and below whose median replaces the maps; it fills drop-outs and removes what
    is in one section only. 0 where sections lie far apart."""
    min_area_px: int = Field(default=50, ge=1)
    """Smallest area of an instance in one section that is thin, so that all of it is boundary; the
    core of any other has at least an eighth of this."""
    min_volume_voxels: int = Field(default=200, ge=1)
    """Smallest instance."""
    min_confidence: float = Field(default=0.75, ge=0, le=1)
    """Foreground that at least half of an instance must have; what is found falsely seldom does.
    The default was chosen on sections kept for development (docs/results)."""
    min_whole_voxels: int = Field(default=0, ge=0)
    """Smallest instance that no face of the volume cuts; of others only a part is seen."""
    min_sections: int = Field(default=1, ge=1)
    """Fewest sections an instance must span, unless it touches the first or the last one."""

    def for_one_section(self) -> InstanceSettings:
        """The same for one section alone, in which an instance has an area and no volume."""
        return self.model_copy(
            update={
                "z_radius": 0,
                "min_volume_voxels": self.min_area_px,
                "min_whole_voxels": 0,
                "min_sections": 1,
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreBlock:
    """The cores of some consecutive sections, numbered from 1 through the block."""

    labels: Int[np.ndarray, "n height width"]
    num_cores: int


def section_cores(
    foreground: UInt8[np.ndarray, "height width"],
    boundary: UInt8[np.ndarray, "height width"],
    settings: InstanceSettings,
) -> tuple[Bool[np.ndarray, "height width"], Bool[np.ndarray, "height width"]]:
    """Foreground and cores of one section; maps run from 0 to 255.

    A piece of foreground that is boundary throughout, as thin ones are, is a core as a whole.
    """
    mask = foreground >= 255 * settings.foreground_threshold
    parts = settings.boundary_threshold < 1
    inner = mask & (boundary < 255 * settings.boundary_threshold) if parts else mask
    # Specks that a ragged boundary leaves would be instances of their own.
    cores = _pieces_from(inner, settings.min_area_px / CORE_SHARE)
    pieces, count = ndimage.label(mask, EIGHT)
    has_core = np.zeros(count + 1, bool)
    has_core[pieces[cores]] = True
    large = np.bincount(pieces.ravel(), minlength=count + 1) >= settings.min_area_px
    thin = large & ~has_core
    thin[0] = False
    return mask, cores | thin[pieces]


def _pieces_from(
    mask: Bool[np.ndarray, "height width"], min_px: float
) -> Bool[np.ndarray, "height width"]:
    """The connected pieces of at least so many pixels."""
    pieces, count = ndimage.label(mask, EIGHT)
    kept = np.bincount(pieces.ravel(), minlength=count + 1) >= min_px
    kept[0] = False
    return np.asarray(kept[pieces])


def label_cores(cores: Bool[np.ndarray, "n height width"]) -> CoreBlock:
    """The 8-connected pieces of each section's cores."""
    labels = np.empty(cores.shape, np.int32)
    total = 0
    for section, found in zip(cores, labels, strict=True):
        count = ndimage.label(section, EIGHT, output=found)
        found[section] += total
        total += int(count)
    return CoreBlock(labels=labels, num_cores=total)


def linked(
    above: Int[np.ndarray, "height width"], below: Int[np.ndarray, "height width"], overlap: float
) -> Int[np.ndarray, "pairs 2"]:
    """Which cores of a section are one with which of the next one; see `link_overlap`."""
    if overlap == 0:
        return touching(above, below)
    both = (above > 0) & (below > 0)
    packed = above[both].astype(np.int64) << 32 | below[both].astype(np.int64)
    packed, px = np.unique(packed, return_counts=True)
    pairs = np.stack([packed >> 32, packed & 0xFFFFFFFF], axis=1)
    sizes = (np.bincount(section.ravel()) for section in (above, below))
    smaller = np.minimum(*(size[ids] for size, ids in zip(sizes, pairs.T, strict=True)))
    return pairs[px >= overlap * smaller]


def touching(
    above: Int[np.ndarray, "height width"], below: Int[np.ndarray, "height width"]
) -> Int[np.ndarray, "pairs 2"]:
    """Which labels of a section touch which of the next one, over 26 neighbours."""
    height, width = above.shape
    found = []
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            here = above[max(dy, 0) : height + min(dy, 0), max(dx, 0) : width + min(dx, 0)]
            there = below[max(-dy, 0) : height + min(-dy, 0), max(-dx, 0) : width + min(-dx, 0)]
            both = (here > 0) & (there > 0)
            pairs = here[both].astype(np.int64) << 32 | there[both].astype(np.int64)
            found.append(np.unique(pairs))
    pairs = np.unique(np.concatenate(found))
    return np.stack([pairs >> 32, pairs & 0xFFFFFFFF], axis=1)


class GlobalCores:
    """One number for each core of the whole stack, however it was cut into blocks.

    Blocks are added in the order of their sections; `resolve` then says which instance each core of
    each block belongs to.
    """

    def __init__(self, link_overlap: float) -> None:
        self._overlap = link_overlap
        self._starts: list[int] = [0]
        self._pairs: list[Int[np.ndarray, "pairs 2"]] = []
        self._last: Int[np.ndarray, "height width"] | None = None

    def add(self, block: CoreBlock) -> None:
        """Take in the next block."""
        start = self._starts[-1]
        if self._last is not None:
            pairs = linked(self._last, block.labels[0], self._overlap)
            self._pairs.append(pairs + np.array([self._starts[-2] - 1, start - 1]))
        for above, below in pairwise(block.labels):
            self._pairs.append(linked(above, below, self._overlap) + start - 1)
        self._starts.append(start + block.num_cores)
        self._last = block.labels[-1].copy()

    def resolve(self) -> list[Int[np.ndarray, " cores_and_background"]]:
        """For each block, the instance of each of its cores, from 1; 0 stays 0.

        Instances are numbered in the order of their first core.
        """
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        total = self._starts[-1]
        pairs = np.concatenate(self._pairs) if self._pairs else np.empty((0, 2), np.int64)
        graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), (total, total))
        _, group = connected_components(graph, directed=False)
        _, first, inverse = np.unique(group, return_index=True, return_inverse=True)
        number = np.argsort(np.argsort(first))[inverse] + 1
        return [
            np.concatenate([[0], number[start:stop]]).astype(np.uint32)
            for start, stop in zip(self._starts, self._starts[1:], strict=False)
        ]


def grow_section(
    cores: Int[np.ndarray, "height width"], mask: Bool[np.ndarray, "height width"]
) -> Int[np.ndarray, "height width"]:
    """Each pixel of the mask takes the label of the core it can reach by the shortest way.

    Of two cores equally near, the one above wins, then the one to the left. Pieces of the mask
    without a core stay 0.
    """
    padded = np.pad(np.where(mask, cores, 0), 1)
    labels = padded.ravel()
    unlabelled = np.pad(mask, 1).ravel() & (labels == 0)
    steps = [dy * padded.shape[1] + dx for dy, dx in _NEIGHBOURS]
    front = np.flatnonzero(unlabelled)
    while front.size:
        reached = np.zeros(front.size, labels.dtype)
        for step in steps:
            np.copyto(reached, labels[front + step], where=reached == 0)
        front, reached = front[reached > 0], reached[reached > 0]
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


def is_sure(
    foreground: UInt8[np.ndarray, "height width"], settings: InstanceSettings
) -> Bool[np.ndarray, "height width"]:
    """Where the foreground is as high as half of an instance must be."""
    return foreground >= 255 * settings.min_confidence


class Extents:
    """How large each instance is and how far it reaches, section by section; ids count from 0."""

    def __init__(self, num_ids: int, num_sections: int) -> None:
        self._num_sections = num_sections
        self.sizes = np.zeros(num_ids, np.int64)
        self.first = np.full(num_ids, num_sections)
        self.last = np.full(num_ids, -1)
        self._sure = np.zeros(num_ids, np.int64)
        self._at_edge = np.zeros(num_ids, bool)

    def add(
        self,
        z: int,
        section: Int[np.ndarray, "height width"],
        number: Int[np.ndarray, " labels"],
        sure: Bool[np.ndarray, "height width"],
    ) -> None:
        """Take in a section whose label `i` stands for the id `number[i]`, and where it is sure."""
        px = np.bincount(section.ravel(), minlength=len(number))
        there = number[px > 0]
        np.add.at(self.sizes, number, px)
        np.add.at(self._sure, number, np.bincount(section[sure], minlength=len(number)))
        self.first[there] = np.minimum(self.first[there], z)
        self.last[there] = z
        for edge in (section[0], section[-1], section[:, 0], section[:, -1]):
            self._at_edge[number[edge]] = True

    def keep(self, settings: InstanceSettings) -> Int[np.ndarray, " ids"]:
        """New numbers from 1 for the instances that are large and sure enough, 0 for the others."""
        spans = self.last - self.first + 1
        at_end = (self.first == 0) | (self.last == self._num_sections - 1)
        long_enough = (spans >= min(settings.min_sections, self._num_sections)) | at_end
        # Of what a face of the volume cuts, only a part is seen.
        cut = at_end | self._at_edge
        whole = max(settings.min_whole_voxels, settings.min_volume_voxels)
        kept = (self.sizes >= np.where(cut, settings.min_volume_voxels, whole)) & long_enough
        kept &= 2 * self._sure >= self.sizes
        kept[:1] = False
        return np.where(kept, np.cumsum(kept), 0).astype(np.uint32)


def label_maps(
    maps: Sequence[UInt8[np.ndarray, "2 height width"]], settings: InstanceSettings
) -> Int[np.ndarray, "z height width"]:
    """The instances of a stack that fits into memory, by the same steps as one that does not."""
    filtered = [median_of_sections(near) for near in _windows(maps, settings.z_radius)]
    parts = [section_cores(section[0], section[1], settings) for section in filtered]
    block = label_cores(np.stack([cores for _, cores in parts]))
    together = GlobalCores(settings.link_overlap)
    together.add(block)
    (number,) = together.resolve()
    labels = np.stack(
        [
            grow_section(number[core], mask)
            for core, (mask, _) in zip(block.labels, parts, strict=True)
        ]
    )
    numbers = np.arange(int(number.max()) + 1)
    extents = Extents(len(numbers), len(labels))
    for z, section in enumerate(labels):
        extents.add(z, section, numbers, is_sure(filtered[z][0], settings))
    return extents.keep(settings)[labels]


def _windows(sections: Sequence[np.ndarray], radius: int) -> Iterator[list[np.ndarray]]:
    """Each section with its neighbours, those at the ends repeated."""
    last = len(sections) - 1
    for z in range(len(sections)):
        yield [sections[min(max(z + step, 0), last)] for step in range(-radius, radius + 1)]
