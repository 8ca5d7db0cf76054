"""Segment what prompts point at, on any volume, as the model was trained to see it."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8

from mitosam.config import RunSettings, resolve_settings
from mitosam.data.intensity import adopt_normalisation, measure_normalisation, read_normalised
from mitosam.data.masks import pieces, survey_masks
from mitosam.data.oracle import object_boxes
from mitosam.errors import InputError, SettingsError
from mitosam.inference.section_masks import PlacedPrediction, predict_section
from mitosam.io.open import open_volume
from mitosam.io.pairing import pair
from mitosam.io.prompt_files import read_prompts, write_prompts
from mitosam.io.tables import write_csv
from mitosam.io.volume import Volume
from mitosam.io.write import write_stack_tiff
from mitosam.progress import SILENT, Progress
from mitosam.prompts import Prompts
from mitosam.storage import atomic_folder, require_free
from mitosam.workflows.models import encode_cached, open_cache
from mitosam.workflows.tuned_model import UsableModel, load_tuned_model


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedMask:
    """One candidate mask of one prompt; `chosen` marks the one that went into labels.tif."""

    section: int
    object_id: int
    candidate: int
    chosen: bool
    predicted_iou: float
    area_px: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionResult:
    """What `predict` wrote."""

    labels: Path
    table: Path
    num_masks: int
    num_sections: int


def predict(
    images: Path,
    out: Path,
    *,
    model: Path | str,
    prompts: Path | None = None,
    from_masks: Path | None = None,
    multimask_output: bool = False,
    settings: RunSettings | None = None,
    progress: Progress = SILENT,
) -> PredictionResult:
    """Write `labels.tif` (the object's number in the prompts at each pixel), and `masks.csv`.

    Prompts come from a file, or from masks: one box for each object, saved as `prompts.csv`. Where
    masks overlap, the one the model trusts more is on top. With `multimask_output` all candidates
    are in `candidate_1.tif` and so on, and the one with the highest predicted IoU in `labels.tif`.

    Raises
    ------
    InputError
        A prompt lies outside the images, or no prompt was given.
    """
    if (prompts is None) == (from_masks is None):
        raise SettingsError("give prompts with either --prompts or --from-masks")
    settings = settings or resolve_settings()
    volume = open_volume(images)
    asked = read_prompts(prompts) if prompts else _prompts_of_masks(volume, from_masks, progress)
    _check_prompts(asked, volume)
    require_free(out)
    usable = load_tuned_model(model, settings.model)
    sections = _predicted(volume, asked, usable, settings, multimask_output, progress)
    with atomic_folder(out) as folder:
        if from_masks:
            write_prompts(folder / "prompts.csv", asked)
        rows = _write_masks(folder, sections, volume, multimask_output)
        write_csv(folder / "masks.csv", rows)
    return PredictionResult(
        labels=out / "labels.tif",
        table=out / "masks.csv",
        num_masks=sum(row.chosen for row in rows),
        num_sections=len(asked),
    )


def _prompts_of_masks(volume: Volume, masks: Path | None, progress: Progress) -> dict[int, Prompts]:
    assert masks is not None
    mask_volume = open_volume(masks)
    pairing = pair(volume, mask_volume)
    progress.say(pairing.describe())
    survey = survey_masks(mask_volume, progress)
    found = {}
    for image_z, mask_z in pairing.sections:
        boxes = object_boxes(pieces(survey.to_labels(mask_volume.section(mask_z))))
        if len(boxes):
            found[image_z] = Prompts(boxes_xyxy=boxes)
    return found


def _check_prompts(asked: dict[int, Prompts], volume: Volume) -> None:
    if not asked:
        raise InputError("no prompts were given")
    for z, prompts in asked.items():
        if not 0 <= z < len(volume):
            raise InputError(
                f"prompts must lie on sections 0 to {len(volume) - 1} of {volume.name}, "
                f"got section {z}"
            )
        try:
            prompts.check_inside(volume.shape_zyx[1:])
        except InputError as error:
            raise InputError(f"section {z}: {error}") from error


def _predicted(
    volume: Volume,
    asked: dict[int, Prompts],
    usable: UsableModel,
    settings: RunSettings,
    multimask_output: bool,
    progress: Progress,
) -> Iterator[tuple[int, list[PlacedPrediction]]]:
    normalisation = (
        adopt_normalisation(usable.normalisation, volume)
        if usable.normalisation
        else measure_normalisation(volume)
    )
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


def _write_masks(
    out: Path,
    sections: Iterator[tuple[int, list[PlacedPrediction]]],
    volume: Volume,
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
