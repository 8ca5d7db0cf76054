"""Instances as COCO JSON, the exchange format of object detection and segmentation.

Source: https://cocodataset.org/#format-data; masks are its uncompressed run-length encoding.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from mitosam.storage import atomic_path

CATEGORY_ID = 1


def write_coco(
    path: Path,
    sections: Iterable[tuple[str, Int[np.ndarray, "height width"]]],
    *,
    category: str = "mitochondrion",
) -> None:
    """One image for each named section, and one annotation for each instance on it.

    An annotation's `instance_id` is the id in the labels, the same on all sections; its `id` counts
    annotations from 1. Annotations are written as they come, so they may be more than memory holds.
    """
    images: list[dict[str, Any]] = []
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write('{"annotations": [')
        for number, annotation in enumerate(_annotations(sections, images), start=1):
            file.write("\n" if number == 1 else ",\n")
            file.write(json.dumps({"id": number, **annotation}))
        categories = [{"id": CATEGORY_ID, "name": category, "supercategory": "organelle"}]
        file.write(f'\n], "images": {json.dumps(images)}, ')
        file.write(f'"categories": {json.dumps(categories)}}}\n')


def _annotations(
    sections: Iterable[tuple[str, Int[np.ndarray, "height width"]]], images: list[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    for number, (name, labels) in enumerate(sections, start=1):
        height, width = labels.shape
        images.append({"id": number, "file_name": name, "height": height, "width": width})
        for instance in np.unique(labels[labels > 0]):
            mask = labels == instance
            yield {
                "image_id": number,
                "category_id": CATEGORY_ID,
                "instance_id": int(instance),
                "segmentation": {"size": [height, width], "counts": run_lengths(mask)},
                "area": int(mask.sum()),
                "bbox": _box_xywh(mask),
                "iscrowd": 0,
            }


def run_lengths(mask: Bool[np.ndarray, "height width"]) -> list[int]:
    """Lengths of the runs of background and object in turn, column by column.

    The first run is background, and so may be empty.

    >>> run_lengths(np.array([[True, False], [True, True]]))
    [0, 2, 1, 1]
    """
    flat = mask.ravel(order="F").astype(np.int8)
    changes = np.flatnonzero(np.diff(flat, prepend=0)).tolist()
    return [int(length) for length in np.diff([0, *changes, flat.size])]


def _box_xywh(mask: Bool[np.ndarray, "height width"]) -> list[int]:
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    y, x = int(rows[0]), int(columns[0])
    return [x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1]
