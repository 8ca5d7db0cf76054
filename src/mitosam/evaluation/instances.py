"""How well instances are found: which predicted one is which true one, and what follows.

A predicted instance P and a true one T match where their IoU reaches a threshold of 0.5 or more.
Then at least half of each lies in the other, so that no other instance can match either; only at
an IoU of exactly 0.5 may two equal halves compete, and one of them is taken. No assignment problem
is left to solve. TP counts the matches, FP the predicted and FN the true instances without one.

Throughout, an empty prediction of an empty truth scores 1, and a prediction scores 0 where only
one of the two is empty.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from scipy import ndimage

from mitosam.data.masks import pieces
from mitosam.errors import InputError
from mitosam.evaluation.contingency import Contingency

# Written out: np.arange would give 0.6000000000000001, which an IoU of 3 / 5 does not reach.
MSA_THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Matches:
    """Pairs of true and predicted instances, each instance in one pair at most."""

    contingency: Contingency
    true_index: Int[np.ndarray, " m"]
    """Into the contingency's true instances, ascending."""
    predicted_index: Int[np.ndarray, " m"]
    """Into its predicted instances."""
    ious: Float[np.ndarray, " m"]

    @property
    def num_hits(self) -> int:
        """TP: how many pairs there are."""
        return len(self.ious)

    @property
    def num_false(self) -> int:
        """FP: predicted instances without a true one."""
        return self.contingency.num_predicted - self.num_hits

    @property
    def num_missed(self) -> int:
        """FN: true instances without a predicted one."""
        return self.contingency.num_true - self.num_hits

    @property
    def precision(self) -> float:
        """TP / (TP + FP)."""
        return self._share(self.num_hits, self.num_hits + self.num_false)

    @property
    def recall(self) -> float:
        """TP / (TP + FN)."""
        return self._share(self.num_hits, self.num_hits + self.num_missed)

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN)."""
        return self._share(2 * self.num_hits, 2 * self.num_hits + self.num_false + self.num_missed)

    @property
    def accuracy(self) -> float:
        """TP / (TP + FP + FN), the segmentation accuracy."""
        return self._share(self.num_hits, self.num_hits + self.num_false + self.num_missed)

    def _share(self, part: int, whole: int) -> float:
        if not self.contingency.num_true and not self.contingency.num_predicted:
            return 1.0
        return part / whole if whole else 0.0


def match(contingency: Contingency, iou_threshold: float = 0.5) -> Matches:
    """The pairs of instances whose IoU is `iou_threshold` or more.

    Raises
    ------
    InputError
        The threshold is below 0.5, where one instance could match several, or above 1.
    """
    if not 0.5 <= iou_threshold <= 1:
        raise InputError(
            f"an IoU threshold must lie in [0.5, 1], got {iou_threshold}; below 0.5 instances "
            "do not match one to one"
        )
    ious = contingency.ious
    kept = np.flatnonzero(ious >= iou_threshold)
    kept = kept[_firsts(contingency.true_index[kept])]
    kept = kept[_firsts(contingency.predicted_index[kept])]
    return Matches(
        contingency=contingency,
        true_index=contingency.true_index[kept],
        predicted_index=contingency.predicted_index[kept],
        ious=ious[kept],
    )


def _firsts(values: Int[np.ndarray, " n"]) -> Int[np.ndarray, " m"]:
    """Where each value stands first: of two halves of one instance, one is taken."""
    return np.sort(np.unique(values, return_index=True)[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceScores:
    """What matching says of a prediction; all scores lie in [0, 1].

    `ap50` and `ap75` are TP / (TP + FP + FN) at an IoU of 0.5 and 0.75: what the 2018 Data Science
    Bowl, StarDist and Cellpose call average precision and micro-sam segmentation accuracy, SA50
    and SA75. It is not the area under a precision-recall curve (COCO's AP), which would need a
    confidence for each instance.
    """

    num_true: int
    num_predicted: int
    num_hits: int
    precision: float
    """TP / (TP + FP) at IoU 0.5."""
    recall: float
    """TP / (TP + FN) at IoU 0.5."""
    f1: float
    """2 TP / (2 TP + FP + FN) at IoU 0.5."""
    ap50: float
    ap75: float
    msa: float
    """Mean of TP / (TP + FP + FN) over the IoU thresholds 0.50, 0.55, ..., 0.95."""
    segmentation_quality: float
    """SQ: mean IoU of the matches at IoU 0.5; 0 where there are none."""
    panoptic_quality: float
    """PQ = SQ x RQ, where RQ is F1."""


def score_instances(contingency: Contingency) -> InstanceScores:
    """The scores of a prediction, from the overlaps of its instances with the true ones.

    Two empty label arrays score 1, one empty array 0. Sources: Caicedo and others, Nature Methods
    16 (2019) 1247 (the accuracies); Kirillov and others, Panoptic Segmentation, CVPR 2019 (PQ;
    there matches need more than 0.5, here 0.5 is enough, as for the other scores).

    >>> from mitosam.evaluation.contingency import count_overlaps
    >>> truth = np.array([[1, 1, 1, 0, 2]])
    >>> predicted = np.array([[5, 5, 0, 0, 0]])
    >>> scores = score_instances(count_overlaps(predicted, truth))
    >>> scores.precision, scores.recall, scores.ap50, scores.ap75, scores.msa
    (1.0, 0.5, 0.5, 0.0, 0.2)
    >>> score_instances(count_overlaps(0 * truth, 0 * truth)).msa
    1.0
    """
    found = match(contingency)
    quality = float(found.ious.mean()) if found.num_hits else found.f1
    return InstanceScores(
        num_true=contingency.num_true,
        num_predicted=contingency.num_predicted,
        num_hits=found.num_hits,
        precision=found.precision,
        recall=found.recall,
        f1=found.f1,
        ap50=found.accuracy,
        ap75=match(contingency, 0.75).accuracy,
        msa=fmean(match(contingency, t).accuracy for t in MSA_THRESHOLDS),
        segmentation_quality=quality,
        panoptic_quality=quality * found.f1,
    )


def section_instances(
    labels: Shaped[np.ndarray, "height width"],
) -> Int[np.ndarray, "height width"]:
    """The instances of one section, numbered from 1: each 8-connected piece of each id.

    A mitochondrion of a volume may be cut into several pieces by one section, and whoever looks at
    the section alone, as 2D methods do, sees several mitochondria.

    >>> section_instances(np.array([[4, 0, 4], [4, 0, 9]]))
    array([[1, 0, 2],
           [1, 0, 3]], dtype=int32)
    """
    return pieces(labels)


def volume_instances(
    foreground: Bool[np.ndarray, "depth height width"], *, connectivity: Literal[6, 18, 26] = 26
) -> Int[np.ndarray, "depth height width"]:
    """The instances of a binary volume, numbered from 1: its 3D connected components.

    Voxels are neighbours across faces, edges and corners (`connectivity` 26), across faces and
    edges (18), or across faces only (6). Mitochondria that touch become one; only labels drawn by
    instance keep them apart. The whole volume must fit in memory. Instances are numbered in the
    order of their first voxels.
    """
    import cc3d

    if sorted(foreground.shape)[:2] == [1, 1]:  # on which cc3d 4.1 fails: it allots too few labels
        labels, _ = ndimage.label(foreground, np.ones((3, 3, 3)))
        return np.asarray(labels)
    return np.asarray(cc3d.connected_components(foreground, connectivity=connectivity))
