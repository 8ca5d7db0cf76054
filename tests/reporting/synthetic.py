"""Reports made from numbers and blobs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from mitosam.evaluation.cases import choose_cases
from mitosam.evaluation.scores import Protocol, Score
from mitosam.evaluation.summary import compare, summarise
from mitosam.reporting.content import Case, CurvePoint, Report
from tests.evaluation.synthetic import make_score

GAIN_PERCENT = 20


def make_scores(
    num: int = 24,
    *,
    gain_percent: int = GAIN_PERCENT,
    protocols: Sequence[Protocol] = ("patch-box",),
) -> list[Score]:
    """Base and tuned scores and both rivals on `num` patches of 6 sections."""
    rng = np.random.default_rng(0)
    scores = []
    for protocol in protocols:
        for i in range(num):
            base = int(rng.integers(40, 60))
            tuned = base + gain_percent + int(rng.integers(-3, 4))
            where = {"section": i % 6, "x": 256 * i, "num_objects": 1 + i % 5}
            for method, value in (
                ("base", base),
                ("tuned", tuned),
                ("filled box", 45),
                ("inscribed ellipse", 55),
            ):
                scores.append(make_score(value, method=method, protocol=protocol, **where))
    return scores


def make_case(base: Score, tuned: Score, why: str = "best") -> Case:
    """A disc as truth, a smaller one from the base model, a shifted one from the tuned model."""
    y, x = np.ogrid[:48, :64]
    return Case(
        image=((x * 3 + y * 2) % 256).astype(np.uint8),
        truth=(y - 24) ** 2 + (x - 30) ** 2 < 225,
        base=(y - 24) ** 2 + (x - 30) ** 2 < 100,
        tuned=(y - 24) ** 2 + (x - 32) ** 2 < 225,
        base_score=base,
        tuned_score=tuned,
        why=why,
        box_xyxy=np.array([15.0, 9, 46, 40]),
        pixel_nm=5,
    )


def make_curve(num: int = 60) -> list[CurvePoint]:
    """A falling loss, validated every 20 steps."""
    return [
        CurvePoint(
            step=step,
            epoch=step / 20,
            seconds=step * 0.2,
            loss=math.exp(-step / 30),
            learning_rate=1e-4,
            validation_dice=0.8 if step % 20 == 0 else None,
            validation_iou=0.7 if step % 20 == 0 else None,
        )
        for step in range(1, num + 1)
    ]


def make_report(scores: Sequence[Score] | None = None, **changes: object) -> Report:
    """A full report, of these scores or of 24 patches that tuning helped."""
    scores = make_scores() if scores is None else scores
    cases = [make_case(c.base, c.tuned, c.why) for c in choose_cases(scores, num_each=1)]
    report = Report(
        title="Mitochondria in cells",
        scores=scores,
        summaries=summarise(scores, seed=0),
        differences=compare(scores, seed=0),
        cases=cases,
        curve=make_curve(),
        counts=[("patches", 1980), ("without mitochondria, left out", 340)],
        split="By slabs of sections: 1 to 128 for training, 133 to 165 scored.",
        notes=["The split is random and therefore leaky."],
        provenance=[("model", "vit_t"), ("seed", "0")],
    )
    return dataclasses.replace(report, **changes)
