"""A volume's sections as the model sees them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8

from mitosam.data.intensity import Normalisation, read_normalised
from mitosam.io.volume import Volume

ReadSection = Callable[[int], UInt8[np.ndarray, "height width"]]


def reader(volume: Volume, normalisation: Normalisation) -> ReadSection:
    """A function from a section's number to its grey values of 0 to 255."""
    return lambda z: read_normalised(volume, z, normalisation)


def fingerprint(volume: Volume) -> str:
    """A hash of the first, middle and last section, which tells volumes of one shape apart."""
    digest = hashlib.sha256()
    for z in sorted({0, len(volume) // 2, len(volume) - 1}):
        digest.update(np.ascontiguousarray(volume.section(z)).tobytes())
    return digest.hexdigest()
