"""Sections with the outlines of instances over them: as found, or held against the truth."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Integer, UInt8

from mitosam.errors import InputError
from mitosam.reporting.drawing import ScaleBar, choose_scale_bar, outline_path, webp_uri

MAX_IMAGE_PX = 1400
_QUALITY = 85
_UNKNOWN_COLOUR = "#ffffff"

Section = UInt8[np.ndarray, "height width"]
Labels = Integer[np.ndarray, "height width"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """One instance's outline; `style` names its CSS class, `colour` overrules the class's.

    `mark` is a short word at the middle of the instance, where it has one.
    """

    style: str
    path: str
    colour: str = ""
    mark: str = ""
    mark_xy: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlinedSection:
    """A section, ready for the page; coordinates are pixel edges of the whole section."""

    title: str
    caption: str
    image_uri: str
    width: int
    height: int
    outlines: tuple[Outline, ...]
    scale_bar: ScaleBar | None


def draw_preview(
    image: Section,
    labels: Labels,
    colours: Mapping[int, str],
    *,
    title: str,
    pixel_nm: float | None = None,
) -> OutlinedSection:
    """The section with every instance outlined in its own colour, white where it has none."""
    _check_shapes(image, labels=labels)
    outlines = tuple(
        Outline(
            style="instance",
            path=outline_path(mask, corner_yx=corner),
            colour=colours.get(label, _UNKNOWN_COLOUR),
        )
        for label, mask, corner in instances_of(labels)
    )
    caption = f"{len(outlines)} instance{'' if len(outlines) == 1 else 's'}"
    return _outlined(image, outlines, title=title, caption=caption, pixel_nm=pixel_nm)


def draw_finds(
    image: Section,
    predicted: Labels,
    truth: Labels,
    *,
    hits: Collection[int],
    false_finds: Collection[int],
    misses: Collection[int],
    title: str,
    caption: str = "",
    pixel_nm: float | None = None,
) -> OutlinedSection:
    """The section with what was found, found falsely and missed.

    `hits` and `false_finds` are labels of `predicted`, `misses` of `truth`. Besides their colours,
    hits have solid lines and the truth under them thin ones, false finds dashed lines and the mark
    "F", misses dotted lines and the mark "M". Labels that stand in none of the three are not drawn.
    """
    _check_shapes(image, predicted=predicted, truth=truth)
    outlines = [
        *_marked(truth, misses, style="missed", mark="M"),
        *_marked(predicted, hits, style="hit", mark=""),
        *_marked(predicted, false_finds, style="false-find", mark="F"),
    ]
    shown = [
        f"{sum(outline.style == style for outline in outlines)} {word}"
        for style, word in (("hit", "found"), ("false-find", "false"), ("missed", "missed"))
    ]
    caption = "; ".join(part for part in (caption, ", ".join(shown)) if part)
    return _outlined(image, tuple(outlines), title=title, caption=caption, pixel_nm=pixel_nm)


def instances_of(
    labels: Labels,
) -> Iterator[tuple[int, Bool[np.ndarray, "h w"], tuple[int, int]]]:
    """Each label but 0 with its mask, cut to its box, and the box's upper left corner."""
    from scipy.ndimage import find_objects

    values, place = np.unique(labels, return_inverse=True)
    compact = place.reshape(labels.shape).astype(np.int32) + 1  # find_objects leaves out 0
    for number, box in enumerate(find_objects(compact), start=1):
        label = int(values[number - 1])
        if label:
            yield label, compact[box] == number, (box[0].start, box[1].start)


def choose_sections(num_sections: int, num: int = 6) -> list[int]:
    """Up to `num` sections spread evenly, as indices from 0, none at the very ends if avoidable.

    >>> choose_sections(33, 3), choose_sections(2)
    ([5, 16, 27], [0, 1])
    """
    num = min(num, num_sections)
    return [int((2 * i + 1) * num_sections / (2 * num)) for i in range(num)]


def _marked(labels: Labels, wanted: Collection[int], *, style: str, mark: str) -> Iterator[Outline]:
    for label, mask, corner in instances_of(labels):
        if label in wanted:
            yield Outline(
                style=style,
                path=outline_path(mask, corner_yx=corner),
                mark=mark,
                mark_xy=_inner_point(mask, corner),
            )


def _inner_point(mask: Bool[np.ndarray, "h w"], corner_yx: tuple[int, int]) -> tuple[float, float]:
    """X and y of the pixel centre that lies deepest inside."""
    from scipy.ndimage import distance_transform_edt

    depth = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(np.argmax(depth), mask.shape)
    return float(corner_yx[1] + x + 0.5), float(corner_yx[0] + y + 0.5)


def _outlined(
    image: Section,
    outlines: tuple[Outline, ...],
    *,
    title: str,
    caption: str,
    pixel_nm: float | None,
) -> OutlinedSection:
    height, width = image.shape
    return OutlinedSection(
        title=title,
        caption=caption,
        image_uri=webp_uri(_at_most(image, MAX_IMAGE_PX), quality=_QUALITY),
        width=width,
        height=height,
        outlines=outlines,
        scale_bar=None if pixel_nm is None else choose_scale_bar(width, pixel_nm),
    )


def _at_most(image: Section, side_px: int) -> Section:
    """The image, or the means of as many of its pixels as make it fit."""
    step = -(-max(image.shape) // side_px)
    if step == 1:
        return image
    rest = [(0, -length % step) for length in image.shape]
    padded = np.pad(image, rest, mode="edge")
    rows, columns = padded.shape[0] // step, padded.shape[1] // step
    blocks = padded.reshape(rows, step, columns, step).mean(axis=(1, 3))
    means: Section = np.rint(blocks).astype(np.uint8)
    return means


def _check_shapes(image: Section, **labels: Labels) -> None:
    for name, array in labels.items():
        if array.shape != image.shape:
            raise InputError(
                f"{name} must have the shape of the image, got {array.shape} with {image.shape}"
            )
