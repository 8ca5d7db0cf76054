"""The patches of a prepared volume and the mitochondria in them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from mitosam.data.masks import pieces
from mitosam.data.prepared import PreparedVolume
from mitosam.geometry import Edge, PatchGrid, Window


@dataclass(frozen=True, slots=True)
class Patch:
    """A window of one section and what lies in it.

    `num_objects` counts pieces: a mitochondrion that the patch's edge, or a bend, cuts in two
    counts twice, because each piece is prompted and scored alone.
    """

    volume: str
    section: int
    window: Window
    num_objects: int
    foreground_px: int


def list_patches(
    volume: PreparedVolume,
    patch_px: int,
    edge: Edge = "pad",
    *,
    sections: Iterable[int] | None = None,
) -> list[Patch]:
    """The non-overlapping patches of all sections, or of those named, empty ones too."""
    depth, height, width = volume.shape_zyx
    grid = PatchGrid((height, width), patch_px, edge)
    return [
        _patch(volume.name, z, window, volume.labels[z])
        for z in (range(depth) if sections is None else sections)
        for window in grid.windows
    ]


def _patch(name: str, section: int, window: Window, labels: Int[np.ndarray, "h w"]) -> Patch:
    objects = patch_labels(labels, window)
    return Patch(name, section, window, int(objects.max()), int(np.count_nonzero(objects)))


def patch_labels(labels: Int[np.ndarray, "h w"], window: Window) -> Int[np.ndarray, "p p"]:
    """The window's objects numbered 1 to k: each 8-connected piece of each id is one.

    What lies past the section's edges is background.
    """
    return pieces(np.asarray(window.cut(labels)))
