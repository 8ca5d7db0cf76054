"""Masks of prompts, section by section, and the label volumes and the table they are drawn into."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8

from mitosam.config import RunSettings
from mitosam.data.intensity import (
    Normalisation,
    adopt_normalisation,
    measure_normalisation,
    read_normalised,
)
from mitosam.inference.section_masks import PlacedPrediction, predict_section
from mitosam.io.volume import Volume
from mitosam.io.write import write_stack_tiff
from mitosam.progress import Progress
from mitosam.prompts import Prompts
from mitosam.workflows.models import encode_cached, open_cache
from mitosam.workflows.tuned_model import UsableModel


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedMask:
    """One candidate mask of one prompt; `chosen` marks the one that went into labels.tif."""

    section: int
    object_id: int
    candidate: int
    chosen: bool
    predicted_iou: float
    area_px: int


def normalisation_of(usable: UsableModel, volume: Volume) -> Normalisation:
    """How the volume's grey values are brought to what the model was trained on."""
    if usable.normalisation:
        return adopt_normalisation(usable.normalisation, volume)
    return measure_normalisation(volume)


def decode_sections(
    volume: Volume,
    asked: Mapping[int, Prompts],
    usable: UsableModel,
    settings: RunSettings,
    *,
    multimask_output: bool,
    progress: Progress,
) -> Iterator[tuple[int, list[PlacedPrediction]]]:
    """The masks of each section that has prompts; embeddings come from and go to the cache."""
    normalisation = normalisation_of(usable, volume)
    cache = open_cache(usable.sam, settings.cache)
    for z in progress.track(sorted(asked), "segmenting", unit="section"):
        section: UInt8[np.ndarray, "h w"] = read_normalised(volume, z, normalisation)
        yield (
            z,
            predict_section(
                usable.sam,
                section,
                asked[z],
                tile_px=usable.tile_px,
                encode=encode_cached(cache),
                multimask_output=multimask_output,
            ),
        )
    cache.trim()


def write_masks(
    out: Path,
    sections: Iterable[tuple[int, list[PlacedPrediction]]],
    volume: Volume,
    *,
    multimask_output: bool,
) -> list[PredictedMask]:
    """Draw the masks of all sections into label volumes; the result is their table."""
    rows: list[PredictedMask] = []
    with tempfile.TemporaryDirectory(prefix=".labels-", dir=out) as scratch:
        stacks = [
            _new_stack(Path(scratch) / f"{number}.npy", volume)
            for number in range(3 if multimask_output else 0)
        ]
        best = _new_stack(Path(scratch) / "best.npy", volume)
        for z, placed in sections:
            rows += _draw(placed, z, stacks, best)
        _write_stacks(out, best, stacks, volume)
    return rows


def _new_stack(path: Path, volume: Volume) -> Int[np.ndarray, "z y x"]:
    """Zeros on disk. Its room is taken now, as a full disk would end a mapped write in a crash."""
    num_bytes = 2 * math.prod(volume.shape_zyx)
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):  # macOS has none
            os.posix_fallocate(file.fileno(), 0, num_bytes)
    stack: Int[np.ndarray, "z y x"] = np.memmap(
        path, mode="r+", dtype=np.uint16, shape=volume.shape_zyx
    )
    return stack


def _draw(
    placed: list[PlacedPrediction],
    z: int,
    stacks: list[Int[np.ndarray, "z y x"]],
    best: Int[np.ndarray, "z y x"],
) -> list[PredictedMask]:
    """Draw the masks of a section, those the model trusts least first."""
    rows = []
    chosen = [int(one.prediction.iou_predictions.argmax()) for one in placed]
    trust = [float(one.prediction.iou_predictions.max()) for one in placed]
    for index in np.argsort(trust, kind="stable"):
        one, number = placed[index], int(index) + 1
        for candidate, mask in enumerate(one.prediction.masks):
            if stacks:
                _part(stacks[candidate][z], one)[mask] = number
            if candidate == chosen[index]:
                _part(best[z], one)[mask] = number
            rows.append(
                PredictedMask(
                    section=z,
                    object_id=number,
                    candidate=candidate + 1,
                    chosen=candidate == chosen[index],
                    predicted_iou=float(one.prediction.iou_predictions[candidate]),
                    area_px=int(mask.sum()),
                )
            )
    return sorted(rows, key=lambda row: (row.object_id, row.candidate))


def _part(section: Int[np.ndarray, "y x"], placed: PlacedPrediction) -> Int[np.ndarray, "h w"]:
    """The view of a section that a prediction's tile covers."""
    height, width = placed.prediction.masks.shape[1:]
    y, x = placed.window.y, placed.window.x
    return section[y : y + height, x : x + width]


def _write_stacks(
    out: Path,
    best: Int[np.ndarray, "z y x"],
    stacks: list[Int[np.ndarray, "z y x"]],
    volume: Volume,
) -> None:
    write_stack_tiff(out / "labels.tif", best, volume.voxel_size_nm)
    for number, stack in enumerate(stacks, start=1):
        write_stack_tiff(out / f"candidate_{number}.tif", stack, volume.voxel_size_nm)
