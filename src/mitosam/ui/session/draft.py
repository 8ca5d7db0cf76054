"""The object being outlined: its prompts in the order in which they were given."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool
from skimage.draw import polygon2mask

from mitosam.errors import InputError
from mitosam.geometry import Window
from mitosam.prompts import Prompts
from mitosam.ui.session.snapshot import BoxXYXY, PointXY


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A click; `positive` marks the object, else what is not the object."""

    x: float
    y: float
    positive: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A dragged box; a later one takes the place of an earlier one."""

    xyxy: BoxXYXY


@dataclass(frozen=True, slots=True, kw_only=True)
class Lasso:
    """A closed line drawn round the object; a later one takes the place of an earlier one."""

    corners_xy: tuple[PointXY, ...]


MAX_STEPS = 500
"""Prompts of one object; each is asked with all before it."""


@dataclass(frozen=True, slots=True)
class Draft:
    """Prompts for one object on a section of `shape_yx`; a value, so that undoing is easy.

    A lasso stands for the box round it where no box was dragged.
    """

    shape_yx: tuple[int, int]
    steps: tuple[Point | Box | Lasso, ...] = ()

    def with_point(self, x: float, y: float, *, positive: bool = True) -> Draft:
        """With one more point.

        Raises
        ------
        InputError
            It lies outside the section.
        """
        height, width = self.shape_yx
        if not (0 <= x <= width and 0 <= y <= height):  # NaN is outside, too
            raise InputError(
                f"points must lie inside the {width} x {height} px section, got x={x:g}, y={y:g}"
            )
        return self._with(Point(x=float(x), y=float(y), positive=positive))

    def with_box(self, x0: float, y0: float, x1: float, y1: float) -> Draft:
        """With this box, cut at the section's edges; corners may come in any order.

        Raises
        ------
        InputError
            Nothing of it is inside the section.
        """
        return self._with(Box(xyxy=self._inside([(x0, y0), (x1, y1)])))

    def with_lasso(self, corners_xy: list[PointXY] | tuple[PointXY, ...]) -> Draft:
        """With this outline, which is closed between its last and first corner.

        Raises
        ------
        InputError
            It has fewer than 3 corners, or holds no pixel of the section.
        """
        if len(corners_xy) < 3:
            raise InputError(f"a lasso needs at least 3 corners, got {len(corners_xy)}")
        self._inside(corners_xy)
        lasso = Lasso(corners_xy=tuple((float(x), float(y)) for x, y in corners_xy))
        draft = self._with(lasso)
        if not draft.drawn_mask().any():
            raise InputError("the lasso holds no pixel; draw it larger")
        return draft

    def without_last(self) -> Draft:
        """Without the prompt that was given last."""
        return replace(self, steps=self.steps[:-1])

    @property
    def points(self) -> tuple[Point, ...]:
        """All points."""
        return tuple(step for step in self.steps if isinstance(step, Point))

    @property
    def box_xyxy(self) -> BoxXYXY | None:
        """The box that counts."""
        boxes = [step.xyxy for step in self.steps if isinstance(step, Box)]
        return boxes[-1] if boxes else None

    @property
    def lasso_xy(self) -> tuple[PointXY, ...]:
        """The corners of the lasso that counts."""
        lassos = [step.corners_xy for step in self.steps if isinstance(step, Lasso)]
        return lassos[-1] if lassos else ()

    def prompts(self) -> Prompts | None:
        """What to ask the model; None if nothing says yet where the object is."""
        box = self.box_xyxy
        if box is None and self.lasso_xy:
            box = self._inside(self.lasso_xy)
        if box is None and not any(point.positive for point in self.points):
            return None
        points = [(point.x, point.y) for point in self.points]
        return Prompts(
            boxes_xyxy=None if box is None else np.array([box], float),
            points_xy=np.array([points], float) if points else None,
            point_labels=np.array([[int(p.positive) for p in self.points]]) if points else None,
        )

    def drawn_window(self) -> Window:
        """The whole pixels that the lasso spans."""
        x0, y0, x1, y1 = self._inside(self.lasso_xy)
        left, top = math.floor(x0), math.floor(y0)
        return Window(top, left, math.ceil(y1) - top, math.ceil(x1) - left)

    def drawn_mask(self) -> Bool[np.ndarray, "h w"]:
        """What the lasso encloses, cut to `drawn_window`: pixels whose centre is inside."""
        window = self.drawn_window()
        # In pixels whose centres are whole numbers, as scikit-image counts them.
        corners = np.array([(y - window.y - 0.5, x - window.x - 0.5) for x, y in self.lasso_xy])
        mask: Bool[np.ndarray, "h w"] = polygon2mask((window.height, window.width), corners)
        return mask

    def _with(self, step: Point | Box | Lasso) -> Draft:
        if len(self.steps) >= MAX_STEPS:
            raise InputError(f"an object has at most {MAX_STEPS} prompts; accept or clear it first")
        return replace(self, steps=(*self.steps, step))

    def _inside(self, corners_xy: list[PointXY] | tuple[PointXY, ...]) -> BoxXYXY:
        """The box round these corners, cut at the section's edges."""
        height, width = self.shape_yx
        xs, ys = (
            np.clip(np.array(values, float), 0, limit)
            for values, limit in zip(zip(*corners_xy, strict=True), (width, height), strict=True)
        )
        if not (xs.min() < xs.max() and ys.min() < ys.max()):
            raise InputError(f"nothing of it lies inside the {width} x {height} px section")
        return float(xs.min()), float(ys.min()), float(xs.max()), float(ys.max())
