"""What a user points at: boxes, points and masks, in the pixel frame of one section.

Coordinates are (x, y) with the origin at the section's upper left corner, as in SAM; a pixel in
column 3 covers x from 3 to 4, so a box round columns 3 to 5 is x0=3, x1=6. This module, the frame
transform in `geometry` and the predictor are the only places that know of XY.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from mitosam.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompts:
    """P prompts on one section, each asking for one object.

    Every prompt has a box, or N points, or both. Points that pad a shorter prompt carry the
    label -10 and count for nothing; 1 marks the object and 0 the background.
    """

    boxes_xyxy: Float[np.ndarray, "P 4"] | None = None
    points_xy: Float[np.ndarray, "P N 2"] | None = None
    point_labels: Int[np.ndarray, "P N"] | None = None

    def __post_init__(self) -> None:
        if self.boxes_xyxy is None and self.points_xy is None:
            raise InputError("a prompt needs a box or a point, got neither")
        if (self.points_xy is None) != (self.point_labels is None):
            raise InputError("points and their labels go together, got only one of them")
        if (
            self.boxes_xyxy is not None
            and self.points_xy is not None
            and len(self.boxes_xyxy) != len(self.points_xy)
        ):
            raise InputError(
                f"boxes and points must be as many, got {len(self.boxes_xyxy)} boxes "
                f"and {len(self.points_xy)} sets of points"
            )

    def __len__(self) -> int:
        first = self.boxes_xyxy if self.boxes_xyxy is not None else self.points_xy
        assert first is not None
        return len(first)

    def subset(self, start: int, stop: int) -> Prompts:
        """The prompts from `start` up to `stop`."""
        chosen = slice(start, stop)
        return Prompts(
            boxes_xyxy=None if self.boxes_xyxy is None else self.boxes_xyxy[chosen],
            points_xy=None if self.points_xy is None else self.points_xy[chosen],
            point_labels=None if self.point_labels is None else self.point_labels[chosen],
        )

    def chosen(self, indices: Sequence[int]) -> Prompts:
        """The prompts of these indices, in their order."""
        return Prompts(
            boxes_xyxy=None if self.boxes_xyxy is None else self.boxes_xyxy[indices],
            points_xy=None if self.points_xy is None else self.points_xy[indices],
            point_labels=None if self.point_labels is None else self.point_labels[indices],
        )

    def check_inside(self, shape_yx: tuple[int, int]) -> None:
        """Raise InputError for a prompt that lies outside a section of this shape, or is empty."""
        height, width = shape_yx
        if self.boxes_xyxy is not None:
            for box in self.boxes_xyxy:
                _check_box(box, height, width)
        if self.points_xy is not None and self.point_labels is not None:
            for x, y in self.points_xy[self.point_labels != PADDING_LABEL]:
                if not (0 <= x <= width and 0 <= y <= height):
                    raise InputError(
                        f"points must lie inside the {width} x {height} px section, "
                        f"got x={x:g}, y={y:g}"
                    )


PADDING_LABEL = -10


def _check_box(box: Float[np.ndarray, " 4"], height: int, width: int) -> None:
    x0, y0, x1, y1 = (float(value) for value in box)
    shown = f"x0={x0:g}, y0={y0:g}, x1={x1:g}, y1={y1:g}"
    if not (x0 < x1 and y0 < y1):
        raise InputError(f"a box needs x0 < x1 and y0 < y1, got {shown}")
    if min(x0, y0) < 0 or x1 > width or y1 > height:
        raise InputError(f"boxes must lie inside the {width} x {height} px section, got {shown}")
