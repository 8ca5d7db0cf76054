"""The typical size of mitochondria, and the tile in which a model sees them best."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from mitosam.data.masks import pieces
from mitosam.data.prepared import PreparedVolume
from mitosam.errors import InputError

# Objects of 56 px were outlined best in tiles of 512 px scaled to 1024, better than in tiles of 256
# or 384 px (EPFL; docs/results/choosing-defaults.md).
OBJECT_MODEL_PX = 112
# At SAM's stride of 16 px in 1024, each cell of the embedding is then a whole number of pixels.
STEP_PX = 64
MOST_PX = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectSize:
    """The median diameter of the circles of the objects' areas, each section by itself, in px."""

    median_px: float
    num_objects: int

    @classmethod
    def measure(
        cls, volume: PreparedVolume, sections: Iterable[int], *, min_object_px: int
    ) -> ObjectSize:
        """That of the connected pieces of at least `min_object_px` pixels in some sections.

        Raises
        ------
        InputError
            There is none.
        """
        areas = np.concatenate(
            [np.zeros(0, int)]
            + [np.bincount(pieces(np.asarray(volume.labels[z])).ravel())[1:] for z in sections]
        )
        areas = areas[areas >= min_object_px]
        if not areas.size:
            raise InputError(
                f"the sections to train on hold no mitochondrion of {min_object_px} px by which "
                "to choose a tile; choose other sections, or set data.tile_px to a number"
            )
        diameters = 2 * np.sqrt(areas / math.pi)
        return cls(median_px=float(np.median(diameters)), num_objects=int(areas.size))

    def tile_px(self, *, input_px: int, patch_px: int, shape_yx: tuple[int, int]) -> int:
        """The side of the tile in which the median object is `OBJECT_MODEL_PX` model pixels wide.

        It is a multiple of 64, holds a patch, and is no larger than 1024 or than what holds the
        section.

        >>> ObjectSize(median_px=56.0, num_objects=9).tile_px(
        ...     input_px=1024, patch_px=256, shape_yx=(768, 1024)
        ... )
        512
        """
        least = _step_up(patch_px)
        most = max(least, min(MOST_PX, _step_up(max(shape_yx))))
        wanted = self.median_px * input_px / OBJECT_MODEL_PX
        return min(max(round(wanted / STEP_PX) * STEP_PX, least), most)


def _step_up(length: int) -> int:
    return -(-length // STEP_PX) * STEP_PX
