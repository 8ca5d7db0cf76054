"""Masks of every usual coding brought to instance ids."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Int, Shaped

from mitosam.errors import InputError
from mitosam.geometry import Box
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
    survey, digest = SurveyPart(), ContentHash(volume.shape_zyx, volume.dtype)
    for z in progress.track(
        range(len(volume)), f"reading masks {volume.name}", total=len(volume), unit="section"
    ):
        mask = volume.section(z)
        digest.add(mask)
        survey.add(z, mask, f"{volume.name}, {volume.section_names[z]}")
    return survey.result(volume, digest.hexdigest(), empty_ok=empty_ok)


def survey_box(volume: Volume, box: Box) -> SurveyPart:
    """What one block of a volume's masks tells, with the hash of its voxels."""
    masks = volume.box(box)
    part = SurveyPart()
    for z, mask in enumerate(masks, start=box.start_zyx[0]):
        part.add(z, mask, f"{volume.name}, {volume.section_names[z]}")
    digest = ContentHash(box.shape_zyx, volume.dtype)
    digest.add(masks)
    part.digests.append(digest.hexdigest())
    return part


def joined_survey(volume: Volume, parts: Iterable[SurveyPart]) -> MaskSurvey:
    """The survey of masks whose sections may be larger than memory, from all blocks in order.

    As `survey_masks`, where masks may be empty; but an object that blocks cut counts as one in
    each of them, and the hash is that of the blocks' hashes.
    """
    whole = SurveyPart()
    for part in parts:
        whole.take(part)
    digest = hashlib.sha256("\n".join(whole.digests).encode())
    return whole.result(volume, digest.hexdigest(), empty_ok=True)


class SurveyPart:
    """What has been seen of a volume's masks so far, in all of it or a part."""

    def __init__(self) -> None:
        self.digests: list[str] = []
        self._values = np.empty(0, np.int64)
        self._marked_sections: set[int] = set()
        self._foreground_px = 0
        self._num_ids = 0
        self._num_regions = 0
        self._num_specks = 0

    def add(self, z: int, mask: Shaped[np.ndarray, "h w"], where: str) -> None:
        """Take in section `z`, or a part of it."""
        whole = _whole_numbers(mask, where)
        values = np.unique(whole)
        values = values[values != 0]
        self._values = np.union1d(self._values, values)
        if values.size:
            self._marked_sections.add(z)
        self._foreground_px += int(np.count_nonzero(whole))
        if values.size > 1:
            self._num_ids += values.size
            self._count_specks(whole)

    def take(self, other: SurveyPart) -> None:
        """Take in what was seen elsewhere."""
        self.digests += other.digests
        self._values = np.union1d(self._values, other._values)
        self._marked_sections |= other._marked_sections
        self._foreground_px += other._foreground_px
        self._num_ids += other._num_ids
        self._num_regions += other._num_regions
        self._num_specks += other._num_specks

    def _count_specks(self, mask: Int[np.ndarray, "h w"]) -> None:
        sizes = np.bincount(_components(mask).ravel())[1:]
        self._num_regions += sizes.size
        self._num_specks += int((sizes < SPECK_PX).sum())

    def result(self, volume: Volume, sha256: str, *, empty_ok: bool = False) -> MaskSurvey:
        """The verdict."""
        if not empty_ok:
            self._check_not_empty(volume)
        coding: Coding = "binary" if self._values.size == 1 else "instances"
        share = self._foreground_px / math.prod(volume.shape_zyx)
        if self._values.size > 1:
            self._check_no_image(volume.name, share)
        _check_foreground(volume.name, share)
        return MaskSurvey(
            coding=coding,
            values=self._values,
            sha256=sha256,
            num_empty_sections=len(volume) - len(self._marked_sections),
            foreground_px=self._foreground_px,
        )

    def _check_not_empty(self, volume: Volume) -> None:
        if self._values.size == 0:
            raise InputError(
                f"no mitochondria in any of {len(volume)} masks of {volume.name}: all "
                "pixels are 0; give masks that mark mitochondria by another value"
            )

    def _check_no_image(self, name: str, share: float) -> None:
        """Ids form regions, one each, and leave background; grey values do neither."""
        has_background = share <= 0.98
        scattered = self._num_regions > MAX_REGIONS_PER_ID * self._num_ids
        if has_background and not (scattered and self._num_specks > 0.5 * self._num_regions):
            return
        raise InputError(
            f"{name} does not look like masks: it has {self._values.size} values "
            f"besides 0, on {share:.0%} of the pixels, "
            f"{self._num_specks} of {self._num_regions} regions are smaller than {SPECK_PX} px; "
            "give masks as PNG or TIFF (not JPEG) with 0 for background, unscaled and unblurred"
        )


def _check_foreground(name: str, share: float) -> None:
    if share > 0.5:
        logger.warning(
            "masks of %s mark %.0f %% of the pixels as mitochondria; are they inverted?",
            name,
            100 * share,
        )


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
