"""One segmentation: the volume, how it is read, and what segments it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from mitosam import __version__
from mitosam.config import RunSettings
from mitosam.data.intensity import (
    Normalisation,
    adopt_normalisation,
    measure_normalisation,
    read_normalised_box,
)
from mitosam.data.resampling import Resampling
from mitosam.data.spacing import section_spacing_px
from mitosam.geometry import Box
from mitosam.inference.blocks import BlockGrid
from mitosam.inference.instance_settings import InstanceSettings
from mitosam.inference.panes import PANE_PX, pane_grid
from mitosam.io.open import open_volume
from mitosam.io.place import Place
from mitosam.io.volume import Volume
from mitosam.models.promptable import hash_weights
from mitosam.models.shipped_head import WORTH
from mitosam.progress import SILENT, Progress
from mitosam.workflows.automatic import Method, Segmenter
from mitosam.workflows.automatic_model import has_shipped_head, segmenter_of, suit_shipped_head
from mitosam.workflows.calibrate import z_radius
from mitosam.workflows.tuned_model import (
    UsableModel,
    described_pixel,
    in_trained_pixels,
    load_tuned_model,
    pixel_size_remark,
)
from mitosam.workflows.voxel_sizes import VoxelSize, choose_voxel_size

CHECKED_VOXELS = 1 << 33
"""Larger volumes are known by a part of their voxels alone: reading all would take hours."""
SAMPLED_BLOCKS = 64
VIEW_PX = 2048
"""Of a larger section, this much of its middle tells how sections follow each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One volume, how it is read, and what segments it."""

    volume: Volume
    seen: Volume
    """The volume in the pixels that the model is shown: as it is, or scaled."""
    voxel_size_nm: VoxelSize | None
    normalisation: Normalisation
    usable: UsableModel
    segmenter: Segmenter
    method: Method
    instances: InstanceSettings

    @property
    def shape_zyx(self) -> tuple[int, int, int]:
        """Of the volume, in voxels."""
        return self.volume.shape_zyx

    def read_box(self, box: Box) -> UInt8[np.ndarray, "z y x"]:
        """The voxels of a box in 0 to 255."""
        return read_normalised_box(self.volume, box, self.normalisation)

    def read_seen(self, box: Box) -> UInt8[np.ndarray, "z y x"]:
        """The voxels of a box of what the model is shown, in 0 to 255."""
        return read_normalised_box(self.seen, box, self.normalisation)

    @property
    def back(self) -> Resampling | None:
        """From what the model is shown to the volume's own pixels; None where both are the same."""
        seen_yx, own_yx = self.seen.shape_zyx[1:], self.shape_zyx[1:]
        return None if seen_yx == own_yx else Resampling(seen_yx, own_yx)

    @property
    def pane_px(self) -> int:
        """About how long the sides of panes are, in the volume's pixels."""
        (height, width), (seen_height, seen_width) = self.shape_zyx[1:], self.seen.shape_zyx[1:]
        shrunk = min(1.0, height / seen_height, width / seen_width)
        return round(self.segmenter.pane_px(self.method) * shrunk)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is to be said of what the model is shown."""
        if self.back is None or self.seen.voxel_size_nm is None:
            return ()
        shown, own = map(described_pixel, (self.seen.voxel_size_nm, self.voxel_size_nm or ()))
        return (f"the model is shown pixels of {shown} nm; the volume's are of {own} nm",)

    def read_middle(self, z: int) -> UInt8[np.ndarray, "h w"]:
        """The middle of section `z`; of most sections, all of it."""
        spans = [(max(n - VIEW_PX, 0) // 2, min(n, VIEW_PX)) for n in self.shape_zyx[1:]]
        (y, height), (x, width) = spans
        middle = self.read_box(Box((z, y, x), (z + 1, y + height, x + width)))
        return np.asarray(middle[0])

    def identity(self, progress: Progress) -> str:
        """A hash of what the labels depend on.

        All of the volume is read for it, which is quick beside segmenting it, and shows what is
        damaged in its last sections before the first is segmented. Of a volume of more than
        `CHECKED_VOXELS`, some blocks are.
        """
        digest = hashlib.sha256()
        grid = pane_grid(self.shape_zyx, PANE_PX)
        for number in progress.track(_checked(grid), "checking images", unit="block"):
            digest.update(np.ascontiguousarray(self.read_box(grid.box(number))).data)
        head = self.segmenter.head
        facts = [
            __version__,
            digest.hexdigest(),
            self.shape_zyx,
            self.seen.shape_zyx,
            self.voxel_size_nm,
            hash_weights(self.segmenter.sam.state_dict().items()),
            hash_weights(head.network.state_dict().items()) if head else "",
            self.segmenter.tile_px,
            self.segmenter.sam.input_px,
            self.segmenter.sam.precision,
            self.segmenter.info.model_dump_json(),
            self.method,
            self.segmenter.settings_of(self.method),
        ]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _checked(grid: BlockGrid) -> list[int]:
    """The blocks that are looked at, evenly spread."""
    depth, height, width = grid.shape_zyx
    if depth * height * width <= CHECKED_VOXELS:
        return list(range(len(grid)))
    picks = np.linspace(0, len(grid) - 1, min(SAMPLED_BLOCKS, len(grid)))
    return [int(number) for number in np.unique(picks.round())]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a user asks to be segmented, and by what; every worker opens it for itself."""

    images: Place
    model: Path | str
    method: Method | Literal["auto"]
    voxel_size_nm: VoxelSize | None
    settings: RunSettings

    def open(self, progress: Progress = SILENT) -> Job:
        """Open the volume and load the model.

        Raises
        ------
        ModelError
            The model has no head, and the method needs one.
        SettingsError
            The voxel size contradicts the file's.
        """
        volume = open_volume(self.images)
        size = choose_voxel_size(volume, self.voxel_size_nm)
        usable = load_tuned_model(self.model, self.settings.model)
        segmenter = segmenter_of(usable, self.model, self.settings)
        chosen = segmenter.choose(self.method)
        if self.method == "auto":
            progress.say(f"method: {chosen}")
        if size is None:
            progress.say(
                f"{volume.name} has no voxel size, so sizes are in px and voxels; "
                "pass --voxel-size z,y,x (nm) for µm"
            )
        seen = in_trained_pixels(volume, usable, size, self.settings.data.common_pixel_nm)
        if size is None and seen is volume and (remark := pixel_size_remark(usable, size)):
            progress.say(remark)
        job = Job(
            volume=volume,
            seen=seen,
            voxel_size_nm=size,
            normalisation=_normalisation(usable, volume),
            usable=usable,
            segmenter=segmenter,
            method=chosen,
            instances=_suited(segmenter.info.settings_of(chosen), volume, seen),
        )
        for remark in job.remarks:
            progress.say(remark)
        if self.is_shipped(chosen):
            progress.say(WORTH)
            return _suited_to_volume(job)
        return job

    def is_shipped(self, method: Method) -> bool:
        """Whether the head is the one that knows made-up volumes alone."""
        return method != "grid" and has_shipped_head(self.model)


def _normalisation(usable: UsableModel, volume: Volume) -> Normalisation:
    if usable.normalisation:
        return adopt_normalisation(usable.normalisation, volume)
    return measure_normalisation(volume)


def _suited_to_volume(job: Job) -> Job:
    """The job with the shipped head brought to the volume's grey values and sections."""
    depth = len(job.volume)
    spacing = section_spacing_px(job.read_middle, depth, job.voxel_size_nm)
    segmenter = suit_shipped_head(job.segmenter, job.read_middle, depth, z_radius(spacing, depth))
    instances = _suited(segmenter.info.settings_of(job.method), job.volume, job.seen)
    return replace(job, segmenter=segmenter, instances=instances)


def _suited(settings: InstanceSettings, volume: Volume, seen: Volume) -> InstanceSettings:
    """The settings for this volume's pixels; an image of one section holds areas and no volumes."""
    (_, height, width), (_, seen_height, seen_width) = volume.shape_zyx, seen.shape_zyx
    settings = settings.for_pixels(height * width / (seen_height * seen_width))
    return settings if len(volume) > 1 else settings.for_one_section()
