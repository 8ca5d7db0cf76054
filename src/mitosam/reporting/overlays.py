"""Cases as pictures: contours over the EM image, drawn by the browser so that they stay sharp."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import imageio.v3 as iio
import numpy as np
from jaxtyping import Bool, UInt8

from mitosam.evaluation.scores import Score
from mitosam.reporting.content import Case
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
class ScaleBar:
    """A round length, in pixels and in words."""

    length_px: float
    label: str


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


def outline_path(mask: Bool[np.ndarray, "height width"]) -> str:
    """SVG path of a mask's outlines, holes included, in pixel edges; "" for an empty mask."""
    # Imported here: SciPy and scikit-image take a second that `--help` should not wait for.
    from skimage.measure import find_contours

    outlines = find_contours(np.pad(mask, 1).astype(np.float32), 0.5)
    # -0.5: find_contours counts pixel centres, the page pixel edges, and the padding took one.
    return "".join(
        "M" + "L".join(f"{x - 0.5:g},{y - 0.5:g}" for y, x in outline[:-1]) + "Z"
        for outline in outlines
    )


def png_uri(image: UInt8[np.ndarray, "height width"]) -> str:
    """The image as a PNG inside a data: address."""
    encoded: bytes = iio.imwrite("<bytes>", image, extension=".png")
    return "data:image/png;base64," + base64.b64encode(encoded).decode("ascii")


def choose_scale_bar(width_px: int, pixel_nm: float) -> ScaleBar:
    """The longest of 1, 2, 5, 10, ... nm that fills at most a third of the image's width.

    >>> choose_scale_bar(256, 5.0)
    ScaleBar(length_px=40.0, label='200 nm')
    """
    room_nm = width_px * pixel_nm / 3 * (1 + 1e-9)  # log10 may round up to the next decade
    decade = 10.0 ** np.floor(np.log10(room_nm))
    length_nm = float(decade * max(step for step in (1, 2, 5) if step * decade <= room_nm))
    micrometres = length_nm >= 1000
    label = f"{length_nm / 1000:g} µm" if micrometres else f"{length_nm:g} nm"
    return ScaleBar(length_px=length_nm / pixel_nm, label=label)


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
