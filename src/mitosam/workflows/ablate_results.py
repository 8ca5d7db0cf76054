"""What the finished runs of a study add up to: tables, and the page's content."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mitosam.errors import InputError
from mitosam.evaluation.levels import (
    Estimate,
    Metric,
    SectionTotal,
    by_prompt,
    estimate_difference,
    estimate_mean,
    on_shared_sections,
    sample_of,
)
from mitosam.evaluation.scores import PROTOCOLS
from mitosam.reporting.ablation_content import Ablation, Block, Level, LevelScore, Prompt
from mitosam.workflows.ablate_cells import Cost, is_finished, read_cost, read_totals
from mitosam.workflows.prepare import describe_split
from mitosam.workflows.provenance import provenance_rows, split_notes
from mitosam.workflows.runs import Run
from mitosam.workflows.study import BASE, Arm, Cell, Study

UNTUNED = "not tuned"
_METRICS: dict[bool, tuple[Metric, ...]] = {True: ("dice", "iou"), False: ("dice", "iou", "msa")}
BOOTSTRAP_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CellResult:
    """A finished run."""

    cell: Cell
    totals: list[SectionTotal]
    cost: Cost


def read_results(folder: Path, cells: Iterable[Cell]) -> list[CellResult]:
    """The cells that are finished."""
    return [
        CellResult(
            cell=cell,
            totals=read_totals(folder / cell.name),
            cost=read_cost(folder / cell.name),
        )
        for cell in cells
        if is_finished(folder / cell.name)
    ]


def result_rows(results: Sequence[CellResult]) -> list[dict[str, Any]]:
    """A row for each level, seed and prompt; the base's model before training is one more level."""
    rows = []
    for result in results:
        for arm in result.cell.arms:
            rows += _rows(result, arm, "tuned")
            if arm.factor == BASE:
                rows += _rows(result, arm, "base")
    return rows


def _rows(result: CellResult, arm: Arm, method: str) -> list[dict[str, Any]]:
    groups = by_prompt(one for one in result.totals if one.method == method)
    tuned = method == "tuned"
    return [
        {
            "factor": arm.factor,
            "level": arm.label if tuned else UNTUNED,
            "seed": result.cell.seed,
            "prompt": kind,
            "clicks": clicks,
            "sections": len(totals),
            "count": _count(totals),
            "dice": _mean(totals, "dice"),
            "iou": _mean(totals, "iou"),
            "msa": None if kind == "patch-box" else _mean(totals, "msa"),
            "seconds_trained": result.cost.seconds_trained if tuned else None,
            "peak_memory_mb": round(result.cost.peak_memory_bytes / 1e6) if tuned else None,
            "peak_device_mb": _megabytes(result.cost.peak_device_bytes) if tuned else None,
            "run": result.cell.name,
        }
        for (kind, clicks), totals in sorted(groups.items(), key=lambda one: _order(*one[0]))
    ]


def _megabytes(count: int | None) -> int | None:
    return None if count is None else round(count / 1e6)


def _mean(totals: Sequence[SectionTotal], metric: Metric) -> float:
    return round(sample_of([totals], metric).mean, 6)


def ablation_of(study: Study, results: Sequence[CellResult], folder: Path, num: int) -> Ablation:
    """The page's content, of `num` cells in all.

    Raises
    ------
    InputError
        No run of the base is finished.
    """
    own = _of_arm(results, study.base)
    if not own:
        raise InputError("nothing can be compared yet: no run of the base is finished")
    base = _level(study.base, own, own)
    blocks: dict[str, list[Level]] = {}
    for arm in study.arms[1:]:
        mine = _of_arm(results, arm)
        blocks.setdefault(arm.factor, []).append(
            base_like(arm, base) if _same(mine, own) else _level(arm, mine, own)
        )
    first = Run.open(folder / own[0].cell.name)
    parts = first.parts()
    shown = {one.prompt for one in base.scores}
    last = max((prompt.clicks for prompt in shown), default=0)
    return Ablation(
        title=study.title,
        base=base,
        untuned=_untuned(study.base, own),
        blocks=[Block(name=name, levels=levels) for name, levels in blocks.items()],
        prompts=sorted(
            (prompt for prompt in shown if prompt.clicks in (0, last)),
            key=lambda prompt: _order(prompt.kind, prompt.clicks),
        ),
        seeds=study.seeds,
        num_finished=len(results),
        num_cells=num,
        notes=[*split_notes(parts), *_notes(study, results, base, num)],
        split=" ".join(f"{part.volume.name}: {describe_split(part.split)}." for part in parts),
        provenance=provenance_rows(first),
    )


def base_like(arm: Arm, base: Level) -> Level:
    """A level that comes to the base's own settings: the base under another name."""
    return Level(
        factor=arm.factor,
        label=arm.label,
        scores=base.scores,
        num_seeds=base.num_seeds,
        seconds_trained=base.seconds_trained,
        peak_memory_bytes=base.peak_memory_bytes,
        values=arm.values,
        is_base=True,
    )


def _of_arm(results: Sequence[CellResult], arm: Arm) -> list[CellResult]:
    return [result for result in results if any(one is arm for one in result.cell.arms)]


def _same(first: Sequence[CellResult], second: Sequence[CellResult]) -> bool:
    return bool(first) and [one.cell.name for one in first] == [one.cell.name for one in second]


def _level(arm: Arm, results: Sequence[CellResult], base: Sequence[CellResult]) -> Level:
    """A level's scores over its seeds, compared with the base's of the same seeds."""
    seeds = {result.cell.seed for result in results}
    costs = [result.cost for result in results]
    return Level(
        factor=arm.factor,
        label=arm.label,
        scores=_scores(
            [result.totals for result in results],
            [result.totals for result in base if result.cell.seed in seeds],
            is_base=arm.factor == BASE,
        ),
        num_seeds=len(results),
        seconds_trained=sum(c.seconds_trained for c in costs) / len(costs) if costs else None,
        peak_memory_bytes=sum(c.peak_memory_bytes for c in costs) / len(costs) if costs else None,
        values=arm.values,
        is_base=arm.factor == BASE,
    )


def _untuned(arm: Arm, results: Sequence[CellResult]) -> Level | None:
    """The model as it came, on the prompts of the base."""
    before = [[one for one in result.totals if one.method == "base"] for result in results]
    if not all(before):
        return None
    renamed = [[_as_tuned(one) for one in totals] for totals in before]
    return Level(
        factor=BASE,
        label=UNTUNED,
        scores=_scores(renamed, [result.totals for result in results], is_base=False),
        num_seeds=len(results),
        values=arm.values,
    )


def _as_tuned(total: SectionTotal) -> SectionTotal:
    return replace(total, method="tuned")


def _scores(
    totals: Sequence[Sequence[SectionTotal]],
    base: Sequence[Sequence[SectionTotal]],
    *,
    is_base: bool,
) -> list[LevelScore]:
    mine, theirs = ([by_prompt(_tuned(one)) for one in seeds] for seeds in (totals, base))
    shared = set.intersection(*(set(one) for one in [*mine, *theirs])) if mine and theirs else set()
    scores = []
    for kind, clicks in sorted(shared, key=lambda key: _order(*key)):
        own, other = ([one[kind, clicks] for one in seeds] for seeds in (mine, theirs))
        scores += [
            _score(Prompt(kind=kind, clicks=clicks), metric, own, None if is_base else other)
            for metric in _METRICS[kind == "patch-box"]
        ]
    return scores


def _tuned(totals: Iterable[SectionTotal]) -> list[SectionTotal]:
    return [one for one in totals if one.method == "tuned"]


def _score(
    prompt: Prompt,
    metric: Metric,
    own: Sequence[Sequence[SectionTotal]],
    base: Sequence[Sequence[SectionTotal]] | None,
) -> LevelScore:
    sample = sample_of(own, metric)
    difference: Estimate | None = None
    if base is not None:
        pair = on_shared_sections(sample, sample_of(base, metric))
        difference = estimate_difference(*pair, seed=BOOTSTRAP_SEED)
    counts = [_count(totals) for totals in own]
    return LevelScore(
        prompt=prompt,
        metric=metric,
        mean=estimate_mean(sample, seed=BOOTSTRAP_SEED),
        difference=difference,
        num_seeds=len(sample.sums),
        num_sections=len(sample.sections),
        count=sum(counts) / len(counts),
        is_like_the_base=base is None or counts == [_count(totals) for totals in base],
    )


def _count(totals: Sequence[SectionTotal]) -> int:
    return sum(one.count for one in totals)


def _order(kind: str, clicks: int) -> tuple[int, int, str]:
    known = [str(protocol) for protocol in PROTOCOLS]
    return clicks, known.index(kind) if kind in known else len(known), kind


def _notes(study: Study, results: Sequence[CellResult], base: Level, num: int) -> list[str]:
    notes = []
    if len(results) < num:
        notes.append(
            f"Only {len(results)} of {num} runs are finished; the same command with --resume "
            "goes on."
        )
    if one := _with_one_seed(study, results):
        notes.append(
            f"{one} one seed: such intervals speak of other sections of this volume only. How far "
            "the same training would end elsewhere with another seed is not in them, so that a "
            "difference which they call clear may still be chance."
        )
    sections = min((score.num_sections for score in base.scores), default=0)
    if any(score.mean.resampled == "nothing" for score in base.scores):
        notes.append(
            f"Only {sections} test sections: too few to draw from, so there are no intervals."
        )
    if study.base.settings.evaluation.max_sections:
        notes.append(f"At most {study.base.settings.evaluation.max_sections} sections were scored.")
    return notes


def _with_one_seed(study: Study, results: Sequence[CellResult]) -> str:
    """Which of the finished levels have one seed, as the beginning of a sentence."""
    counts = [len(_of_arm(results, arm)) for arm in study.arms]
    if 1 not in counts:
        return ""
    return "Some levels have" if max(counts) > 1 else "There is"


def summary_rows(content: Ablation) -> list[dict[str, Any]]:
    """A row for each level, prompt and metric: mean, difference to the base, and intervals."""
    levels = [content.base, *([content.untuned] if content.untuned else [])]
    levels += [level for block in content.blocks for level in block.levels]
    return [_summary_row(level, score) for level in levels for score in level.scores]


def _summary_row(level: Level, score: LevelScore) -> dict[str, Any]:
    change = score.difference
    return {
        "factor": level.factor,
        "level": level.label,
        "prompt": score.prompt.kind,
        "clicks": score.prompt.clicks,
        "metric": score.metric,
        "seeds": score.num_seeds,
        "sections": score.num_sections,
        "mean": _digits(score.mean.mean),
        "low": _digits(score.mean.low),
        "high": _digits(score.mean.high),
        "difference": change and _digits(change.mean),
        "difference_low": change and _digits(change.low),
        "difference_high": change and _digits(change.high),
        "is_clear": change and change.is_clear,
        "same_questions": score.is_like_the_base,
        "resampled": score.mean.resampled,
        "seconds_trained": level.seconds_trained,
    }


def _digits(value: float) -> float:
    return round(value, 6)
