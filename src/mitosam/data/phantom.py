"""A made-up EM volume with exact instance ids, for demos and tests without real data.

Cells with membranes hold mitochondria, and enough that is dark and round without being one
(endoplasmic reticulum, vesicles, dense bodies, myelin) that finding them takes learning.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy import ndimage

from mitosam.data.phantom_fields import (
    UNIT_NM,
    Cells,
    Field,
    Grid,
    Tube,
    bend_tube,
    grow_cells,
    smooth_noise,
)
from mitosam.errors import SettingsError

MITOCHONDRIA_SHARE = 0.10
"""Share of the volume to fill; the FIB-SEM stack it resembles has 0.06."""

MEMBRANE_GREY = 66.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Phantom:
    """Images, the ids of the mitochondria in them, and the size of a voxel (z, y, x)."""

    images: UInt8[np.ndarray, "z y x"]
    labels: Int[np.ndarray, "z y x"]
    voxel_size_nm: tuple[float, float, float]


def make_phantom(
    shape_zyx: tuple[int, int, int],
    seed: int,
    voxel_size_nm: tuple[float, float, float] = (5.0, 5.0, 5.0),
) -> Phantom:
    """A phantom; the same arguments give the same one."""
    if min(shape_zyx) < 1 or min(voxel_size_nm) <= 0:
        raise SettingsError(
            f"a phantom needs sides and voxel sizes above 0, got {shape_zyx}, {voxel_size_nm}"
        )
    z, y, x = (size / UNIT_NM for size in voxel_size_nm)
    canvas = _Canvas(Grid(shape_zyx, (z, y, x)), np.random.default_rng(seed))
    canvas.draw_cytoplasm()
    canvas.draw_reticulum()
    canvas.draw_vesicles()
    canvas.draw_dense_bodies()
    canvas.draw_mitochondria()
    canvas.draw_membranes()
    return Phantom(images=canvas.exposed(), labels=canvas.labels, voxel_size_nm=voxel_size_nm)


class _Canvas:
    """The volume while it is being drawn, layer on layer."""

    def __init__(self, grid: Grid, rng: np.random.Generator) -> None:
        self.grid = grid
        self.rng = rng
        self.cells: Cells = grow_cells(grid, rng)
        self.labels = np.zeros(grid.shape_zyx, np.int32)
        self.grey: Field = np.zeros(grid.shape_zyx, np.float32)
        self._fine = smooth_noise(grid, 2.0, rng)
        self._wavy = smooth_noise(grid, 12.0, rng)
        self._volume_units = float(np.prod(grid.extent_zyx))

    def draw_cytoplasm(self) -> None:
        """A brightness for each cell, grainy, and finely clouded."""
        brightness = self.rng.normal(176, 20, self.cells.num_cells).clip(120, 205)
        self.grey[:] = brightness[self.cells.ids]
        self.grey += 13 * self._fine
        self.grey += 7 * smooth_noise(self.grid, 5.0, self.rng)

    def draw_reticulum(self) -> None:
        """Winding tubules with a dark wall and a lumen as bright as the cytoplasm."""
        for centre in self._centres(8e-6, min_depth=9):
            radius = self.rng.uniform(3.5, 7)
            tube = bend_tube(self.grid, centre, self.rng.uniform(30, 130), radius + 5, self.rng)
            if tube is not None:
                wall = tube.distance + 1.5 * self._wavy[tube.where] - radius
                self._darken(tube, 75 * np.exp(-((wall / 1.8) ** 2)), margin=2)

    def draw_vesicles(self) -> None:
        """Clouds of small rings in about a third of the cells, as in boutons."""
        filled = self.rng.random(self.cells.num_cells) < 0.35
        stamp = _ring(self.grid, radius=4.2)
        half = np.array(stamp.shape) // 2
        for centre in self._centres(9e-4, min_depth=7):
            at = tuple((centre / self.grid.spacing_zyx).astype(int))
            if not filled[self.cells.ids[at]] or self._wavy[at] < -0.2:
                continue
            low, high = np.maximum(at - half, 0), np.minimum(at + half + 1, self.grid.shape_zyx)
            where, part = _box(low, high), _box(low - at + half, high - at + half)
            self._darken_to(where, self.rng.uniform(50, 95) * stamp[part], floor=80)

    def draw_dense_bodies(self) -> None:
        """Dark blobs smaller than mitochondria, evenly filled and without a bright gap."""
        for centre in self._centres(1.1e-6, min_depth=10):
            radius = self.rng.uniform(6, 14)
            tube = bend_tube(self.grid, centre, 14, radius + 6, self.rng)
            if tube is not None:
                inside = radius - tube.distance - 2.5 * self._wavy[tube.where]
                self._darken(tube, self.rng.uniform(60, 105) * _step(inside, 2.0), margin=2)

    def draw_mitochondria(self) -> None:
        """Mitochondria one by one until they fill their share, a third of them in pairs."""
        wanted = MITOCHONDRIA_SHARE * self.labels.size
        filled, next_id = 0, 1
        for centre in self._centres(4e-3, min_depth=17):
            if filled >= wanted:
                break
            added = self._draw_mitochondrion(centre, next_id)
            filled, next_id = filled + added, next_id + int(added > 0)
        if next_id == 1:  # a small volume may have no place with room enough
            self._draw_mitochondrion(self._deepest(), 1, kept_share=0.0)

    def _deepest(self) -> Float[np.ndarray, " 3"]:
        """The place farthest from all membranes."""
        index = np.unravel_index(int(np.argmax(self.cells.depth)), self.grid.shape_zyx)
        return np.asarray((np.array(index) + 0.5) * np.array(self.grid.spacing_zyx))

    def _draw_mitochondrion(
        self, centre: Float[np.ndarray, " 3"], object_id: int, *, kept_share: float = 0.72
    ) -> int:
        """Draw one where `kept_share` of it has room; the result is how many voxels it fills."""
        at = tuple((centre / self.grid.spacing_zyx).astype(int))
        radius = min(self.rng.uniform(15, 38), 0.95 * float(self.cells.depth[at]))
        length = self.rng.uniform(0.5, 4) * radius
        shift = self.rng.uniform(-1, 1) * min(radius, float(self.grid.extent_zyx[0]))
        centre = centre + np.array([shift if kept_share else 0, 0, 0])
        tube = bend_tube(self.grid, centre, length + 14, radius * 1.35, self.rng)
        if tube is None:
            return 0
        whole = tube.distance < radius * (1 + 0.09 * self._wavy[tube.where])
        room = (self.cells.depth[tube.where] > 5) & (self.labels[tube.where] == 0)
        inside = self._one_piece(whole & room, room)
        if inside.sum() < max(kept_share * whole.sum(), 1):
            return 0
        self.labels[tube.where][inside] = object_id
        self._paint_mitochondrion(tube, inside)
        return int(inside.sum())

    def _one_piece(
        self, mask: Bool[np.ndarray, "z y x"], room: Bool[np.ndarray, "z y x"]
    ) -> Bool[np.ndarray, "z y x"]:
        """The largest connected piece, with its corners rounded."""
        sigma = [3 / max(1.0, spacing) for spacing in self.grid.spacing_zyx]
        rounded = ndimage.gaussian_filter(mask.astype(np.float32), sigma, mode="nearest") > 0.5
        pieces, count = ndimage.label(rounded & room)
        if count < 2:
            return np.asarray(pieces > 0)
        return np.asarray(pieces == 1 + int(np.argmax(np.bincount(pieces.ravel())[1:])))

    def _paint_mitochondrion(self, tube: Tube, inside: Bool[np.ndarray, "z y x"]) -> None:
        """Outer membrane, a bright gap, inner membrane, and a matrix crossed by cristae."""
        depth = ndimage.distance_transform_edt(
            np.pad(inside, 1, mode="edge"), sampling=self.grid.spacing_zyx
        )[1:-1, 1:-1, 1:-1].astype(np.float32)
        matrix = self.rng.uniform(88, 122)
        period = self.rng.uniform(8, 13)
        slant = self.rng.uniform(-1.0, 1.0)
        phase = tube.along + slant * tube.distance + 5 * self._wavy[tube.where]
        cristae = np.exp(-((np.abs((phase / period) % 1 - 0.5) * period / 1.7) ** 2))
        cristae *= _step(depth - 6, 1.5) * self.rng.uniform(0.7, 1.4)
        grey = matrix + 8 * self._fine[tube.where] - 34 * cristae
        grey += 15 * np.exp(-(((depth - 4.6) / 1.2) ** 2))
        grey -= 48 * np.exp(-(((depth - 1.2) / 1.6) ** 2))
        target = self.grey[tube.where]
        target[inside] = grey[inside]

    def draw_membranes(self) -> None:
        """Cell membranes, thickened and fuzzy at synapses, and myelin round a few cells."""
        depth = np.maximum(self.cells.depth, 0)
        dark = np.exp(-((depth / 2.5) ** 2))
        synapse = _step(smooth_noise(self.grid, 22.0, self.rng) - 1.9, 0.15)
        dark = np.maximum(dark, synapse * np.exp(-((depth / 6.0) ** 2)))
        self.grey += (MEMBRANE_GREY - self.grey) * dark
        wrapped = self.rng.random(self.cells.num_cells) < 0.02
        myelin = wrapped[self.cells.ids] & (depth < 17) & (self.labels == 0)
        lamellae = 70 + 45 * np.cos(2 * np.pi * depth / 5.5)
        self.grey[myelin] = lamellae[myelin]

    def exposed(self) -> UInt8[np.ndarray, "z y x"]:
        """What a detector makes of the drawing: slightly blurred, noisy, drifting in gain."""
        sigma = [0.9 / max(1.0, spacing) for spacing in self.grid.spacing_zyx]
        image = ndimage.gaussian_filter(self.grey, sigma)
        noise = self.rng.standard_normal(image.shape, np.float32)
        noise = ndimage.gaussian_filter(noise, (0, 0.55, 0.55))
        image += noise * (2.1 * np.sqrt(np.maximum(image, 20)))
        image *= 1 + 0.015 * self.rng.standard_normal((len(image), 1, 1)).astype(np.float32)
        return np.asarray(np.rint(np.clip(image, 0, 255)), np.uint8)

    def _centres(self, per_unit: float, *, min_depth: float) -> list[Float[np.ndarray, " 3"]]:
        """Random places at least `min_depth` inside their cell, `per_unit` tried a cubic unit."""
        count = max(40, int(per_unit * self._volume_units))
        places = self.rng.uniform(0, 1, (count, 3)) * self.grid.extent_zyx
        index = (places / self.grid.spacing_zyx).astype(int)
        deep = self.cells.depth[tuple(index.T)] >= min_depth
        return list(places[deep])

    def _darken(self, tube: Tube, amount: Field, *, margin: float) -> None:
        """Take `amount` from the grey values, away from membranes."""
        room = _step(self.cells.depth[tube.where] - margin, 1.0)
        self._darken_to(tube.where, amount * room)

    def _darken_to(
        self, where: tuple[slice, slice, slice], amount: Field, *, floor: float = 55
    ) -> None:
        """Take `amount` from the grey values, though never below `floor`."""
        grey = self.grey[where]
        self.grey[where] = np.minimum(grey, np.maximum(grey - amount, floor))


def _box(low: Int[np.ndarray, " 3"], high: Int[np.ndarray, " 3"]) -> tuple[slice, slice, slice]:
    z, y, x = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return z, y, x


def _step(value: Field, width: float) -> Field:
    """0 below, 1 above, smooth over `width`."""
    return np.asarray(1 / (1 + np.exp(np.clip(-4 * value / width, -30, 30))), np.float32)


def _ring(grid: Grid, radius: float) -> Field:
    """A vesicle: a dark shell round a lighter lumen, highest value 1."""
    half = [int(np.ceil((radius + 3) / spacing)) for spacing in grid.spacing_zyx]
    axes = np.meshgrid(
        *(np.arange(-n, n + 1) * s for n, s in zip(half, grid.spacing_zyx, strict=True)),
        indexing="ij",
    )
    distance = np.sqrt(sum(axis**2 for axis in axes))
    return np.asarray(np.exp(-(((distance - radius) / 1.7) ** 2)), np.float32)
