"""Which instances were found and which were not, for pictures that draw them in other colours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, Shaped

from mitosam.evaluation.contingency import count_overlaps
from mitosam.evaluation.instances import match


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OutlineClasses:
    """Ids by what became of them; `hits[i]` is the predicted id of the true id `found[i]`."""

    hits: Int[np.ndarray, " hits"]
    """Predicted instances that match a true one."""
    false_finds: Int[np.ndarray, " false"]
    """Predicted instances that match none, ascending."""
    found: Int[np.ndarray, " hits"]
    """True instances that a predicted one matches, ascending."""
    missed: Int[np.ndarray, " missed"]
    """True instances that none matches, ascending."""


def classify_outlines(
    predicted: Shaped[np.ndarray, "*shape"],
    truth: Shaped[np.ndarray, "*shape"],
    *,
    iou_threshold: float = 0.5,
) -> OutlineClasses:
    """The ids of two label arrays of one shape, sorted into hits, false finds and misses.

    Ids are taken as they are. To judge a section as its own scores do, pass both through
    `section_instances` first; to judge what it shows of a volume's instances, classify the volume.

    >>> classes = classify_outlines(np.array([[5, 5, 0, 6]]), np.array([[1, 1, 2, 0]]))
    >>> classes.hits, classes.false_finds, classes.missed
    (array([5]), array([6]), array([2]))
    """
    contingency = count_overlaps(predicted, truth)
    matches = match(contingency, iou_threshold)
    return OutlineClasses(
        hits=contingency.predicted_ids[matches.predicted_index],
        false_finds=np.delete(contingency.predicted_ids, matches.predicted_index),
        found=contingency.true_ids[matches.true_index],
        missed=np.delete(contingency.true_ids, matches.true_index),
    )
