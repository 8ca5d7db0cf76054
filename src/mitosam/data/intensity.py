"""Grey values of any kind brought to the 0 to 255 that the encoder was trained on."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import numpy as np
from jaxtyping import Shaped, UInt8

from mitosam.errors import InputError
from mitosam.geometry import Box
from mitosam.io.volume import Volume

logger = logging.getLogger(__name__)

NUM_SAMPLED_SECTIONS = 16
NUM_SAMPLED_PIXELS = 1 << 18
PERCENTILES = (0.1, 99.9)
LARGE_PX = 1 << 26
PART_PX = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalisation:
    """How grey values become 0 to 255: as they are, or stretched from `low` to `high`.

    It is measured on the training volume, saved with the model, and used again at inference.
    `dtype` names the numbers that a stretch was measured on, "" where that is not known.
    """

    kind: Literal["identity", "percentile"] = "identity"
    low: float = 0.0
    high: float = 255.0
    dtype: str = ""

    def apply(self, section: Shaped[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
        """The section in 0 to 255; what lies beyond `low` and `high` is clipped."""
        if self.kind == "identity":
            if section.dtype != np.uint8:
                raise InputError(
                    f"this normalisation is for 8-bit images, got {section.dtype}; convert the "
                    "images to 8 bit, or let the normalisation be measured on them"
                )
            return np.asarray(section)
        wide = section.astype(np.result_type(section.dtype, np.float32))
        scaled = (wide - self.low) * (255 / (self.high - self.low))
        return np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)

    def to_dict(self) -> dict[str, str]:
        """Flat strings, as safetensors metadata wants them."""
        return {
            "kind": self.kind,
            "low": repr(self.low),
            "high": repr(self.high),
            "dtype": self.dtype,
        }

    def suits(self, volume: Volume) -> bool:
        """Whether the volume holds the kind of numbers that this was measured on."""
        if self.kind == "percentile" and self.dtype:
            return volume.dtype.name == self.dtype
        return (volume.dtype == np.uint8) == (self.kind == "identity")

    @classmethod
    def from_dict(cls, flat: Mapping[str, str]) -> Normalisation:
        """The inverse of `to_dict`."""
        kind = flat.get("kind")
        if kind not in ("identity", "percentile"):
            raise InputError(f"normalisation must be identity or percentile, got {kind!r}")
        try:
            low, high = float(flat["low"]), float(flat["high"])
        except (KeyError, ValueError) as error:
            raise InputError(f"normalisation needs numbers low and high, got {flat}") from error
        if not low < high:
            raise InputError(f"normalisation needs low < high, got low={low}, high={high}")
        return cls(
            kind="percentile" if kind == "percentile" else "identity",
            low=low,
            high=high,
            dtype=flat.get("dtype", ""),
        )


def measure_normalisation(
    volume: Volume, *, num_sections: int = NUM_SAMPLED_SECTIONS
) -> Normalisation:
    """The normalisation that suits a volume: 8-bit images stay, others are stretched.

    Up to `num_sections` evenly spaced sections are looked at, and more where those hold nothing.

    Raises
    ------
    InputError
        The images are truth values, constant, or hold NaN or infinite values.
    """
    if volume.dtype == np.bool_:
        raise InputError(
            f"{volume.name} holds only true and false, so it looks like a mask; give the EM images"
        )
    chosen = np.unique(np.linspace(0, len(volume) - 1, min(num_sections, len(volume))).astype(int))
    samples = [_sample(_part(volume, int(z))) for z in chosen]
    pooled = np.concatenate(samples)
    if pooled.min() == pooled.max():
        structured = list(islice(_samples_with_structure(volume), num_sections))
        pooled = np.concatenate(structured or [pooled])
    if pooled.min() == pooled.max():
        raise InputError(
            f"{volume.name} is constant: every pixel is {pooled.flat[0]}; give the EM images"
        )
    if volume.dtype == np.uint8:
        return Normalisation()
    low, high = (float(value) for value in np.percentile(pooled, PERCENTILES))
    if low == high:  # all but a few pixels are alike
        low, high = float(pooled.min()), float(pooled.max())
    return Normalisation(kind="percentile", low=low, high=high, dtype=volume.dtype.name)


def adopt_normalisation(trained: Normalisation, volume: Volume) -> Normalisation:
    """The normalisation of a model's training, measured anew where it cannot suit the volume.

    Stretching 8-bit images as if they were the 16-bit ones of the training would make them black.
    """
    if trained.suits(volume):
        return trained
    logger.warning(
        "%s holds %s and the model was trained on %s images; its grey values are measured anew",
        volume.name,
        volume.dtype,
        "uint8" if trained.kind == "identity" else trained.dtype or "16-bit or float",
    )
    return measure_normalisation(volume)


def _samples_with_structure(volume: Volume) -> Iterator[Shaped[np.ndarray, " n"]]:
    """Samples of those parts of sections in which not all pixels are alike, less the darkest."""
    _, height, width = volume.shape_zyx
    side = height + width if volume.read_box is None else PART_PX
    for z in range(len(volume)):
        for y in range(0, height, side):
            for x in range(0, width, side):
                part = Box((z, y, x), (z + 1, y + side, x + side)).within(volume.shape_zyx)
                pixels = volume.box(part)[0]
                if pixels.min() != pixels.max():
                    _check_finite(volume, z, pixels)
                    yield _sample(np.append(pixels[pixels != pixels.min()], pixels.min()))


def _part(volume: Volume, z: int) -> Shaped[np.ndarray, "h w"]:
    """Section `z`, or the middle of one so large that it is read by boxes."""
    height, width = volume.shape_zyx[1:]
    if volume.read_box is None or height * width <= LARGE_PX:
        return read_finite(volume, z)
    y, x = max(height - PART_PX, 0) // 2, max(width - PART_PX, 0) // 2
    part: Shaped[np.ndarray, "h w"] = volume.box(
        Box((z, y, x), (z + 1, y + PART_PX, x + PART_PX)).within(volume.shape_zyx)
    )[0]
    _check_finite(volume, z, part)
    return part


def _sample(section: Shaped[np.ndarray, "h w"]) -> Shaped[np.ndarray, " n"]:
    """Evenly strided pixels; the stride is odd so that it does not follow an even width."""
    stride = max(1, section.size // NUM_SAMPLED_PIXELS) | 1
    large = section.size > NUM_SAMPLED_PIXELS
    sample = section.ravel()[::stride].copy() if large else section.ravel()
    return _widened(sample)


def _widened(sample: Shaped[np.ndarray, " n"]) -> Shaped[np.ndarray, " n"]:
    """float16 as float32: percentiles of it would overflow."""
    return sample.astype(np.float32) if sample.dtype == np.float16 else sample


def read_finite(volume: Volume, z: int) -> Shaped[np.ndarray, "h w"]:
    """Section `z`, provided it holds neither NaN nor infinity.

    Raises
    ------
    InputError
        It does; the section is named.
    """
    section = volume.section(z)
    _check_finite(volume, z, section)
    return section


def _check_finite(volume: Volume, z: int, section: Shaped[np.ndarray, "h w"]) -> None:
    if section.dtype.kind == "f" and not np.isfinite(section).all():
        count = int(section.size - np.isfinite(section).sum())
        raise InputError(
            f"{volume.name}, {volume.section_names[z]} has {count} pixels that are NaN or "
            "infinite; replace them, for instance by the section's median"
        )


def read_normalised_box(
    volume: Volume, box: Box, normalisation: Normalisation
) -> UInt8[np.ndarray, "z y x"]:
    """The voxels of a box in 0 to 255; see `read_finite`."""
    voxels = volume.box(box)
    for z, section in enumerate(voxels, start=box.start_zyx[0]):
        _check_finite(volume, z, section)
    return np.stack([normalisation.apply(section) for section in voxels])


def read_normalised(
    volume: Volume, z: int, normalisation: Normalisation
) -> UInt8[np.ndarray, "h w"]:
    """Section `z` in 0 to 255."""
    return normalisation.apply(read_finite(volume, z))
