"""Views of a tile for training: turned, mirrored, and with another contrast.

Neighbouring sections are near copies, so a different view of each is worth more than each as it
is, and costs no more to encode.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Shaped, UInt8


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One of the square's eight symmetries, then a change of contrast and brightness.

    The grey value v in 0 to 1 becomes `gain * (v ** gamma - 0.5) + 0.5`, clipped.
    """

    symmetry: int = 0
    gamma: float = 1.0
    gain: float = 1.0

    def of_labels(self, labels: Shaped[np.ndarray, "t t"]) -> Shaped[np.ndarray, "t t"]:
        """The labels, turned and mirrored."""
        mirrored = labels[:, ::-1] if self.symmetry >= 4 else labels
        return np.ascontiguousarray(np.rot90(mirrored, self.symmetry % 4))

    def of_pixels(self, pixels: UInt8[np.ndarray, "t t"]) -> UInt8[np.ndarray, "t t"]:
        """The image, turned, mirrored and with its new contrast."""
        turned = self.of_labels(pixels)
        if self.gamma == 1.0 and self.gain == 1.0:
            return turned
        grey = np.arange(256) / 255
        changed = self.gain * (grey**self.gamma - 0.5) + 0.5
        table = np.rint(255 * np.clip(changed, 0, 1)).astype(np.uint8)
        return np.asarray(table[turned])


AS_IT_IS = View()


def random_view(rng: np.random.Generator) -> View:
    """Any symmetry; every other view with gamma from 0.67 to 1.5 and gain from 0.75 to 1.25."""
    symmetry, changes_contrast = int(rng.integers(8)), bool(rng.integers(2))
    if not changes_contrast:
        return View(symmetry=symmetry)
    return View(
        symmetry=symmetry,
        gamma=float(np.exp(rng.uniform(-0.4, 0.4))),
        gain=float(rng.uniform(0.75, 1.25)),
    )
