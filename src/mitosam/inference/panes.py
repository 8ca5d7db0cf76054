"""The parts of a section whose maps are computed at once: most sections are one, large ones many.

How a section is cut depends on its size alone, so that labels do not depend on the memory at hand.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mitosam.geometry import Window
from mitosam.inference.blocks import STEP_PX, BlockGrid

PANE_PX = 2048
"""Sides of panes are about as long; sections of up to one and a half times this are one."""
HEAD_PANE_PX = 4096
"""The same for the head alone, which needs less memory a pixel. Tiles at the edges of panes are
encoded for both sides, so larger panes are less work."""
MAX_VOXELS = 1 << 26
"""Of the maps that are computed before they are written."""
MAX_SECTIONS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Pane:
    """A window of a section, and the larger one that is read for it, clipped at the section."""

    inner: Window
    outer: Window
    shape_yx: tuple[int, int]

    @classmethod
    def of(cls, inner: Window, margin_px: int, shape_yx: tuple[int, int]) -> Pane:
        """The pane of a window that depends on its surroundings so far."""
        return cls(inner=inner, outer=inner.grown(margin_px, shape_yx), shape_yx=shape_yx)

    @classmethod
    def whole(cls, shape_yx: tuple[int, int]) -> Pane:
        """A section in one piece."""
        everything = Window(0, 0, *shape_yx)
        return cls(inner=everything, outer=everything, shape_yx=shape_yx)


def pane_grid(
    shape_zyx: tuple[int, int, int], pane_px: int, max_voxels: int = MAX_VOXELS
) -> BlockGrid:
    """Blocks of a pane each, as many sections deep as so many voxels are.

    >>> pane_grid((165, 768, 1024), 2048).block_zyx
    (16, 768, 1024)
    >>> pane_grid((900, 10_000, 12_000), 2048).block_zyx
    (16, 2048, 2048)
    """
    height, width = (_side(length, pane_px) for length in shape_zyx[1:])
    depth = min(MAX_SECTIONS, max(1, max_voxels // (height * width)), shape_zyx[0])
    return BlockGrid(shape_zyx, (depth, height, width))


def _side(length: int, pane_px: int) -> int:
    num = max(1, round(length / pane_px))
    return length if num == 1 else math.ceil(length / num / STEP_PX) * STEP_PX
