"""Prompts as a hurried hand would draw them, so that the model does not count on perfect ones."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int


def shake_boxes(
    boxes_xyxy: Float[np.ndarray, "k 4"],
    share: float,
    shape_yx: tuple[int, ...],
    rng: np.random.Generator,
) -> Float[np.ndarray, "k 4"]:
    """Boxes whose sides each moved in or out by up to `share` of the box's side, inside the frame.

    segment-anything's training moves them by a tenth. However far they move, at least a pixel is
    left between them.
    """
    sides = np.maximum(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], 1)
    moved = boxes_xyxy + rng.uniform(-share, share, boxes_xyxy.shape) * np.tile(sides, 2)
    frame = np.array(shape_yx[::-1], np.float64)
    corners = np.clip(moved, 0, np.tile(frame, 2))
    first = np.minimum(corners[:, :2], frame - 1)
    return np.concatenate([first, np.maximum(corners[:, 2:], first + 1)], axis=1)


def random_points(
    labels: Int[np.ndarray, "h w"], object_ids: Int[np.ndarray, " k"], rng: np.random.Generator
) -> Float[np.ndarray, "k 2"]:
    """x, y of the centre of one pixel of each object, all its pixels alike."""
    points = []
    for object_id in object_ids:
        inside = np.flatnonzero(labels == object_id)
        y, x = divmod(int(rng.choice(inside)), labels.shape[1])
        points.append((x + 0.5, y + 0.5))
    return np.array(points, np.float64).reshape(-1, 2)
