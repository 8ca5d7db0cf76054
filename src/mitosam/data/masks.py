"""Masks of every usual coding brought to instance ids."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Int, Shaped

from mitosam.errors import InputError
from mitosam.io.volume import ContentHash, Volume
from mitosam.progress import SILENT, Progress

logger = logging.getLogger(__name__)

Coding = Literal["binary", "instances"]

SPECK_PX = 4
"""Regions of one value smaller than this are specks; noise and soft edges consist of them."""


MAX_REGIONS_PER_ID = 1.5
"""Specks are suspicious only where an id falls into more regions of a section than this, in the
mean: instances may be tiny, but each is mostly in one piece."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskSurvey:
    """What one pass over all masks tells.

    `values` are the distinct values other than 0, in ascending order.
    """

    coding: Coding
    values: Int[np.ndarray, " n"]
    sha256: str
    num_empty_sections: int
    foreground_px: int

    @property
    def label_dtype(self) -> np.dtype[np.uint16] | np.dtype[np.int32]:
        """The smallest dtype that holds all ids."""
        if self.coding == "binary" or self._largest_id <= np.iinfo(np.uint16).max:
            return np.dtype(np.uint16)
        return np.dtype(np.int32)

    @property
    def keeps_ids(self) -> bool:
        """Whether ids are small enough to be kept; others are numbered anew by rank."""
        return int(self.values.max(initial=0)) <= np.iinfo(np.int32).max

    @property
    def _largest_id(self) -> int:
        return int(self.values.max(initial=0)) if self.keeps_ids else len(self.values)

    def to_labels(self, mask: Shaped[np.ndarray, "h w"]) -> Int[np.ndarray, "h w"]:
        """Instance ids of one section, 0 for background.

        Binary masks give one id for each 8-connected component.
        """
        if self.coding == "binary":
            return self._binary_labels(mask)
        if self.keeps_ids:
            return mask.astype(self.label_dtype)
        ids = np.searchsorted(self.values, mask.astype(np.int64)) + 1
        return np.where(mask == 0, 0, ids).astype(self.label_dtype)

    def _binary_labels(self, mask: Shaped[np.ndarray, "h w"]) -> Int[np.ndarray, "h w"]:
        labels = _components(mask != 0)
        if labels.max() > np.iinfo(self.label_dtype).max:
            raise InputError(
                f"a mask falls into {labels.max()} separate regions, so it looks like noise; "
                "give masks in which mitochondria are filled"
            )
        return labels.astype(self.label_dtype)


def survey_masks(
    volume: Volume, progress: Progress = SILENT, *, empty_ok: bool = False
) -> MaskSurvey:
    """Look at all masks of a volume once.

    Truth values, and whole numbers of which only one differs from 0, are binary; more whole
    numbers are instance ids. Masks that are 0 everywhere are refused unless `empty_ok`, and then
    are instance ids without any.

    Raises
    ------
    InputError
        The masks are empty, or look like images.
    """
    survey = _Survey(volume)
    for z in progress.track(
        range(len(volume)), f"reading masks {volume.name}", total=len(volume), unit="section"
    ):
        survey.add(z, volume.section(z))
    return survey.result(empty_ok=empty_ok)


class _Survey:
    """What has been seen of a volume's masks so far."""

    def __init__(self, volume: Volume) -> None:
        self._volume = volume
        self._digest = ContentHash(volume.shape_zyx, volume.dtype)
        self._values = np.empty(0, np.int64)
        self._num_empty = 0
        self._foreground_px = 0
        self._num_ids = 0
        self._num_regions = 0
        self._num_specks = 0

    def add(self, z: int, mask: Shaped[np.ndarray, "h w"]) -> None:
        """Take in section `z`."""
        self._digest.add(mask)
        whole = _whole_numbers(mask, f"{self._volume.name}, {self._volume.section_names[z]}")
        values = np.unique(whole)
        values = values[values != 0]
        self._values = np.union1d(self._values, values)
        self._num_empty += int(values.size == 0)
        self._foreground_px += int(np.count_nonzero(whole))
        if values.size > 1:
            self._num_ids += values.size
            self._count_specks(whole)

    def _count_specks(self, mask: Int[np.ndarray, "h w"]) -> None:
        sizes = np.bincount(_components(mask).ravel())[1:]
        self._num_regions += sizes.size
        self._num_specks += int((sizes < SPECK_PX).sum())

    def result(self, *, empty_ok: bool = False) -> MaskSurvey:
        """The verdict."""
        if not empty_ok:
            self._check_not_empty()
        coding: Coding = "binary" if self._values.size == 1 else "instances"
        if self._values.size > 1:
            self._check_no_image()
        self._check_foreground()
        return MaskSurvey(
            coding=coding,
            values=self._values,
            sha256=self._digest.hexdigest(),
            num_empty_sections=self._num_empty,
            foreground_px=self._foreground_px,
        )

    def _check_not_empty(self) -> None:
        if self._values.size == 0:
            raise InputError(
                f"no mitochondria in any of {len(self._volume)} masks of {self._volume.name}: all "
                "pixels are 0; give masks that mark mitochondria by another value"
            )

    def _check_no_image(self) -> None:
        """Ids form regions, one each, and leave background; grey values do neither."""
        has_background = self._foreground_px <= 0.98 * self._num_px
        scattered = self._num_regions > MAX_REGIONS_PER_ID * self._num_ids
        if has_background and not (scattered and self._num_specks > 0.5 * self._num_regions):
            return
        raise InputError(
            f"{self._volume.name} does not look like masks: it has {self._values.size} values "
            f"besides 0, on {self._foreground_px / self._num_px:.0%} of the pixels, "
            f"{self._num_specks} of {self._num_regions} regions are smaller than {SPECK_PX} px; "
            "give masks as PNG or TIFF (not JPEG) with 0 for background, unscaled and unblurred"
        )

    def _check_foreground(self) -> None:
        share = self._foreground_px / self._num_px
        if share > 0.5:
            logger.warning(
                "masks of %s mark %.0f %% of the pixels as mitochondria; are they inverted?",
                self._volume.name,
                100 * share,
            )

    @property
    def _num_px(self) -> int:
        depth, height, width = self._volume.shape_zyx
        return depth * height * width


def _whole_numbers(mask: Shaped[np.ndarray, "h w"], where: str) -> Int[np.ndarray, "h w"]:
    """The mask as whole numbers of 0 or more, or an InputError."""
    if mask.dtype.kind == "f" and not np.array_equal(mask, np.rint(mask)):  # NaN differs too
        raise InputError(
            f"{where} holds values that are not whole numbers, so it looks like an image or a "
            "probability map; give masks with 0 for background and 1 (or an id) for mitochondria"
        )
    if mask.dtype.kind in "fi" and mask.size and mask.min() < 0:
        raise InputError(
            f"{where} holds negative values; give masks with 0 for background and ids above it"
        )
    if mask.max() > np.iinfo(np.int64).max:
        raise InputError(f"{where} holds ids of 2^63 or more; relabel the masks")
    return mask.astype(np.int64)


def _components(mask: Shaped[np.ndarray, "h w"]) -> Int[np.ndarray, "h w"]:
    """8-connected regions of one value, numbered from 1; 0 stays 0."""
    from skimage.measure import label

    return np.asarray(label(mask, background=0, connectivity=2))


def pieces(labels: Int[np.ndarray, "h w"]) -> Int[np.ndarray, "h w"]:
    """Each 8-connected piece of each id as an object of its own, numbered from 1."""
    if not labels.any():
        return np.zeros(labels.shape, np.int32)
    return _components(labels).astype(np.int32)
