"""What an evaluation asks of every model: prompts from the truth, and the masks they ask for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from mitosam.data.masks import pieces
from mitosam.data.oracle import jitter_boxes, object_boxes, object_points, patch_box
from mitosam.data.prepared import PreparedVolume
from mitosam.data.settings import DataSettings
from mitosam.evaluation.scores import Protocol, Subject
from mitosam.evaluation.settings import EvaluationSettings
from mitosam.geometry import Window, window_holding
from mitosam.workflows.tiles import SectionTile, drop_small, section_grid, tiles_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One prompt on a tile and the mask that answers it.

    `window` is where the answer is compared, in tile pixels; the truth has its shape. Boxes and
    points are XY in section pixels. `box_xyxy` stands beside a point too, as what its rivals get.
    """

    subject: Subject
    window: Window
    truth: Bool[np.ndarray, "h w"]
    box_xyxy: Float[np.ndarray, " 4"]
    point_xy: Float[np.ndarray, " 2"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TileQuestions:
    """All that is asked on one tile."""

    tile: SectionTile
    questions: tuple[Question, ...]


def questions_of(
    volume: PreparedVolume,
    sections: Sequence[int],
    data: DataSettings,
    evaluation: EvaluationSettings,
    seed: int,
) -> Iterator[TileQuestions]:
    """The questions on each tile that has any, section by section, the same at every call."""
    for section in sections:
        tiles = tiles_of(volume, [section], data)
        asked: list[list[Question]] = [[] for _ in tiles]
        windows = [tile.window for tile in tiles]
        for patch in section_grid(volume, data).windows:
            number = window_holding(patch, windows)
            rng = np.random.default_rng([seed, section, patch.y, patch.x])
            asked[number] += _patch_questions(tiles[number], patch, data, evaluation, rng)
        if evaluation.objects == "section":
            _add_whole_objects(tiles, asked, data, evaluation)
        for tile, questions in zip(tiles, asked, strict=True):
            if questions:
                yield TileQuestions(tile=tile, questions=tuple(questions))


def _patch_questions(
    tile: SectionTile,
    patch: Window,
    data: DataSettings,
    evaluation: EvaluationSettings,
    rng: np.random.Generator,
) -> list[Question]:
    labels = pieces(np.asarray(patch.cut(tile.volume.labels[tile.section])))
    inside = Window(patch.y - tile.window.y, patch.x - tile.window.x, patch.height, patch.width)
    offset = np.array([patch.x, patch.y, patch.x, patch.y])
    subject = Subject(
        protocol="patch-box",
        volume=tile.volume.name,
        section=tile.section,
        y=patch.y,
        x=patch.x,
        num_objects=int(labels.max()),
    )
    questions = []
    if "patch-box" in evaluation.protocols and (labels.any() or evaluation.keep_empty_patches):
        box = _jittered_patch_box(labels, evaluation.jitter_px, rng)
        questions.append(
            Question(subject=subject, window=inside, truth=labels > 0, box_xyxy=box + offset)
        )
    if evaluation.objects == "patch" and labels.any():
        kept = drop_small(labels, data.min_object_px)
        questions += _object_questions(kept, subject, inside, offset, evaluation)
    return questions


def _jittered_patch_box(
    labels: Int[np.ndarray, "p p"], jitter_px: int, rng: np.random.Generator
) -> Float[np.ndarray, " 4"]:
    size = len(labels)
    if not labels.any():
        return np.array([0, 0, size, size], np.float64)
    boxes = jitter_boxes(patch_box(labels)[None], jitter_px, (size, size), rng)
    return np.asarray(boxes[0])


def _object_questions(
    labels: Int[np.ndarray, "h w"],
    subject: Subject,
    window: Window,
    offset: Float[np.ndarray, " 4"],
    evaluation: EvaluationSettings,
) -> list[Question]:
    questions = []
    boxes, points = object_boxes(labels), object_points(labels)
    protocols: tuple[Protocol, ...] = ("object-box", "object-point")
    for protocol in (name for name in protocols if name in evaluation.protocols):
        for number, (box, point) in enumerate(zip(boxes, points, strict=True), start=1):
            questions.append(
                Question(
                    subject=replace(subject, protocol=protocol, object_id=number),
                    window=window,
                    truth=labels == number,
                    box_xyxy=box + offset,
                    point_xy=point + offset[:2] if protocol == "object-point" else None,
                )
            )
    return questions


def _add_whole_objects(
    tiles: Sequence[SectionTile],
    asked: list[list[Question]],
    data: DataSettings,
    evaluation: EvaluationSettings,
) -> None:
    """Ask for each mitochondrion of the section once, in the tile that holds most of it."""
    first = tiles[0]
    objects = pieces(np.asarray(first.volume.labels[first.section]))
    cuts = [tile.window.cut(objects) for tile in tiles]
    areas = np.stack([np.bincount(cut.ravel(), minlength=objects.max() + 1) for cut in cuts])
    holder = areas.argmax(axis=0)
    for number, (tile, cut) in enumerate(zip(tiles, cuts, strict=True)):
        held = drop_small(pieces(np.where(holder[cut] == number, cut, 0)), data.min_object_px)
        if not held.any():
            continue
        window = Window(0, 0, *cut.shape)
        y, x = tile.window.y, tile.window.x
        subject = Subject(
            protocol="object-box",
            volume=tile.volume.name,
            section=tile.section,
            y=y,
            x=x,
            num_objects=int(held.max()),
        )
        offset = np.array([x, y, x, y])
        questions = _object_questions(held, subject, window, offset, evaluation)
        asked[number] += [
            replace(q, subject=replace(q.subject, num_objects=_crowd(q, objects, data.patch_px)))
            for q in questions
        ]


def _crowd(question: Question, objects: Int[np.ndarray, "h w"], patch_px: int) -> int:
    """Mitochondria in the patch that holds the middle of the object's box."""
    x0, y0, x1, y1 = question.box_xyxy
    y, x = (int((a + b) / 2) // patch_px * patch_px for a, b in ((y0, y1), (x0, x1)))
    return int(pieces(np.asarray(Window(y, x, patch_px, patch_px).cut(objects))).max())
