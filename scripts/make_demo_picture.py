"""Draw the README's picture from a finished run: image, truth, base and tuned of three patches.

mitosam demo --out demo
python scripts/make_demo_picture.py demo/run
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mitosam.reporting.content import Case
from mitosam.storage import atomic_path
from mitosam.workflows.evaluate import read_evaluation
from mitosam.workflows.report import find_cases
from mitosam.workflows.runs import Run

ROOT = Path(__file__).parents[1]
Outlines = tuple[tuple[Bool[np.ndarray, "h w"], str], ...]
TRUTH, BASE, TUNED = "#3fd07f", "#ffb000", "#4db8ff"


def choose(cases: list[Case]) -> list[tuple[str, Case]]:
    """The best, a typical and the worst patch after tuning, as far as there are as many."""
    first = {case.why: case for case in reversed(cases)}
    # The worst patch may stand among those where tuning lost.
    worst = min(cases, key=lambda case: case.tuned_score.iou)
    wanted = [("best", first.get("best")), ("typical", first.get("median")), ("worst", worst)]
    return [(name, case) for name, case in wanted if case is not None]


def draw(chosen: list[tuple[str, Case]]) -> Figure:
    """A row for each patch."""
    figure = Figure(figsize=(8, 2.05 * len(chosen) + 0.2), layout="constrained")
    rows = figure.subplots(len(chosen), 4, squeeze=False)
    for (name, case), row in zip(chosen, rows, strict=True):
        truth, base, tuned = (case.truth, TRUTH), (case.base, BASE), (case.tuned, TUNED)
        panels: list[Outlines] = [(), (truth,), (truth, base), (truth, tuned)]
        for axis, outlines in zip(row, panels, strict=True):
            _panel(axis, case, outlines)
        _add_box(row[0], case)
        row[0].set_ylabel(name, fontsize=9)
        row[2].set_xlabel(f"IoU {case.base_score.iou:.2f}", fontsize=9)
        row[3].set_xlabel(f"IoU {case.tuned_score.iou:.2f}", fontsize=9)
    for axis, title in zip(rows[0], ("image, prompt", "truth", "base", "tuned"), strict=True):
        axis.set_title(title, fontsize=10)
    return figure


def _panel(axis: Axes, case: Case, outlines: Outlines) -> None:
    axis.imshow(case.image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    for mask, colour in outlines:
        if mask.any() and not mask.all():
            axis.contourf(mask, levels=[0.5, 1.5], colors=[colour], alpha=0.18)
            axis.contour(mask, levels=[0.5], colors=[colour], linewidths=1.4)
    axis.set_xticks([])
    axis.set_yticks([])


def _add_box(axis: Axes, case: Case) -> None:
    if case.box_xyxy is None:
        return
    x0, y0, x1, y1 = case.box_xyxy - 0.5  # matplotlib counts from pixel centres
    box = Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, ec="white", ls="--", lw=1.2)
    axis.add_patch(box)


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description="Draw the README's picture from a finished run.")
    parser.add_argument("run", type=Path, help="folder of a run that was scored, as demo/run")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images" / "demo.png")
    options = parser.parse_args()
    run = Run.open(options.run)
    cases = choose(find_cases(run, run.parts(), read_evaluation(run)))
    with atomic_path(options.out) as temporary:
        draw(cases).savefig(temporary, dpi=110, metadata={"Software": None})
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
