"""Reports made from numbers and blobs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from mitosam.evaluation.cases import choose_cases
from mitosam.evaluation.scores import Protocol, Score
from mitosam.evaluation.summary import compare, summarise
from mitosam.reporting.automatic_content import AutomaticContent, MethodScores, SectionPoint
from mitosam.reporting.content import Case, CurvePoint, Report
from mitosam.reporting.instances import InstanceRow
from mitosam.reporting.outlines import draw_finds
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


def make_instances(num: int = 12, *, measured: bool = True) -> list[InstanceRow]:
    """Instances of growing size, every third at the border."""
    return [
        InstanceRow(
            label=i + 1,
            num_voxels=1000 * (i + 1),
            at_border=i % 3 == 0,
            first_section=i,
            last_section=i + 8,
            volume=0.001 * (i + 1) ** 2 if measured else None,
            length=0.1 * (i + 1) if measured else None,
            sphericity=1 / (1 + 0.05 * i) if measured else None,
            section_area=0.02 * (i + 1) if measured else None,
            nearest_distance=0.3 + 0.01 * i if measured else None,
        )
        for i in range(num)
    ]


def make_method(method: str = "head", loss: float = 0.0, **changes: object) -> MethodScores:
    """A method's scores on five sections, all lower by `loss`."""
    names = ("foreground_iou", "foreground_dice", "msa", "ap50", "ap75", "f1", "panoptic_quality")
    sections = ("section_iou", "section_msa", "section_ap50", "section_f1")
    scores = MethodScores(
        method=method,
        **{name: 0.9 - 0.05 * i - loss for i, name in enumerate((*names, *sections))},
        num_true=12,
        num_predicted=14,
        relative_volume_error=-0.034,
        asd_nm=20.0,
        sections=[SectionPoint(section=z, f1=0.8 - 0.1 * z, iou=0.7) for z in range(5)],
    )
    return dataclasses.replace(scores, **changes)


def make_blocks() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An image, found labels and true labels: 1 is hit by 7, 9 is false, 2 is missed."""
    truth = np.zeros((40, 60), np.uint16)
    predicted = np.zeros_like(truth)
    truth[5:15, 5:20] = 1
    truth[25:35, 5:20] = 2
    predicted[6:15, 5:21] = 7
    predicted[10:20, 40:50] = 9
    return (np.indices(truth.shape).sum(0) * 2).astype(np.uint8), predicted, truth


def make_automatic(**changes: object) -> AutomaticContent:
    """Two methods and a picture."""
    image, predicted, truth = make_blocks()
    picture = draw_finds(
        image, predicted, truth, hits={7}, false_finds={9}, misses={2}, title="Best: section 1"
    )
    content = AutomaticContent(
        title="Mitochondria in cells",
        methods=[make_method("U-Net", 0.2), make_method("head")],
        thresholds_from="on validation sections 105 to 108",
        thresholds=[("foreground", "0.45")],
        pictures=[picture],
        messages=["The sections are few."],
        provenance=[("model", "vit_t")],
    )
    return dataclasses.replace(content, **changes)
