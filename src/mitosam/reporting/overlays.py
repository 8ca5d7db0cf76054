"""Cases as pictures: contours over the EM image, drawn by the browser so that they stay sharp."""

from __future__ import annotations

from dataclasses import dataclass

from mitosam.evaluation.scores import Score
from mitosam.reporting.content import Case
from mitosam.reporting.drawing import ScaleBar, choose_scale_bar, outline_path, png_uri
from mitosam.reporting.words import number, plural


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One SVG path over the image; `style` names its CSS class."""

    style: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """The image once, with what is drawn over it."""

    title: str
    caption: str
    layers: tuple[Layer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A case, ready for the page: four panels over one embedded image."""

    heading: str
    place: str
    image_uri: str
    width: int
    height: int
    panels: tuple[Panel, ...]
    scale_bar: ScaleBar | None


def draw_case(case: Case) -> Picture:
    """The image, the truth, and the base and the tuned model's masks against the truth."""
    truth = outline_path(case.truth)
    prompt = () if case.box_xyxy is None else (Layer(style="prompt", path=_box_path(case)),)
    height, width = case.image.shape
    return Picture(
        heading=_gain_words(case),
        place=_place(case.base_score),
        image_uri=png_uri(case.image),
        width=width,
        height=height,
        panels=(
            Panel(title="Image", caption="", layers=prompt),
            Panel(title="Truth", caption="", layers=(Layer(style="truth", path=truth),)),
            _model_panel("Base", case.base_score, outline_path(case.base), truth),
            _model_panel("Tuned", case.tuned_score, outline_path(case.tuned), truth),
        ),
        scale_bar=None if case.pixel_nm is None else choose_scale_bar(width, case.pixel_nm),
    )


def _model_panel(title: str, score: Score, path: str, truth: str) -> Panel:
    return Panel(
        title=title,
        caption=f"Dice {number(score.dice)}, IoU {number(score.iou)}",
        layers=(Layer(style=title.lower(), path=path), Layer(style="truth-line", path=truth)),
    )


def _box_path(case: Case) -> str:
    assert case.box_xyxy is not None
    x0, y0, x1, y1 = (float(side) for side in case.box_xyxy)
    return f"M{x0:g},{y0:g}H{x1:g}V{y1:g}H{x0:g}Z"


def _gain_words(case: Case) -> str:
    return f"IoU from {number(case.base_score.iou)} to {number(case.tuned_score.iou)}"


def _place(score: Score) -> str:
    holds = plural(score.num_objects, "mitochondrion")
    which = "" if score.object_id == 0 else f", object {score.object_id}"
    return (
        f"{score.volume}, section {score.section + 1}, patch at x {score.x}, y {score.y}"
        f"{which}; {holds} in the patch"
    )
