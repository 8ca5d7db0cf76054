"""Score base and tuned model on the same prompts, with the trivial rivals beside them."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float

from mitosam.checksums import checksum_of_file, damaged
from mitosam.errors import InputError, InputNotFoundError, ModelError
from mitosam.evaluation.rivals import score_rivals
from mitosam.evaluation.scores import Method, Score, answers_of
from mitosam.evaluation.settings import EvaluationSettings
from mitosam.evaluation.summary import PairedDifference, SummaryRow, compare, summarise
from mitosam.evaluation.trust import Trust, measure_trust
from mitosam.evaluation.volumes import VolumeRow, summarise_volumes
from mitosam.io.arrays import map_array
from mitosam.models.input_size import is_trained
from mitosam.models.pixels import upsample_logits
from mitosam.models.promptable import ModelPrompts, Promptable, hash_weights
from mitosam.progress import SILENT, Progress
from mitosam.prompts import Prompts
from mitosam.ranks import current
from mitosam.storage import atomic_path, sole_writer
from mitosam.workflows.models import LoadedModel, load_base, with_tuned
from mitosam.workflows.runs import Run, read_object, write_object
from mitosam.workflows.score_files import read_scores, write_calibration, write_scores
from mitosam.workflows.subjects import Question, TileQuestions, questions_of
from mitosam.workflows.tiles import encode_tiles
from mitosam.workflows.time_and_machine import now

log = logging.getLogger(__name__)

MAX_PROMPTS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """The scores of every method on the run's test sections, and what they add up to."""

    scores: list[Score]
    summary: list[SummaryRow]
    differences: list[PairedDifference]
    trust: list[Trust]
    volumes: list[VolumeRow]
    """Volume by volume, where there are several."""


def evaluate(
    run: Run, model: LoadedModel | None = None, *, progress: Progress = SILENT
) -> Evaluation:
    """Score the base model, the tuned one if there is one, and the rivals.

    What was scored before, under the same settings and with the same weights, is read back.

    Raises
    ------
    InputError
        No test section has a mitochondrion.
    OutputInUseError
        Another process is working on the run.
    """
    with sole_writer(run.folder):
        model = model or load_base(run.settings)
        scores = evaluate_base(run, model, progress=progress)
        if run.tuned_weights.exists():
            model = with_tuned(model, run.tuned_weights, run.settings.cache)
            scores = scores + _evaluate_method(run, model, "tuned", progress)
        evaluation = summarise_scores(scores, run.settings.seed)
        write_calibration(run.evaluation_folder, evaluation.trust)
    return evaluation


def evaluate_base(run: Run, model: LoadedModel, *, progress: Progress = SILENT) -> list[Score]:
    """Scores of the base model and of the rivals.

    Raises
    ------
    ModelError
        The model was trained, or a tuned part was loaded onto it.
    """
    if is_trained(model.sam):
        raise ModelError(
            f"{model.sam.name} was trained since it was loaded, so it is no base model; "
            "load it again"
        )
    return _evaluate_method(run, model, "base", progress) + _score_rivals(run)


def read_evaluation(run: Run) -> Evaluation:
    """What `evaluate` wrote.

    Raises
    ------
    InputNotFoundError
        The run was not evaluated.
    """
    base, tuned = (run.evaluation_folder / f"{method}.csv" for method in ("base", "tuned"))
    if not base.exists():
        raise InputNotFoundError(f"{run.folder} has no scores; run `mitosam evaluate {run.folder}`")
    for scored in (base, tuned):
        if scored.with_suffix(".json").exists():
            check_scored_files(scored, read_object(scored.with_suffix(".json")))
    scores = read_scores(base) + _score_rivals(run)
    if tuned.exists():
        scores += read_scores(tuned)
    return summarise_scores(scores, run.settings.seed)


def summarise_scores(scores: list[Score], seed: int) -> Evaluation:
    """Tables of some scores."""
    methods = {score.method for score in scores}
    differences = compare(scores, seed) if {"base", "tuned"} <= methods else []
    return Evaluation(
        scores=scores,
        summary=summarise(scores, seed),
        differences=differences,
        trust=measure_trust(scores, seed),
        volumes=summarise_volumes(scores, seed),
    )


def ask(run: Run, progress: Progress = SILENT, description: str = "") -> Iterator[TileQuestions]:
    """All that is asked about the run's test sections; only one section's masks are held."""
    settings = run.settings
    sections = [
        (part.volume, z)
        for part in run.parts()
        for z in _spread(part.split.test, settings.evaluation.max_sections)
    ]
    for volume, z in progress.track(sections, description, unit="section"):
        yield from questions_of(volume, [z], settings.data, settings.evaluation, settings.seed)


def encode_asked(run: Run, model: LoadedModel, progress: Progress = SILENT) -> None:
    """Have several processes encode what is asked about, each its share; one alone does nothing."""
    if current().count > 1:
        tiles = [one.tile for one in ask(run)]
        encode_tiles(tiles, model.cache, model.sam.input_px, progress)


def _spread(sections: tuple[int, ...], limit: int) -> tuple[int, ...]:
    """At most `limit` of the sections, evenly spaced; 0 is no limit."""
    if not limit or len(sections) <= limit:
        return sections
    picks = np.linspace(0, len(sections) - 1, limit).round().astype(int)
    return tuple(sections[i] for i in picks)


def _score_rivals(run: Run) -> list[Score]:
    scores = []
    for asked in ask(run):
        for question in asked.questions:
            if question.point_xy is None:
                box = question.box_xyxy - _corner(asked, question)
                scores += score_rivals(question.subject, box, question.truth)
    return scores


def _corner(asked: TileQuestions, question: Question) -> Float[np.ndarray, " 4"]:
    """The answer's upper left corner in section XY, twice."""
    y = asked.tile.window.y + question.window.y
    x = asked.tile.window.x + question.window.x
    return np.array([x, y, x, y])


def _evaluate_method(
    run: Run, model: LoadedModel, method: Method, progress: Progress
) -> list[Score]:
    identity = _identity(run, model.sam)
    scores_path = run.evaluation_folder / f"{method}.csv"
    identity_path = run.evaluation_folder / f"{method}.json"
    masks_path = run.evaluation_folder / f"{method}_masks.npy"
    if _is_done(identity_path, identity):
        return read_scores(scores_path)
    identity_path.unlink(missing_ok=True)
    scores: list[Score] = []
    masks: list[Bool[np.ndarray, "h w"]] = []
    for one in ask(run, progress, f"scoring the {method} model"):
        key = model.cache.fill_one(one.tile.pixels(), one.tile.frame(model.sam.input_px))
        embedding = torch.from_numpy(np.asarray(model.cache.load(key))).float()[None]
        for reply in answer(model.sam, embedding, one, run.settings.evaluation):
            scores.append(reply.score(method))
            if reply.question.subject.protocol == "patch-box":
                masks.append(np.packbits(reply.mask))
    if not scores:
        raise InputError("no mitochondria in the sections to report on; choose others with [split]")
    model.cache.trim()
    write_scores(scores_path, scores)
    _write_masks(masks_path, masks)
    files = {path.name: checksum_of_file(path) for path in (scores_path, masks_path)}
    write_object(identity_path, identity | {"evaluated": now(), "files": files})
    return scores


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """All masks that the model gives for one question, and the IoU that it expects of each.

    The first is its single mask, the others are its candidates.
    """

    question: Question
    masks: Bool[np.ndarray, "m h w"]
    predicted_ious: Float[np.ndarray, " m"]
    taken: int
    """The mask that is scored."""

    @property
    def mask(self) -> Bool[np.ndarray, "h w"]:
        """The mask that is scored."""
        return np.asarray(self.masks[self.taken])

    def score(self, method: Method) -> Score:
        """How good the mask is that was taken, with the counts of all."""
        return self.question.subject.score(
            method,
            self.mask,
            self.question.truth,
            predicted_iou=float(self.predicted_ious[self.taken]),
            answers=answers_of(self.masks, self.question.truth, self.predicted_ious),
        )


def answer(
    sam: Promptable,
    embedding: Float[torch.Tensor, "1 C h w"],
    asked: TileQuestions,
    evaluation: EvaluationSettings | None = None,
) -> Iterator[Reply]:
    """The model's reply to each question of a tile.

    Boxes and points are asked apart, many at a time. The single mask is taken for points too,
    unless `point_mask` says otherwise: untuned, the choice among three candidates is worse on EM
    (docs/results).
    """
    evaluation = evaluation or EvaluationSettings()
    boxes = [question for question in asked.questions if question.point_xy is None]
    points = [question for question in asked.questions if question.point_xy is not None]
    for group, chooses in ((boxes, False), (points, evaluation.point_mask == "chosen")):
        for start in range(0, len(group), MAX_PROMPTS):
            chunk = group[start : start + MAX_PROMPTS]
            yield from _answer_chunk(sam, embedding, asked, chunk, chooses=chooses)


@torch.inference_mode()
def _answer_chunk(
    sam: Promptable,
    embedding: Float[torch.Tensor, "1 C h w"],
    asked: TileQuestions,
    chunk: Sequence[Question],
    *,
    chooses: bool,
) -> list[Reply]:
    frame = asked.tile.frame(sam.input_px)
    prompts = ModelPrompts.from_section(_prompts(chunk), frame)
    decoded = sam.decode_outputs(embedding, prompts, "all")
    ious = decoded.iou_predictions[0].cpu().numpy()
    replies = []
    for question, logits, expected in zip(chunk, decoded.low_res_logits[0], ious, strict=True):
        masks = (upsample_logits(logits, frame.tile_px) > 0).cpu().numpy()
        replies.append(
            Reply(
                question=question,
                masks=np.stack([question.window.cut(mask) for mask in masks]),
                predicted_ious=expected,
                taken=1 + int(expected[1:].argmax()) if chooses else 0,
            )
        )
    return replies


def _prompts(questions: Sequence[Question]) -> Prompts:
    if questions[0].point_xy is None:
        return Prompts(boxes_xyxy=np.stack([question.box_xyxy for question in questions]))
    points = np.stack(
        [question.point_xy for question in questions if question.point_xy is not None]
    )
    return Prompts(points_xy=points[:, None], point_labels=np.ones((len(points), 1), np.int64))


def _identity(run: Run, sam: Promptable) -> dict[str, Any]:
    """What scores depend on."""
    settings = run.settings.model_dump(mode="json", include={"data", "evaluation", "seed"})
    data = [
        (part.volume.images_sha256, part.volume.masks_sha256, part.split.test)
        for part in run.parts()
    ]
    text = json.dumps([settings, data], sort_keys=True)
    return {
        "weights": hash_weights(sam.state_dict().items()),
        "questions": hashlib.sha256(text.encode()).hexdigest(),
        "precision": sam.precision,
    }


def _is_done(path: Path, identity: dict[str, Any]) -> bool:
    if not path.exists():
        return False
    try:
        known = read_object(path)
        check_scored_files(path, known)
    except InputError as error:
        log.warning("%s; scoring again", error)
        return False
    return all(known.get(name) == value for name, value in identity.items())


def check_scored_files(path: Path, known: dict[str, Any]) -> None:
    """Raise DamagedFileError unless scores and masks are as they were written."""
    files = known.get("files", {})  # older versions named none
    if not isinstance(files, dict):
        raise damaged(path, "it names no files", way_out="run `mitosam evaluate` again")
    for name, expected in files.items():
        file = path.with_name(Path(name).name)
        is_there = os.path.isfile(file)  # noqa: PTH113  # of names that are too long, too
        if not is_there or checksum_of_file(file) != expected:
            what = "its checksum does not fit" if is_there else "it is gone"
            raise damaged(file, what, way_out="run `mitosam evaluate` again")


def _write_masks(path: Path, masks: list[np.ndarray]) -> None:
    """The patches' masks, eight pixels a byte, in the order of their scores."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.save(file, np.stack(masks) if masks else np.empty((0, 0), np.uint8))


def read_masks(run: Run, method: Method) -> Bool[np.ndarray, "n p p"]:
    """The patches' masks of one method, in the order of its patch-box scores."""
    packed = map_array(run.evaluation_folder / f"{method}_masks.npy", "evaluate again")
    size = run.settings.data.patch_px
    return np.unpackbits(packed, axis=1, count=size * size).reshape(-1, size, size).astype(bool)
