"""Which mask belongs to which image."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

from mitosam.errors import InputError
from mitosam.io.volume import Volume

logger = logging.getLogger(__name__)

Key = tuple[int | str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """Section numbers of images and of the masks that belong to them."""

    sections: tuple[tuple[int, int], ...]
    by: Literal["name", "order"]
    image_names: tuple[str, ...]
    mask_names: tuple[str, ...]

    def describe(self) -> str:
        """One line that names the first pairs."""
        shown = [
            f"{self.image_names[image]} with {self.mask_names[mask]}"
            for image, mask in self.sections[:2]
        ]
        more = ", ..." if len(self.sections) > 2 else ""
        plural = "" if len(self.sections) == 1 else "s"
        return f"paired {len(self.sections)} section{plural} by {self.by}: {', '.join(shown)}{more}"


def pair(images: Volume, masks: Volume) -> Pairing:
    """Images and masks, by what distinguishes their file names, or else by order.

    Raises
    ------
    InputError
        Their numbers or sizes differ, or only some of the names match.
    """
    _check_shapes(images, masks)
    by_name = _pair_by_name(images, masks)
    if by_name is None and len(images) != len(masks):
        raise InputError(
            f"each image needs one mask, got {len(images)} images in {images.name} and "
            f"{len(masks)} masks in {masks.name}; leave out the sections without a mask"
        )
    if by_name is None and (images.named or masks.named) and len(images) > 1:
        logger.warning("names in %s and %s do not match; paired by order", images.name, masks.name)
    return Pairing(
        sections=by_name or tuple((z, z) for z in range(len(images))),
        by="name" if by_name else "order",
        image_names=images.section_names,
        mask_names=masks.section_names,
    )


def _check_shapes(images: Volume, masks: Volume) -> None:
    if images.shape_zyx[1:] == masks.shape_zyx[1:]:
        return
    (height, width), (mask_height, mask_width) = images.shape_zyx[1:], masks.shape_zyx[1:]
    raise InputError(
        f"images and masks must be equally large, but {images.name} ({images.section_names[0]}) "
        f"is {width} x {height} px and {masks.name} ({masks.section_names[0]}) is "
        f"{mask_width} x {mask_height} px; give the masks that were drawn on these images"
    )


def _pair_by_name(images: Volume, masks: Volume) -> tuple[tuple[int, int], ...] | None:
    """Pairs where all names match, None where none does; an error where only some do."""
    if not (images.named and masks.named) or max(len(images), len(masks)) == 1:
        return None
    image_keys, mask_keys = _keys(images.section_names), _keys(masks.section_names)
    matched = set(image_keys) & set(mask_keys)
    if not matched:
        return None
    unpaired = [
        name
        for names, keys in ((images.section_names, image_keys), (masks.section_names, mask_keys))
        for name, key in zip(names, keys, strict=True)
        if key not in matched
    ]
    if unpaired:
        raise InputError(
            f"{len(unpaired)} of {len(images)} images and {len(masks)} masks have no partner by "
            f"name: {', '.join(unpaired[:4])}{', ...' if len(unpaired) > 4 else ''}; rename them, "
            "or move them elsewhere"
        )
    mask_of = {key: z for z, key in enumerate(mask_keys)}
    return tuple((z, mask_of[key]) for z, key in enumerate(image_keys))


def _keys(names: Sequence[str]) -> list[Key]:
    """What distinguishes each name from the others: its tokens less those that all share.

    >>> _keys(["images.010.png", "images.011.png"])
    [(10,), (11,)]
    """
    tokens = [re.findall(r"[0-9]+|[^\W\d_]+|[\W_]", PurePath(name).stem) for name in names]
    start = _num_shared(tokens)
    stop = _num_shared([row[start:][::-1] for row in tokens])
    distinct = [row[start : len(row) - stop] for row in tokens]
    keys: list[Key] = [tuple(int(t) if t.isdecimal() else t for t in row) for row in distinct]
    return keys if len(set(keys)) == len(keys) else [tuple(row) for row in distinct]


def _num_shared(rows: list[list[str]]) -> int:
    """How many leading tokens all rows have in common."""
    count = 0
    for column in zip(*rows, strict=False):
        if len(set(column)) > 1:
            break
        count += 1
    return count
