"""Segment what prompts point at, on any volume, as the model was trained to see it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mitosam.config import RunSettings, resolve_settings
from mitosam.data.masks import pieces, survey_masks
from mitosam.data.oracle import object_boxes
from mitosam.errors import InputError, SettingsError
from mitosam.io.open import open_volume
from mitosam.io.pairing import pair
from mitosam.io.place import Place
from mitosam.io.prompt_files import read_prompts, write_prompts
from mitosam.io.tables import write_csv
from mitosam.io.volume import Volume
from mitosam.progress import SILENT, Progress
from mitosam.prompts import Prompts
from mitosam.storage import atomic_folder, require_free
from mitosam.workflows.predict_masks import decode_sections, write_masks
from mitosam.workflows.predict_words import Asked, write_named
from mitosam.workflows.tuned_model import load_tuned_model, pixel_size_remark


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionResult:
    """What `predict` wrote."""

    labels: Path
    table: Path
    num_masks: int
    num_sections: int


def predict(
    images: Place,
    out: Path,
    *,
    model: Path | str,
    prompts: Path | None = None,
    from_masks: Place | None = None,
    text: str | None = None,
    detector: Path | str | None = None,
    min_score: float | None = None,
    multimask_output: bool = False,
    settings: RunSettings | None = None,
    progress: Progress = SILENT,
) -> PredictionResult:
    """Write `labels.tif` (the object's number in the prompts at each pixel), and `masks.csv`.

    Prompts come from a file, or from masks: one box for each object, saved as `prompts.csv`; or
    they are words. Where masks overlap, the one the model trusts more is on top.

    Parameters
    ----------
    text
        What to find, as "mitochondria": all instances that the model's automatic method finds,
        numbered through the volume, or whatever `detector` finds on each section.
    detector
        The folder or hub name of a Grounding DINO, an OWLv2 or a SAM 3, asked instead of the
        automatic method.
    min_score
        The detector's score from which an object counts; by default its family's own.
    multimask_output
        Write all candidates to `candidate_1.tif` and so on, and the one with the highest predicted
        IoU to `labels.tif`.

    Raises
    ------
    InputError
        A prompt lies outside the images, no prompt was given, or nothing understands the words.
    """
    _check_choices(prompts, from_masks, text, detector, min_score, multimask_output)
    settings = settings or resolve_settings()
    if text is not None:
        asked_words = Asked(text=text, model=model, detector=detector, min_score=min_score)
        written = write_named(images, out, asked_words, settings, progress)
        return _result(out, written.num_masks, written.num_sections)
    volume = open_volume(images)
    asked = read_prompts(prompts) if prompts else _prompts_of_masks(volume, from_masks, progress)
    _check_prompts(asked, volume)
    require_free(out)
    usable = load_tuned_model(model, settings.model)
    if remark := pixel_size_remark(usable, volume.voxel_size_nm):
        progress.say(remark)
    sections = decode_sections(
        volume, asked, usable, settings, multimask_output=multimask_output, progress=progress
    )
    with atomic_folder(out) as folder:
        if from_masks:
            write_prompts(folder / "prompts.csv", asked)
        rows = write_masks(folder, sections, volume, multimask_output=multimask_output)
        write_csv(folder / "masks.csv", rows)
    return _result(out, sum(row.chosen for row in rows), len(asked))


def _result(out: Path, num_masks: int, num_sections: int) -> PredictionResult:
    return PredictionResult(
        labels=out / "labels.tif",
        table=out / "masks.csv",
        num_masks=num_masks,
        num_sections=num_sections,
    )


def _check_choices(
    prompts: Path | None,
    from_masks: Place | None,
    text: str | None,
    detector: Path | str | None,
    min_score: float | None,
    multimask_output: bool,
) -> None:
    if sum(source is not None for source in (prompts, from_masks, text)) != 1:
        raise SettingsError("give prompts with either --prompts or --from-masks or --text")
    if text is None and (detector is not None or min_score is not None):
        raise SettingsError("--detector and --min-score go with --text, got no --text")
    if min_score is not None and (detector is None or not 0 <= min_score <= 1):
        raise SettingsError(
            f"--min-score needs a --detector and a number from 0 to 1, got {min_score}"
        )
    if text is not None and multimask_output:
        raise SettingsError(
            "--multimask goes with --prompts or --from-masks, got it with --text; a detector's "
            "boxes are saved as prompts.csv, which --prompts takes"
        )


def _prompts_of_masks(
    volume: Volume, masks: Place | None, progress: Progress
) -> dict[int, Prompts]:
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
