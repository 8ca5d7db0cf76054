"""Where things lie: windows of a section, grids that cut and put back, and the model's frame.

Arrays are ZYX or YX. Only `ModelFrame` turns section coordinates into the model's XY frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from jaxtyping import Bool, Float, Shaped

from mitosam.errors import SettingsError

Edge = Literal["pad", "crop"]
Floats = TypeVar("Floats", bound=Float[np.ndarray, "..."])


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """A rectangle of a section in pixels; it may reach past the section's lower right edges."""

    y: int
    x: int
    height: int
    width: int

    def contains(self, other: Window) -> bool:
        """Whether `other` lies wholly inside."""
        return (
            self.y <= other.y
            and self.x <= other.x
            and other.y + other.height <= self.y + self.height
            and other.x + other.width <= self.x + self.width
        )

    def grown(self, by_px: int, shape_yx: tuple[int, int]) -> Window:
        """The window with a margin on all sides, as far as a section of this shape reaches."""
        y, x = max(self.y - by_px, 0), max(self.x - by_px, 0)
        bottom = min(self.y + self.height + by_px, shape_yx[0])
        right = min(self.x + self.width + by_px, shape_yx[1])
        return Window(y, x, bottom - y, right - x)

    def seen_from(self, outer: Window) -> Window:
        """The same window counted from the corner of another."""
        return Window(self.y - outer.y, self.x - outer.x, self.height, self.width)

    @property
    def slices(self) -> tuple[slice, slice]:
        """What it cuts out of a section, past whose edges nothing is."""
        return slice(self.y, self.y + self.height), slice(self.x, self.x + self.width)

    def cut(
        self, section: Shaped[np.ndarray, "height width"], *, fill: float = 0
    ) -> Shaped[np.ndarray, "h w"]:
        """The section inside this window; what lies past the section's edges is `fill`."""
        inside = section[self.y : self.y + self.height, self.x : self.x + self.width]
        missing = (self.height - inside.shape[0], self.width - inside.shape[1])
        if missing == (0, 0):
            return inside
        return np.pad(inside, ((0, missing[0]), (0, missing[1])), constant_values=fill)


@dataclass(frozen=True, slots=True, order=True)
class Box:
    """A box of a volume in voxels, from its first corner up to, and without, its second."""

    start_zyx: tuple[int, int, int]
    stop_zyx: tuple[int, int, int]

    @property
    def shape_zyx(self) -> tuple[int, int, int]:
        """How far it reaches along each axis."""
        z, y, x = (b - a for a, b in zip(self.start_zyx, self.stop_zyx, strict=True))
        return z, y, x

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """What it cuts out of an array of the whole volume."""
        z, y, x = (slice(a, b) for a, b in zip(self.start_zyx, self.stop_zyx, strict=True))
        return z, y, x

    def grown(self, by_zyx: tuple[int, int, int], within_zyx: tuple[int, int, int]) -> Box:
        """The box with a margin on all sides, as far as a volume of this shape reaches.

        >>> Box((0, 2, 4), (1, 4, 6)).grown((1, 1, 1), (1, 9, 6))
        Box(start_zyx=(0, 1, 3), stop_zyx=(1, 5, 6))
        """
        z0, y0, x0 = (max(a - by, 0) for a, by in zip(self.start_zyx, by_zyx, strict=True))
        z1, y1, x1 = (
            min(b + by, n) for b, by, n in zip(self.stop_zyx, by_zyx, within_zyx, strict=True)
        )
        return Box((z0, y0, x0), (z1, y1, x1))

    def within(self, shape_zyx: tuple[int, int, int]) -> Box:
        """What of the box lies in a volume of this shape."""
        return self.grown((0, 0, 0), shape_zyx)

    def common(self, other: Box) -> Box:
        """What two boxes that meet share."""
        z0, y0, x0 = map(max, self.start_zyx, other.start_zyx)
        z1, y1, x1 = map(min, self.stop_zyx, other.stop_zyx)
        return Box((z0, y0, x0), (z1, y1, x1))

    def seen_from(self, outer: Box) -> Box:
        """The same box counted from the first corner of another."""
        z, y, x = outer.start_zyx
        (z0, y0, x0), (z1, y1, x1) = self.start_zyx, self.stop_zyx
        return Box((z0 - z, y0 - y, x0 - x), (z1 - z, y1 - y, x1 - x))


@dataclass(frozen=True, slots=True)
class PatchGrid:
    """Non-overlapping square patches of a section, row by row from its upper left corner.

    Where the patch size does not divide the section, "pad" lets the last patches reach past the
    edge and "crop" leaves the remainder out; `lost_px` says how much.
    """

    shape_yx: tuple[int, int]
    patch_px: int
    edge: Edge = "pad"

    def __post_init__(self) -> None:
        if self.edge == "crop" and min(self.shape_yx) < self.patch_px:
            height, width = self.shape_yx
            raise SettingsError(
                f"a {width} x {height} px section holds no whole patch of {self.patch_px} px; "
                "use a smaller patch_px or edge = 'pad'"
            )

    @property
    def rows_columns(self) -> tuple[int, int]:
        """How many patches stand below and beside each other."""
        if self.edge == "crop":
            return self.shape_yx[0] // self.patch_px, self.shape_yx[1] // self.patch_px
        return -(-self.shape_yx[0] // self.patch_px), -(-self.shape_yx[1] // self.patch_px)

    @property
    def lost_px(self) -> int:
        """Pixels of the section that lie in no patch."""
        if self.edge == "pad":
            return 0
        rows, columns = self.rows_columns
        return self.shape_yx[0] * self.shape_yx[1] - rows * columns * self.patch_px**2

    @property
    def windows(self) -> list[Window]:
        """The patches' windows."""
        rows, columns = self.rows_columns
        size = self.patch_px
        return [Window(r * size, c * size, size, size) for r in range(rows) for c in range(columns)]

    def cut(self, section: Shaped[np.ndarray, "height width"]) -> Shaped[np.ndarray, "n p p"]:
        """All patches of a section; what lies past its edges is 0."""
        return np.stack([window.cut(section) for window in self.windows])

    def merge(self, patches: Shaped[np.ndarray, "n p p"]) -> Shaped[np.ndarray, "height width"]:
        """The section that `cut` came from; pixels that lay in no patch are 0."""
        section = np.zeros(self.shape_yx, patches.dtype)
        for window, patch in zip(self.windows, patches, strict=True):
            target = section[
                window.y : window.y + window.height, window.x : window.x + window.width
            ]
            target[:] = patch[: target.shape[0], : target.shape[1]]
        return section


def tile_windows(patch_grid: PatchGrid, tile_px: int) -> list[Window]:
    """The fewest tiles of one section so that each patch lies wholly inside at least one.

    Tiles are what the encoder sees at once. Where the section allows it they lie inside it, so
    neighbouring tiles may overlap.
    """
    if tile_px < patch_grid.patch_px:
        raise SettingsError(
            f"tile_px must be at least patch_px, got tile_px={tile_px} with "
            f"patch_px={patch_grid.patch_px}"
        )
    rows, columns = patch_grid.rows_columns
    height, width = patch_grid.shape_yx
    ys = _tile_starts(rows, patch_grid.patch_px, tile_px, height)
    xs = _tile_starts(columns, patch_grid.patch_px, tile_px, width)
    return [Window(y, x, tile_px, tile_px) for y in ys for x in xs]


def _tile_starts(num_patches: int, patch_px: int, tile_px: int, length: int) -> list[int]:
    """Where tiles begin along one axis; the last one is moved back inside if its patches allow."""
    starts = []
    patch = 0
    while patch < num_patches:
        start = patch * patch_px
        last = min(num_patches, (start + tile_px) // patch_px)
        overhang = max(0, start + tile_px - max(length, last * patch_px))
        starts.append(max(0, start - overhang))
        patch = last
    return starts


def window_holding(window: Window, candidates: list[Window]) -> int:
    """The index of the candidate that holds `window` with the most room on its tightest side."""
    best = max(range(len(candidates)), key=lambda i: _room(window, candidates[i]))
    assert candidates[best].contains(window), "tile_windows() covers every patch"
    return best


def _room(inner: Window, outer: Window) -> int:
    return min(
        inner.y - outer.y,
        inner.x - outer.x,
        outer.y + outer.height - inner.y - inner.height,
        outer.x + outer.width - inner.x - inner.width,
    )


@dataclass(frozen=True, slots=True)
class ModelFrame:
    """The map between a square tile of a section and the model's square input.

    `origin_yx` is the tile's corner in section pixels, `tile_px` its side there, `input_px` its
    side at the model's input (1024 for SAM).
    """

    origin_yx: tuple[int, int]
    tile_px: int
    input_px: int

    @property
    def scale(self) -> float:
        """Model pixels per section pixel."""
        return self.input_px / self.tile_px

    def to_model_xy(self, coordinates_xy: Floats) -> Floats:
        """Section XY to model XY; the last axis holds x, y or x0, y0, x1, y1."""
        return (coordinates_xy - self._offset(coordinates_xy)) * self.scale  # type: ignore[no-any-return]

    def to_section_xy(self, coordinates_xy: Floats) -> Floats:
        """Model XY to section XY, the inverse of `to_model_xy`."""
        return coordinates_xy / self.scale + self._offset(coordinates_xy)  # type: ignore[no-any-return]

    def _offset(self, coordinates_xy: Floats) -> Float[np.ndarray, " k"]:
        y, x = self.origin_yx
        return np.tile(np.array([x, y], np.float64), coordinates_xy.shape[-1] // 2)


def box_of_mask(mask: Bool[np.ndarray, "height width"]) -> Float[np.ndarray, " 4"]:
    """The tightest x0, y0, x1, y1 round a mask's true pixels, as pixel edges.

    >>> box_of_mask(np.array([[False, False], [False, True]]))
    array([1., 1., 2., 2.])
    """
    rows = np.flatnonzero(mask.any(axis=1))
    columns = np.flatnonzero(mask.any(axis=0))
    assert rows.size, "a box needs at least one true pixel"
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float64)
