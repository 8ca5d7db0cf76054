"""What goes wrong with sections and their images in electron microscopes.

A section may be folded, scratched by the knife or torn; the microscope scans strips of another
brightness, is out of focus, and adds noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, UInt8

Kind = Literal["blur_px", "noise", "strips", "fold", "dropout", "scratches"]
KINDS: tuple[Kind, ...] = ("blur_px", "noise", "strips", "fold", "dropout", "scratches")
MOST_STRIPS = 4
# Shares of the tile's side.
FOLD_WIDTH = (0.01, 0.04)
# Grey values that a knife mark adds or takes.
SCRATCH_DEPTH = (30.0, 90.0)
SCRATCH_WIDTH_PX = (0.6, 1.8)

Pixels = Float[np.ndarray, "t t"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Artefacts:
    """How strong each is, as the settings of their names say; 0 is none.

    All that is random about them (where a fold runs, what the noise is) follows from `seed`.
    """

    blur_px: float = 0.0
    noise: float = 0.0
    strips: float = 0.0
    fold: float = 0.0
    dropout: float = 0.0
    scratches: float = 0.0
    seed: int = 0

    def with_strength(self, kind: Kind, strength: float) -> Artefacts:
        """The same with another strength of one of them."""
        changes: dict[str, Any] = {kind: strength}
        return replace(self, **changes)

    def of_pixels(self, pixels: UInt8[np.ndarray, "t t"]) -> UInt8[np.ndarray, "t t"]:
        """The image with all of them: first what befalls the section, then the microscope's."""
        if not any(getattr(self, kind) for kind in KINDS):
            return pixels
        grey = pixels.astype(np.float64)
        # One generator each, so that one artefact does not move another.
        rngs = dict(zip(KINDS, np.random.default_rng(self.seed).spawn(len(KINDS)), strict=True))
        if self.fold:
            grey = darken_fold(grey, self.fold, rngs["fold"])
        if self.scratches:
            grey = scratch(grey, math.ceil(self.scratches), rngs["scratches"])
        if self.dropout:
            grey = drop_region(grey, self.dropout, rngs["dropout"])
        if self.strips:
            grey = shift_strips(grey, self.strips, rngs["strips"])
        if self.blur_px:
            grey = blur(grey, self.blur_px)
        if self.noise:
            grey = grey + rngs["noise"].normal(0, self.noise, grey.shape)
        return np.rint(np.clip(grey, 0, 255)).astype(np.uint8)


NO_ARTEFACTS = Artefacts()


def blur(grey: Pixels, sigma_px: float) -> Pixels:
    """The image out of focus."""
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(grey, sigma_px, mode="nearest"))


def shift_strips(grey: Pixels, jump: float, rng: np.random.Generator) -> Pixels:
    """Two to four horizontal strips; from one to the next, brightness jumps by half `jump` or more.

    The mean over the strips stays.
    """
    height = len(grey)
    cuts = np.sort(rng.uniform(0.1, 0.9, rng.integers(1, MOST_STRIPS))) * height
    steps = rng.uniform(0.5, 1, len(cuts)) * rng.choice([-1, 1], len(cuts)) * jump
    shifts = np.concatenate([[0], np.cumsum(steps)])
    shifts -= shifts.mean()
    rows = shifts[np.searchsorted(cuts, np.arange(height), side="right")]
    return np.asarray(grey + rows[:, None])


def darken_fold(grey: Pixels, depth: float, rng: np.random.Generator) -> Pixels:
    """A straight band across the image, darkest in its middle, there by the share `depth`."""
    side = max(grey.shape)
    distance = _distance_to_line(grey.shape, rng.uniform(0, math.pi), rng)
    width = side * rng.uniform(*FOLD_WIDTH)
    return np.asarray(grey * (1 - depth * np.exp(-0.5 * (distance / width) ** 2)))


def scratch(grey: Pixels, count: int, rng: np.random.Generator) -> Pixels:
    """`count` parallel thin lines across the image, bright or dark."""
    angle = rng.uniform(0, math.pi)
    for _ in range(count):
        distance = _distance_to_line(grey.shape, angle, rng)
        depth = rng.uniform(*SCRATCH_DEPTH) * rng.choice([-1, 1])
        grey = grey + depth * np.exp(-0.5 * (distance / rng.uniform(*SCRATCH_WIDTH_PX)) ** 2)
    return grey


def drop_region(grey: Pixels, share: float, rng: np.random.Generator) -> Pixels:
    """One rectangle of one grey value, its sides half to all of `share` of the image's."""
    height, width = (max(1, round(n * share * rng.uniform(0.5, 1))) for n in grey.shape)
    y = int(rng.integers(0, grey.shape[0] - height + 1))
    x = int(rng.integers(0, grey.shape[1] - width + 1))
    dropped = grey.copy()
    dropped[y : y + height, x : x + width] = rng.uniform(0, 255)
    return dropped


def _distance_to_line(shape_yx: tuple[int, ...], angle: float, rng: np.random.Generator) -> Pixels:
    """The distance in pixels of each pixel to a line through a random pixel."""
    ys, xs = np.ogrid[: shape_yx[0], : shape_yx[1]]
    y, x = rng.uniform(0, shape_yx[0]), rng.uniform(0, shape_yx[1])
    return np.asarray((ys - y) * math.cos(angle) - (xs - x) * math.sin(angle))
