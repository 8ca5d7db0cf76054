"""Each instance cut out of a label volume that is read once, section by section."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from mitosam.errors import InputError
from mitosam.io.volume import Volume
from mitosam.morphometry.census import Extent
from mitosam.morphometry.ids import rank_ids
from mitosam.progress import SILENT, Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Crop:
    """One instance in its bounding box; `confidence` is the mean probability in it, or NaN."""

    instance: int
    mask: Bool[np.ndarray, "z y x"]
    confidence: float


def crop_instances(
    labels: Volume,
    extents: Mapping[int, Extent],
    probability: Volume | None = None,
    *,
    progress: Progress = SILENT,
) -> Iterator[Crop]:
    """Every instance once its last section is read.

    In memory are one section and the instances that have begun and not ended, a byte a pixel of
    their boxes on each section.

    Raises
    ------
    InputError
        The probabilities differ in shape from the labels, or do not lie in [0, 1].
    """
    if probability is not None:
        check_shapes(labels, probability)
    open_pieces: dict[int, list[_Piece]] = {}
    for z in progress.track(
        range(len(labels)), "measuring instances", total=len(labels), unit="section"
    ):
        for instance, piece in _pieces(labels, probability, z):
            open_pieces.setdefault(instance, []).append(piece)
            if z + 1 == extents[instance].stop_zyx[0]:
                yield _assembled(instance, open_pieces.pop(instance), extents[instance])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    """One instance's box on section `z`, and the sum of the probabilities in it."""

    z: int
    y: int
    x: int
    mask: Bool[np.ndarray, "h w"]
    probability: float


def _pieces(labels: Volume, probability: Volume | None, z: int) -> Iterator[tuple[int, _Piece]]:
    ids, ranked = rank_ids(labels, z)
    if not ids.size:
        return
    trust = read_probability(probability, z) if probability else None
    for rank, (instance, box) in enumerate(
        zip(ids.tolist(), ndimage.find_objects(ranked), strict=True), start=1
    ):
        mask = ranked[box] == rank
        total = float(trust[box][mask].sum()) if trust is not None else float("nan")
        rows, columns = box
        yield (
            instance,
            _Piece(z=z, y=rows.start, x=columns.start, mask=mask, probability=total),
        )


def _assembled(instance: int, pieces: list[_Piece], extent: Extent) -> Crop:
    z0, y0, x0 = extent.start_zyx
    z1, y1, x1 = extent.stop_zyx
    mask = np.zeros((z1 - z0, y1 - y0, x1 - x0), np.bool_)
    for piece in pieces:
        height, width = piece.mask.shape
        y, x = piece.y - y0, piece.x - x0
        mask[piece.z - z0, y : y + height, x : x + width] = piece.mask
    total = sum(piece.probability for piece in pieces)
    return Crop(instance=instance, mask=mask, confidence=total / extent.num_voxels)


def check_shapes(labels: Volume, probability: Volume) -> None:
    """Raise InputError unless both volumes have one shape."""
    if labels.shape_zyx != probability.shape_zyx:
        raise InputError(
            "probabilities must have the labels' sections, rows and columns, but "
            f"{probability.name} has {probability.shape_zyx} and {labels.name} "
            f"{labels.shape_zyx}; give those that the labels were made from"
        )


def read_probability(volume: Volume, z: int) -> Float[np.ndarray, "height width"]:
    """Probabilities in [0, 1] of section `z`; whole numbers stand for shares of their largest."""
    section = volume.section(z)
    if section.dtype.kind in "ui":
        return section / np.float64(np.iinfo(section.dtype).max)
    values: Float[np.ndarray, "height width"] = section.astype(np.float64)
    if not (values.min() >= 0 and values.max() <= 1):  # NaN fails too
        raise InputError(
            f"probabilities must lie in 0 to 1, but {volume.name}, {volume.section_names[z]} holds "
            f"{values.min():g} to {values.max():g}; give them as floats, or as 8 or 16 bits"
        )
    return values
