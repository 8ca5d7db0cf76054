"""Segment what words name on every section of a volume."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8

from mitosam.config import RunSettings
from mitosam.data.intensity import read_normalised
from mitosam.inference.map_store import MapStore
from mitosam.io.open import open_volume
from mitosam.io.place import Place
from mitosam.io.prompt_files import write_prompts
from mitosam.io.tables import write_csv
from mitosam.io.volume import Volume
from mitosam.io.write import write_sections_tiff
from mitosam.models.detections import CroppedMask, Detections, TextDetector
from mitosam.models.detectors import load_detector
from mitosam.progress import Progress
from mitosam.prompts import Prompts
from mitosam.storage import atomic_folder, require_free
from mitosam.words import phrases_of
from mitosam.workflows.automatic import ReadSection, Segmenter
from mitosam.workflows.automatic_model import segmenter_of
from mitosam.workflows.models import choose_device
from mitosam.workflows.predict_masks import decode_sections, normalisation_of, write_masks
from mitosam.workflows.tuned_model import UsableModel, load_tuned_model
from mitosam.workflows.words import AllInstances, DetectorPhrases, look, understand


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Words, and what is to understand them."""

    text: str
    model: Path | str
    detector: Path | str | None = None
    min_score: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedMask:
    """The part of a named object that lies on one section.

    `score` is the detector's, or the mean foreground where the automatic method found it;
    `predicted_iou` is the mask decoder's guess, if it drew the mask.
    """

    section: int
    object_id: int
    phrase: str
    score: float
    predicted_iou: float | None
    area_px: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """How much was found."""

    num_masks: int
    num_sections: int


def write_named(
    images: Place, out: Path, asked: Asked, settings: RunSettings, progress: Progress
) -> Written:
    """Write `labels.tif` and `masks.csv` of what the words name, and the boxes if a detector asked.

    Raises
    ------
    InputError
        Nothing understands the words.
    """
    phrases_of(asked.text)  # before anything is loaded
    volume = open_volume(images)
    require_free(out)
    detector = _detector(asked, settings)
    usable = load_tuned_model(asked.model, settings.model)
    normalisation = normalisation_of(usable, volume)

    def read(z: int) -> UInt8[np.ndarray, "height width"]:
        return read_normalised(volume, z, normalisation)

    segmenter = None if detector else segmenter_of(usable, asked.model, settings)
    meaning = understand(asked.text, segmenter=segmenter, detector=detector)
    progress.say(meaning.sentence)
    with atomic_folder(out) as folder:
        if isinstance(meaning, AllInstances):
            assert segmenter is not None
            rows = _write_instances(folder, volume, read, segmenter, meaning, progress)
        else:
            assert detector is not None
            found = _look_everywhere(volume, read, detector, meaning, asked, progress)
            if detector.draws_masks:
                rows = _write_drawn(folder, volume, found)
            else:
                rows = _write_decoded(folder, volume, dict(found), usable, settings, progress)
        write_csv(folder / "masks.csv", rows, NamedMask)
    return Written(num_masks=len(rows), num_sections=len({row.section for row in rows}))


def _detector(asked: Asked, settings: RunSettings) -> TextDetector | None:
    if asked.detector is None:
        return None
    return load_detector(asked.detector, device=choose_device(settings.model.device))


def _write_instances(
    folder: Path,
    volume: Volume,
    read: ReadSection,
    segmenter: Segmenter,
    meaning: AllInstances,
    progress: Progress,
) -> list[NamedMask]:
    """Labels through the volume, as `segment` makes them."""
    settings = segmenter.info.settings_of(meaning.method)
    settings = settings if len(volume) > 1 else settings.for_one_section()
    rows: list[NamedMask] = []
    with tempfile.TemporaryDirectory(prefix=".maps-", dir=folder) as scratch:
        store = MapStore(Path(scratch), volume.shape_zyx)
        compute = segmenter.mapper(meaning.method, read, len(volume))
        store.fill(compute, title=f"segmenting ({meaning.method})", progress=progress)

        def labelled() -> Iterator[Int[np.ndarray, "height width"]]:
            for z, labels in enumerate(store.label(settings, progress)):
                rows.extend(_rows_of(z, labels, store.section(z)[0], meaning.match.class_name))
                yield labels.astype(np.uint32)

        _write_labels(folder, labelled(), volume)
    return rows


def _rows_of(
    z: int,
    labels: Int[np.ndarray, "height width"],
    foreground: UInt8[np.ndarray, "height width"],
    phrase: str,
) -> Iterator[NamedMask]:
    sizes = np.bincount(labels.ravel())
    sums = np.bincount(labels.ravel(), weights=foreground.ravel())
    for number in np.flatnonzero(sizes[1:]) + 1:
        yield NamedMask(
            section=z,
            object_id=int(number),
            phrase=phrase,
            score=float(sums[number] / sizes[number] / 255),
            predicted_iou=None,
            area_px=int(sizes[number]),
        )


def _look_everywhere(
    volume: Volume,
    read: ReadSection,
    detector: TextDetector,
    meaning: DetectorPhrases,
    asked: Asked,
    progress: Progress,
) -> Iterator[tuple[int, Detections]]:
    for z in progress.track(range(len(volume)), f"asking {detector.name}", unit="section"):
        yield z, look(meaning, read(z), detector, min_score=asked.min_score).detections


def _write_drawn(
    folder: Path, volume: Volume, found: Iterator[tuple[int, Detections]]
) -> list[NamedMask]:
    """The masks of a detector that draws them; where they overlap, the surest is on top."""
    rows: list[NamedMask] = []

    def labelled() -> Iterator[Int[np.ndarray, "height width"]]:
        for z, objects in found:
            assert objects.masks is not None, "this detector draws masks"
            labels = np.zeros(volume.shape_zyx[1:], np.uint32)
            for index in reversed(range(len(objects))):
                _paint(labels, objects.masks[index], index + 1)
            areas = [int(mask.pixels.sum()) for mask in objects.masks]
            rows.extend(_named(z, objects, [None] * len(objects), areas))
            yield labels

    _write_labels(folder, labelled(), volume)
    return rows


def _paint(labels: Int[np.ndarray, "height width"], mask: CroppedMask, number: int) -> None:
    y, x = mask.window.y, mask.window.x
    labels[y : y + mask.window.height, x : x + mask.window.width][mask.pixels] = number


def _write_decoded(
    folder: Path,
    volume: Volume,
    found: dict[int, Detections],
    usable: UsableModel,
    settings: RunSettings,
    progress: Progress,
) -> list[NamedMask]:
    """The mask decoder's masks in the detector's boxes, which are saved as `prompts.csv`."""
    prompts = {z: Prompts(boxes_xyxy=each.boxes_xyxy) for z, each in found.items() if len(each)}
    if prompts:
        write_prompts(folder / "prompts.csv", prompts)
    sections = decode_sections(
        volume, prompts, usable, settings, multimask_output=False, progress=progress
    )
    drawn = write_masks(folder, sections, volume, multimask_output=False)
    rows: list[NamedMask] = []
    for z in prompts:
        own = [row for row in drawn if row.section == z]
        trust: list[float | None] = [row.predicted_iou for row in own]
        rows.extend(_named(z, found[z], trust, [row.area_px for row in own]))
    return rows


def _named(
    z: int, found: Detections, predicted_ious: list[float | None], areas_px: list[int]
) -> Iterator[NamedMask]:
    for index, (iou, area) in enumerate(zip(predicted_ious, areas_px, strict=True)):
        yield NamedMask(
            section=z,
            object_id=index + 1,
            phrase=found.phrases[index],
            score=float(found.scores[index]),
            predicted_iou=iou,
            area_px=area,
        )


def _write_labels(
    folder: Path, sections: Iterator[Int[np.ndarray, "height width"]], volume: Volume
) -> None:
    write_sections_tiff(
        folder / "labels.tif",
        sections,
        shape_zyx=volume.shape_zyx,
        dtype=np.uint32,
        voxel_size_nm=volume.voxel_size_nm,
    )
