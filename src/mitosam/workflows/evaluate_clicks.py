"""Score base and tuned model after each of some correcting clicks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Bool, Float

from mitosam.checksums import damaged
from mitosam.errors import InputError, SettingsError
from mitosam.evaluation.bootstrap import Interval
from mitosam.evaluation.clicks import (
    STARTS,
    Click,
    ClickScore,
    ClickSummary,
    ScoredMethod,
    Start,
    next_click,
    summarise_clicks,
)
from mitosam.io.limits import read_json
from mitosam.io.tables import read_csv, write_csv, write_json
from mitosam.models.mask_prompts import decode_each
from mitosam.models.pixels import upsample_logits
from mitosam.models.promptable import ModelPrompts, Outputs, Promptable
from mitosam.progress import SILENT, Progress
from mitosam.prompts import Prompts
from mitosam.workflows.evaluate import MAX_PROMPTS, ask
from mitosam.workflows.models import LoadedModel, load_base, with_tuned
from mitosam.workflows.runs import Run
from mitosam.workflows.subjects import Question, TileQuestions

MAX_CLICKS = 50
TABLE, SUMMARY = "clicks.csv", "clicks.json"


def evaluate_clicks(
    run: Run,
    model: LoadedModel | None = None,
    *,
    num_clicks: int = 7,
    with_base: bool = True,
    progress: Progress = SILENT,
) -> list[ClickSummary]:
    """Scores after 0 to `num_clicks` corrections of a first box, and of a first point.

    They go into `clicks.csv` and `clicks.json` of the run, which `report` draws. Each object is
    asked for as `evaluate` does; each click goes to the middle of the largest mistake. Without
    `with_base` the tuned model alone is scored.

    Raises
    ------
    SettingsError
        The number of clicks is negative, or beyond all patience.
    InputError
        No test section has a mitochondrion.
    """
    require_patience(num_clicks)
    model = model or load_base(run.settings)
    scores = list(_scores(run, model, "base", num_clicks, progress)) if with_base else []
    if run.tuned_weights.exists():
        model = with_tuned(model, run.tuned_weights, run.settings.cache)
        scores += _scores(run, model, "tuned", num_clicks, progress)
    if not scores:
        raise InputError("no mitochondria in the sections to report on; choose others with [split]")
    summary = summarise_clicks(scores, run.settings.seed)
    write_csv(run.folder / TABLE, scores)
    write_json(run.folder / SUMMARY, summary)
    return summary


def require_patience(num_clicks: int) -> None:
    """Raise SettingsError if the number of clicks is negative, or beyond all patience."""
    if not 0 <= num_clicks <= MAX_CLICKS:
        raise SettingsError(f"clicks must lie in 0 to {MAX_CLICKS}, got {num_clicks}")


def _scores(
    run: Run, model: LoadedModel, method: ScoredMethod, num_clicks: int, progress: Progress
) -> Iterator[ClickScore]:
    title = f"correcting the {method} model by clicks"
    for asked in ask(run, progress, title):
        key = model.cache.fill_one(asked.tile.pixels(), asked.tile.frame(model.sam.input_px))
        embedding = torch.from_numpy(np.asarray(model.cache.load(key))).float()[None]
        chooses = run.settings.evaluation.point_mask == "chosen"
        for start in STARTS:
            wanted = [one for one in asked.questions if one.subject.protocol == start]
            for first in range(0, len(wanted), MAX_PROMPTS):
                dialogues = [
                    _Dialogue(question=one, start=start, chooses=chooses)
                    for one in wanted[first : first + MAX_PROMPTS]
                ]
                yield from _talk(model.sam, embedding, asked, dialogues, method, num_clicks)


@dataclass(slots=True, kw_only=True)
class _Dialogue:
    """One object's prompts so far, and its last answer."""

    question: Question
    start: Start
    chooses: bool
    """Whether a point alone is answered by the candidate with the highest predicted IoU."""
    clicks: list[Click] = field(default_factory=list)
    answer: Bool[np.ndarray, "h w"] | None = None
    predicted_iou: float = float("nan")
    low_res_logits: Float[torch.Tensor, "m m"] | None = None
    """Of the last answer, which the next click corrects."""

    def go_on(self, corner_xy: Float[np.ndarray, " 2"]) -> bool:
        """Add the next click, in section pixels; False where nothing is wrong any more."""
        if self.answer is None:
            return True
        click = next_click(self.answer, self.question.truth)
        if click is None:
            return False
        x, y = corner_xy
        self.clicks.append(Click(x=click.x + x, y=click.y + y, positive=click.positive))
        return True

    def points(self) -> list[tuple[float, float, int]]:
        """All points asked with so far: x, y and label."""
        given = [(one.x, one.y, int(one.positive)) for one in self.clicks]
        if self.start == "object-point" and self.question.point_xy is not None:
            x, y = self.question.point_xy
            return [(float(x), float(y), 1), *given]
        return given

    @property
    def outputs(self) -> Outputs:
        """The masks to ask for: for a point alone the candidates, if they are wanted."""
        alone = self.start == "object-point" and not self.clicks
        return "multi" if self.chooses and alone else "single"

    def score(self, method: ScoredMethod, clicks: int) -> ClickScore:
        """How good the last answer is."""
        assert self.answer is not None
        subject, truth = self.question.subject, self.question.truth
        return ClickScore(
            start=self.start,
            method=method,
            volume=subject.volume,
            section=subject.section,
            y=subject.y,
            x=subject.x,
            object_id=subject.object_id,
            clicks=clicks,
            truth_px=int(truth.sum()),
            predicted_px=int(self.answer.sum()),
            intersection_px=int((self.answer & truth).sum()),
            predicted_iou=self.predicted_iou,
        )


def _talk(
    sam: Promptable,
    embedding: Float[torch.Tensor, "1 C h w"],
    asked: TileQuestions,
    dialogues: Sequence[_Dialogue],
    method: ScoredMethod,
    num_clicks: int,
) -> Iterator[ClickScore]:
    """All objects' scores after each round; one that is right stays as it is."""
    for clicks in range(num_clicks + 1):
        open_ones = [one for one in dialogues if one.go_on(_corner_xy(asked, one.question))]
        if open_ones:
            _answer(sam, embedding, asked, open_ones)
        yield from (one.score(method, clicks) for one in dialogues)


def _corner_xy(asked: TileQuestions, question: Question) -> Float[np.ndarray, " 2"]:
    """Where the question's window begins, in section pixels."""
    tile = asked.tile.window
    return np.array([tile.x + question.window.x, tile.y + question.window.y], float)


@torch.inference_mode()
def _answer(
    sam: Promptable,
    embedding: Float[torch.Tensor, "1 C h w"],
    asked: TileQuestions,
    dialogues: Sequence[_Dialogue],
) -> None:
    """Ask for all of them at once: they have as many points each."""
    frame = asked.tile.frame(sam.input_px)
    prompts = ModelPrompts.from_section(_prompts(dialogues), frame)
    earlier = [one.low_res_logits for one in dialogues if one.low_res_logits is not None]
    if earlier:
        prompts = replace(prompts, masks=torch.stack(earlier)[None])
    decoded = decode_each(sam, embedding, prompts, dialogues[0].outputs)
    ious, best = decoded.iou_predictions[0].max(dim=1)
    low_res = decoded.low_res_logits[0, torch.arange(len(best), device=best.device), best]
    masks = (upsample_logits(low_res, frame.tile_px) > 0).cpu().numpy()
    for one, mask, iou, logits in zip(dialogues, masks, ious.tolist(), low_res, strict=True):
        one.answer, one.predicted_iou = one.question.window.cut(mask), iou
        one.low_res_logits = logits


def _prompts(dialogues: Sequence[_Dialogue]) -> Prompts:
    boxes = None
    if dialogues[0].start == "object-box":
        boxes = np.stack([one.question.box_xyxy for one in dialogues])
    points = np.array([one.points() for one in dialogues], float)
    if not points.size:
        return Prompts(boxes_xyxy=boxes)
    return Prompts(
        boxes_xyxy=boxes,
        points_xy=points[..., :2],
        point_labels=points[..., 2].astype(np.int64),
    )


def read_click_scores(run: Run) -> list[ClickScore]:
    """Every score that `evaluate_clicks` wrote."""
    return read_csv(run.folder / TABLE, _click_score)


def _click_score(row: Mapping[str, str]) -> ClickScore:
    texts = {"start", "method", "volume"}
    return ClickScore(
        **{
            name: text if name in texts else int(text)
            for name, text in row.items()
            if name != "predicted_iou"
        },  # type: ignore[arg-type]
        predicted_iou=float(row["predicted_iou"] or "nan"),
    )


def read_clicks(run: Run) -> list[ClickSummary]:
    """What `evaluate_clicks` wrote; empty where it was not asked.

    Raises
    ------
    InputError
        It is damaged.
    """
    path = run.folder / SUMMARY
    if not path.exists():
        return []
    try:
        return [
            ClickSummary(**(row | {"interval": Interval(**row["interval"])}))
            for row in read_json(path)
        ]
    except (TypeError, LookupError) as error:
        raise damaged(path, str(error)[:200], way_out="run `mitosam evaluate` again") from error
