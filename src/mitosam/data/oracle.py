"""Prompts taken from the truth.

They measure what a model makes of a good prompt. They are never an automatic result, and reports
say so.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy import ndimage

from mitosam.geometry import box_of_mask


def patch_box(labels: Int[np.ndarray, "p p"]) -> Float[np.ndarray, " 4"]:
    """One x0, y0, x1, y1 round all mitochondria of a patch, as in the original experiment."""
    return box_of_mask(labels != 0)


def object_boxes(labels: Int[np.ndarray, "p p"]) -> Float[np.ndarray, "k 4"]:
    """A box round each object 1 to k, in their order, as pixel edges."""
    boxes = [
        (columns.start, rows.start, columns.stop, rows.stop) for rows, columns in _present(labels)
    ]
    return np.array(boxes, np.float64).reshape(-1, 4)


def object_points(labels: Int[np.ndarray, "p p"]) -> Float[np.ndarray, "k 2"]:
    """x, y of the pixel centre deepest inside each object 1 to k.

    Depth is the distance to the nearest pixel outside; the patch's own edge counts as outside.
    Of equally deep pixels the first, row by row, is taken.
    """
    points = []
    for object_id, (rows, columns) in enumerate(_present(labels), start=1):
        mask = np.pad(labels[rows, columns] == object_id, 1)
        depth = ndimage.distance_transform_edt(mask)
        y, x = np.unravel_index(int(np.argmax(depth)), depth.shape)
        points.append((columns.start + x - 1 + 0.5, rows.start + y - 1 + 0.5))
    return np.array(points, np.float64).reshape(-1, 2)


def _present(labels: Int[np.ndarray, "p p"]) -> list[tuple[slice, slice]]:
    """The rows and columns each object 1 to k spans."""
    found = ndimage.find_objects(labels)
    assert None not in found, "patch_labels() numbers objects without gaps"
    return list(found)


def jitter_boxes(
    boxes_xyxy: Float[np.ndarray, "k 4"],
    max_px: int,
    shape_yx: tuple[int, int],
    rng: np.random.Generator,
) -> Float[np.ndarray, "k 4"]:
    """Boxes whose sides each moved outward by 0 to `max_px` - 1 whole pixels, inside the frame.

    The original experiment draws 0 to 19, that is `max_px` = 20; 0 leaves the boxes alone.
    """
    if max_px == 0:
        return boxes_xyxy.copy()
    height, width = shape_yx
    outward = rng.integers(0, max_px, boxes_xyxy.shape) * np.array([-1, -1, 1, 1])
    frame = np.array([width, height, width, height], np.float64)
    return np.asarray(np.clip(boxes_xyxy + outward, 0, frame))
