"""The previews and the page of a segmented volume."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped, UInt8

from mitosam.geometry import Box
from mitosam.io.open import open_volume
from mitosam.io.volume import Volume
from mitosam.morphometry.instances import InstanceRow
from mitosam.progress import SILENT, Progress
from mitosam.reporting.instances import InstanceRow as PageRow
from mitosam.storage import atomic_path

METHOD_WORDS = {
    "head": "the prompt-free head",
    "prompted": "the prompt-free head and the mask decoder",
    "grid": "a grid of points",
}
MAX_PREVIEW_PX = 1024
NUM_FIGURES = 6
JPEG_QUALITY = 85
MAX_PREVIEWS = 1000
PICTURE_PX = 4096
"""Larger sections are looked at through every second, third ... pixel."""
TURNED_PX = 2048
"""No longer are the sides of sections that the turntable is drawn of."""
ROWS_AT_ONCE = 512
ReadBox = Callable[[Box], Shaped[np.ndarray, "z y x"]]


class Pictures:
    """The sections of an image and of its labels, of which pages show only so many pixels."""

    def __init__(self, read_box: ReadBox, labels: Path) -> None:
        self._read_box = read_box
        self._path = labels
        self.labels = open_volume(labels)
        self.step_px = max(1, -(-max(self.labels.shape_zyx[1:]) // PICTURE_PX))

    def grey(self, z: int) -> UInt8[np.ndarray, "h w"]:
        """Every `step_px`-th pixel of section `z` of the image."""
        return self._thinned(self._read_box, z)

    def ids(self, z: int) -> Int[np.ndarray, "h w"]:
        """The same pixels of the labels."""
        return self._thinned(self.labels.box, z)

    def overview(self) -> Volume:
        """The labels, or the first coarser level of them that is small enough to be turned."""
        levels = (open_volume(self._path / str(number)) for number in itertools.count())
        return next(v for v in levels if max(v.shape_zyx[1:]) <= TURNED_PX)

    def _thinned(self, read: ReadBox, z: int) -> Shaped[np.ndarray, "h w"]:
        _, height, width = self.labels.shape_zyx
        step, rows = self.step_px, self.step_px * ROWS_AT_ONCE
        boxes = (Box((z, y, 0), (z + 1, min(y + rows, height), width))
                 for y in range(0, height, rows))  # fmt: skip
        return np.concatenate([read(box)[0, ::step, ::step] for box in boxes])


def write_previews(
    folder: Path,
    pictures: Pictures,
    num_instances: int,
    progress: Progress = SILENT,
) -> None:
    """A JPEG a section with the instances' outlines, at most 1024 pixels wide and high.

    Of more than `MAX_PREVIEWS` sections, as many evenly spaced ones are drawn.
    """
    import imageio.v3 as iio

    from mitosam.reporting.colours import palette

    colours = np.rint(255 * palette(num_instances + 1).clip(0, 1)).astype(np.uint8)
    folder.mkdir(parents=True, exist_ok=True)
    num_sections = len(pictures.labels)
    digits = max(4, len(str(num_sections)))
    chosen = np.unique(np.linspace(0, num_sections - 1, min(num_sections, MAX_PREVIEWS)).round())
    for z in progress.track(chosen.astype(int).tolist(), "drawing previews", unit="section"):
        path = folder / f"section_{z + 1:0{digits}d}.jpg"
        if not path.exists():
            picture = outline_instances(pictures.grey(z), pictures.ids(z), colours)
            with atomic_path(path) as temporary:
                iio.imwrite(temporary, picture, quality=JPEG_QUALITY)


def outline_instances(
    image: UInt8[np.ndarray, "height width"],
    labels: Int[np.ndarray, "height width"],
    colours: UInt8[np.ndarray, "ids 3"],
) -> UInt8[np.ndarray, "h w 3"]:
    """The section in grey with each instance's rim in its colour; ids count from 1."""
    step = max(1, -(-max(image.shape) // MAX_PREVIEW_PX))
    grey, small = image[::step, ::step], np.asarray(labels[::step, ::step])
    rim = np.zeros(small.shape, bool)
    for axis in (0, 1):
        for shift in (1, -1):
            moved = np.roll(small, shift, axis)
            edge = [slice(None)] * 2
            edge[axis] = slice(0, 1) if shift == 1 else slice(-1, None)
            moved[tuple(edge)] = small[tuple(edge)]
            rim |= (small > 0) & (moved != small)
    picture = np.repeat(grey[..., None], 3, axis=2)
    picture[rim] = colours[small[rim].astype(np.int64) - 1]
    return picture


def write_segment_report(
    path: Path,
    facts: Mapping[str, Any],
    rows: Sequence[InstanceRow],
    pictures: Pictures,
    *,
    title: str,
    progress: Progress = SILENT,
) -> Path:
    """The page: numbers, a turntable, previews, distributions, and how it was made."""
    from mitosam.reporting.colours import instance_colours
    from mitosam.reporting.outlines import choose_sections, draw_preview
    from mitosam.reporting.segmentation import SegmentationContent, write_segmentation_page
    from mitosam.reporting.turntable import render_turntable

    progress.say("drawing the report")
    size, shape_zyx = facts["voxel_size_nm"], pictures.labels.shape_zyx
    turntable = None
    if shape_zyx[0] > 1:
        seen = pictures.overview()
        turntable = render_turntable(
            seen.shape_zyx, seen.section, voxel_size_nm=_coarser(size, shape_zyx, seen.shape_zyx)
        )
    colours = turntable.colours if turntable else instance_colours([row.instance for row in rows])
    pixel_nm = size[2] * pictures.step_px if size and math.isclose(size[1], size[2]) else None
    previews = [
        draw_preview(
            pictures.grey(z),
            pictures.ids(z),
            colours,
            title=f"Section {z + 1}",
            pixel_nm=pixel_nm,
        )
        for z in choose_sections(shape_zyx[0], NUM_FIGURES)
    ]
    content = SegmentationContent(
        title=title,
        volume_name=facts["volume"],
        shape_zyx=shape_zyx,
        voxel_size_nm=size,
        model=facts["model"],
        method=METHOD_WORDS[facts["method"]],
        instances=[_row(row, calibrated=size is not None) for row in rows],
        settings=_settings(facts),
        seconds=list(facts["seconds"].items()),
        messages=_messages(facts),
        previews=previews,
        turntable=turntable,
        provenance=[
            (name.replace("_", " "), str(facts[name]))
            for name in ("base_model", "precision", "segmented", "mitosam_version")
        ],
    )
    return write_segmentation_page(path, content)


def _coarser(
    size_nm: tuple[float, float, float] | None,
    shape_zyx: tuple[int, int, int],
    coarse_zyx: tuple[int, int, int],
) -> tuple[float, float, float] | None:
    """The voxel size of a coarser level of a volume."""
    if size_nm is None:
        return None
    z, y, x = (
        size * 2 ** round(math.log2(n / coarse))
        for size, n, coarse in zip(size_nm, shape_zyx, coarse_zyx, strict=True)
    )
    return z, y, x


def _row(row: InstanceRow, *, calibrated: bool) -> PageRow:
    """What the page says of an instance; in µm where the voxel size is known."""
    measured = {
        "volume": row.volume_um3,
        "length": row.length_nm / 1000,
        "nearest_distance": row.nearest_neighbour_nm / 1000,
        "section_area": row.largest_area_um2,
        "sphericity": row.sphericity,
    }
    known = {n: v for n, v in measured.items() if calibrated and not math.isnan(v)}
    if not calibrated:
        known |= {"volume": float(row.num_voxels), "section_area": float(row.largest_area_px)}
    return PageRow(
        label=row.instance,
        num_voxels=row.num_voxels,
        at_border=row.touches_border,
        first_section=row.z0,
        last_section=row.z1 - 1,
        **known,
    )


def _settings(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = [(name.replace("_", " "), f"{value:g}") for name, value in facts["instances"].items()]
    rows += [(n.replace("_", " "), str(value)) for n, value in facts["method_settings"].items()]
    for method, score in facts["validation_scores"].items():
        rows.append((f"score on validation sections, {method}", f"{score:.3f}"))
    return rows


def _messages(facts: Mapping[str, Any]) -> list[str]:
    messages = [f"{remark[0].upper()}{remark[1:]}." for remark in facts["remarks"]]
    if facts["validation_sections"] == 0:
        messages.append(
            "The model's thresholds were not chosen on validation sections: they are defaults."
        )
    if facts["voxel_size_nm"] is None:
        messages.append("The voxel size is unknown, so that all sizes are in pixels and voxels.")
    return messages
