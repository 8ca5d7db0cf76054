"""Views of a tile for training: turned, mirrored, with another contrast and with artefacts.

Neighbouring sections are near copies, so a different view of each is worth more than each as it
is, and costs no more to encode.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Shaped, UInt8

from mitosam.data.artefacts import NO_ARTEFACTS, Artefacts


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One of the square's eight symmetries, then a change of contrast, then artefacts.

    The grey value v in 0 to 1 becomes `gain * (v ** gamma - 0.5) + 0.5`, clipped.
    """

    symmetry: int = 0
    gamma: float = 1.0
    gain: float = 1.0
    artefacts: Artefacts = NO_ARTEFACTS

    def of_labels(self, labels: Shaped[np.ndarray, "t t"]) -> Shaped[np.ndarray, "t t"]:
        """The labels, turned and mirrored."""
        mirrored = labels[:, ::-1] if self.symmetry >= 4 else labels
        return np.ascontiguousarray(np.rot90(mirrored, self.symmetry % 4))

    def of_pixels(self, pixels: UInt8[np.ndarray, "t t"]) -> UInt8[np.ndarray, "t t"]:
        """The image, turned, mirrored, with its new contrast and its artefacts."""
        return self.artefacts.of_pixels(self._with_contrast(self.of_labels(pixels)))

    def _with_contrast(self, turned: UInt8[np.ndarray, "t t"]) -> UInt8[np.ndarray, "t t"]:
        if self.gamma == 1.0 and self.gain == 1.0:
            return turned
        grey = np.arange(256) / 255
        changed = self.gain * (grey**self.gamma - 0.5) + 0.5
        table = np.rint(255 * np.clip(changed, 0, 1)).astype(np.uint8)
        return np.asarray(table[turned])


AS_IT_IS = View()
NUM_SYMMETRIES = 8
