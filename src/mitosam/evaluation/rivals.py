"""What a prompt box is worth without any model: the box itself, and the ellipse inside it.

A model that does not beat these has learnt nothing that the prompt had not already told.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from mitosam.evaluation.scores import Score, Subject


def filled_box(
    box_xyxy: Float[np.ndarray, " 4"], shape_yx: tuple[int, int]
) -> Bool[np.ndarray, "height width"]:
    """The pixels whose centres lie in the box x0, y0, x1, y1 (pixel edges, in the mask's frame).

    >>> filled_box(np.array([1.0, 0.0, 3.0, 1.0]), (2, 3)).astype(int)
    array([[0, 1, 1],
           [0, 0, 0]])
    """
    x0, y0, x1, y1 = (float(side) for side in box_xyxy)
    y, x = _pixel_centres(shape_yx)
    return (y0 <= y) & (y < y1) & (x0 <= x) & (x < x1)


def inscribed_ellipse(
    box_xyxy: Float[np.ndarray, " 4"], shape_yx: tuple[int, int]
) -> Bool[np.ndarray, "height width"]:
    """The pixels whose centres lie in the upright ellipse that touches the box's four sides.

    A box without area holds no ellipse, and the mask is empty.

    >>> inscribed_ellipse(np.array([0.0, 0.0, 3.0, 3.0]), (3, 3)).astype(int)
    array([[1, 1, 1],
           [1, 1, 1],
           [1, 1, 1]])
    >>> int(inscribed_ellipse(np.array([0.0, 0.0, 9.0, 9.0]), (9, 9))[0].sum())
    5
    """
    x0, y0, x1, y1 = (float(side) for side in box_xyxy)
    if x1 <= x0 or y1 <= y0:
        return np.zeros(shape_yx, np.bool_)
    y, x = _pixel_centres(shape_yx)
    from_centre_y = (2 * y - y0 - y1) / (y1 - y0)
    from_centre_x = (2 * x - x0 - x1) / (x1 - x0)
    inside: Bool[np.ndarray, "height width"] = from_centre_y**2 + from_centre_x**2 <= 1
    return inside


def score_rivals(
    subject: Subject,
    box_xyxy: Float[np.ndarray, " 4"],
    truth: Bool[np.ndarray, "height width"],
) -> list[Score]:
    """The rivals' scores for the very box that the models were prompted with.

    The box stands in the frame of `truth`.
    """
    shape_yx = (truth.shape[0], truth.shape[1])
    return [
        subject.score("filled box", filled_box(box_xyxy, shape_yx), truth),
        subject.score("inscribed ellipse", inscribed_ellipse(box_xyxy, shape_yx), truth),
    ]


def _pixel_centres(
    shape_yx: tuple[int, int],
) -> tuple[Float[np.ndarray, "height 1"], Float[np.ndarray, "1 width"]]:
    y, x = np.ogrid[: shape_yx[0], : shape_yx[1]]
    return y + 0.5, x + 0.5
