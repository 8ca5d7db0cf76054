"""From maps of foreground and boundary to instances, in two and three dimensions.

An instance is a *core* (foreground that is no boundary) with the foreground round it. Whatever
looks beyond one section is either a filter of a few sections or the link between the cores of two,
and whatever looks along one has a bound, so a volume cut into blocks gives the same instances as
the volume in one piece. Each step takes one block:

    maps --> block_cores --> cores and their summary
                                  |
                        join_cores (all blocks) --> the instance of each core
                                  |
    maps, cores ----------> block_instances --> instances and their extents
                                                      |
                                         number_kept (all blocks) --> which of them stay
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Int, UInt8

from mitosam.geometry import Box
from mitosam.inference.blocks import BlockGrid
from mitosam.inference.cores import (
    CoreSummary,
    grow_section,
    medians,
    number_cores,
    section_cores,
    summarise_cores,
)
from mitosam.inference.instance_settings import InstanceSettings
from mitosam.inference.joining import Extents, join_cores, measure_extents, number_kept

BlockMaps = UInt8[np.ndarray, "2 n height width"]


def block_cores(
    maps: BlockMaps, outer: Box, box: Box, shape_zyx: tuple[int, int, int],
    settings: InstanceSettings,
) -> tuple[Int[np.ndarray, "z y x"], CoreSummary]:  # fmt: skip
    """The cores of a block, numbered from 1, and their summary.

    `maps` are those of the box `outer`: the block with `margin_px` round it in the section, and
    with `z_radius` sections above and below, as far as the volume reaches.
    """
    # One pixel more below and to the right, so that neighbours share a seam.
    (z0, y0, x0), (z1, y1, x1) = box.start_zyx, box.stop_zyx
    seen = Box((z0, y0, x0), (z1, y1 + 1, x1 + 1)).within(shape_zyx)
    _, rows, columns = seen.seen_from(outer).slices
    if maps[0].any():
        labels = number_cores(
            section_cores(section[0], section[1], settings)[1][rows, columns]
            for section in _filtered(maps, outer, box, shape_zyx, settings)
        )
    else:
        labels = np.zeros(seen.shape_zyx, np.int32)
    summary = summarise_cores(labels, box, shape_zyx, settings.link_overlap)
    return labels[:, : y1 - y0, : x1 - x0], summary


def block_instances(
    maps: BlockMaps,
    cores: Int[np.ndarray, "z rows columns"],
    outer: Box,
    box: Box,
    shape_zyx: tuple[int, int, int],
    settings: InstanceSettings,
) -> tuple[Int[np.ndarray, "z y x"], Extents]:
    """The instances of a block, and how far they reach in it.

    `outer` is the block with `REACH_PX` round it in the section and `z_radius` sections above and
    below; `cores` are its sections' instances' numbers at their cores, with that margin.
    """
    if not cores.any():
        nowhere = np.zeros(box.shape_zyx, bool)
        labels = nowhere.astype(cores.dtype)
        return labels, measure_extents(labels, nowhere, box, shape_zyx)
    _, rows, columns = box.seen_from(outer).slices
    grown, sure = [], []
    filtered = _filtered(maps, outer, box, shape_zyx, settings)
    for (foreground, _), section in zip(filtered, cores, strict=True):
        mask = foreground >= 255 * settings.foreground_threshold
        grown.append(grow_section(section, mask)[rows, columns])
        sure.append(_is_sure(foreground[rows, columns], settings))
    labels = np.stack(grown)
    return labels, measure_extents(labels, np.stack(sure), box, shape_zyx)


def _filtered(
    maps: BlockMaps, outer: Box, box: Box, shape_zyx: tuple[int, int, int],
    settings: InstanceSettings,
) -> Iterator[UInt8[np.ndarray, "2 height width"]]:  # fmt: skip
    """The block's sections in the margins of `outer`, each the median of its neighbours."""
    sections = range(box.start_zyx[0], box.stop_zyx[0])
    return medians(maps, sections, outer.start_zyx[0], settings.z_radius, shape_zyx[0] - 1)


def _is_sure(
    foreground: UInt8[np.ndarray, "height width"], settings: InstanceSettings
) -> Bool[np.ndarray, "height width"]:
    """Where the foreground is as high as half of an instance must be."""
    return foreground >= 255 * settings.min_confidence


def label_maps(
    maps: Sequence[UInt8[np.ndarray, "2 height width"]], settings: InstanceSettings
) -> Int[np.ndarray, "z height width"]:
    """The instances of a stack that fits into memory, by the same steps as one that does not."""
    stack = np.stack(list(maps), axis=1)
    _, depth, height, width = stack.shape
    shape_zyx = (depth, height, width)
    whole = Box((0, 0, 0), shape_zyx)
    labels, summary = block_cores(stack, whole, whole, shape_zyx, settings)
    joined = join_cores(BlockGrid(shape_zyx, shape_zyx), lambda _: summary, settings.link_overlap)
    cores = joined.of_block(0)[labels]
    grown, extents = block_instances(stack, cores, whole, whole, shape_zyx, settings)
    return number_kept(iter([extents]), joined.num_instances, depth, settings)[grown]
