"""All scores of an automatic segmentation, which got no prompts, in one pass over its sections.

They are never to be set beside scores under oracle prompts (`scores.Score`): those tell how well a
mitochondrion is outlined once pointed at, these how well mitochondria are found.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Shaped

from mitosam.evaluation.contingency import Contingency, ContingencyCounter
from mitosam.evaluation.foreground import ForegroundCounter, ForegroundOverlap
from mitosam.evaluation.instances import InstanceScores, match, score_instances
from mitosam.evaluation.iou_calibration import Calibration, calibrate_iou
from mitosam.evaluation.label_pairs import LabelPair, pair_sections
from mitosam.evaluation.quantities import QuantityErrors, measure_quantities
from mitosam.evaluation.sections import (
    SectionMean,
    SectionMeans,
    SectionScore,
    average_sections,
    score_section,
)
from mitosam.evaluation.surfaces import SurfaceCollector, SurfaceDistances

Cell = str | int | float


@dataclass(frozen=True, slots=True, kw_only=True)
class AutomaticScores:
    """One volume's scores."""

    instances: InstanceScores
    """In 3D: an id is one instance in all sections."""
    quantities: QuantityErrors
    """In 3D."""
    foreground: ForegroundOverlap
    """Pooled over all sections."""
    surfaces: SurfaceDistances | None
    """In 3D; none where the voxel size is unknown."""
    sections: tuple[SectionScore, ...]
    """In 2D, section by section."""
    section_means: SectionMeans
    confidence: Calibration | None = None
    """How sure the method was of each instance against its IoU with the true one that it matches,
    0 for a false find, in 3D; none where no confidence was kept."""

    def to_row(self) -> dict[str, Cell]:
        """One flat row whose columns are the same for every volume; NaN where undefined.

        Columns that begin with `section_` are means over sections in 2D, all others are of the
        whole volume; `_low` and `_high` are the ends of a mean's 95 % interval.
        """
        return {
            **asdict(self.instances),
            **self._quantity_cells(),
            **self._foreground_cells(),
            **self._surface_cells(),
            **self._section_cells(),
            **self._confidence_cells(),
        }

    def _confidence_cells(self) -> dict[str, Cell]:
        found = self.confidence
        return {
            "mean_confidence": found.mean_predicted if found else math.nan,
            "mean_instance_iou": found.mean_true if found else math.nan,
            "confidence_spearman": found.spearman if found else math.nan,
        }

    def _quantity_cells(self) -> dict[str, Cell]:
        errors = self.quantities
        return {
            **asdict(errors),
            "count_error": errors.count_error,
            "relative_count_error": errors.relative_count_error,
            "relative_volume_error": errors.relative_volume_error,
        }

    def _foreground_cells(self) -> dict[str, Cell]:
        everywhere, off_boundary = self.foreground.everywhere, self.foreground.off_boundary
        return {
            "foreground_iou": float(everywhere.iou),
            "foreground_dice": float(everywhere.dice),
            "foreground_iou_off_boundary": float(off_boundary.iou),
            "foreground_dice_off_boundary": float(off_boundary.dice),
            "boundary_px": self.foreground.boundary_px,
        }

    def _surface_cells(self) -> dict[str, Cell]:
        if self.surfaces is None:
            return {"asd_nm": math.nan, "hd95_nm": math.nan}
        return {"asd_nm": self.surfaces.asd_nm, "hd95_nm": self.surfaces.hd95_nm}

    def _section_cells(self) -> dict[str, Cell]:
        means = self.section_means
        return {
            "num_sections": means.num_sections,
            "num_empty_sections": means.num_empty,
            **_mean_cells("msa", means.msa),
            **_mean_cells("ap50", means.ap50),
            **_mean_cells("f1", means.f1),
            **_mean_cells("iou", means.iou),
        }


def score_automatic(
    predicted: Iterable[Shaped[np.ndarray, "height width"]],
    truth: Iterable[Shaped[np.ndarray, "height width"]],
    voxel_size_nm: tuple[float, float, float] | None = None,
    *,
    boundary_px: int = 2,
    seed: int = 0,
    confidence: Mapping[int, float] | None = None,
) -> AutomaticScores:
    """The scores of a predicted label volume, its sections read once, in step with the truth's.

    An id must mean the same instance in every section, 0 is background. A binary truth has no such
    ids before `volume_instances` gives them; where there are none, `score_sections` still scores
    each section by itself. One section at a time is held, and the surfaces' voxels where
    `voxel_size_nm` (z, y, x) is known. `seed` is that of the bootstrap. `confidence` says how
    sure the method was of each predicted id.

    Raises
    ------
    InputError
        The sections differ in number or shape, or are no labels; there are none.
    """
    counters = _Counters(voxel_size_nm, boundary_px)
    for pair in pair_sections(predicted, truth):
        counters.add(pair)
    return counters.result(seed, confidence)


class _Counters:
    """What each score keeps of the sections seen so far."""

    def __init__(self, voxel_size_nm: tuple[float, float, float] | None, boundary_px: int) -> None:
        self._contingency = ContingencyCounter()
        self._foreground = ForegroundCounter(boundary_px)
        self._surfaces = SurfaceCollector(voxel_size_nm) if voxel_size_nm else None
        self._sections: list[SectionScore] = []

    def add(self, pair: LabelPair) -> None:
        self._contingency.add(pair.predicted, pair.truth)
        self._foreground.add(*pair.foregrounds)
        if self._surfaces:
            self._surfaces.add(*pair.foregrounds)
        section = len(self._sections)
        self._sections.append(score_section(pair.predicted, pair.truth, section=section))

    def result(self, seed: int, confidence: Mapping[int, float] | None) -> AutomaticScores:
        contingency = self._contingency.result()
        return AutomaticScores(
            instances=score_instances(contingency),
            quantities=measure_quantities(contingency),
            foreground=self._foreground.result(),
            surfaces=self._surfaces.result() if self._surfaces else None,
            sections=tuple(self._sections),
            section_means=average_sections(self._sections, seed=seed),
            confidence=calibrate_confidence(contingency, confidence or {}, seed),
        )


def calibrate_confidence(
    contingency: Contingency, confidence: Mapping[int, float], seed: int
) -> Calibration | None:
    """How sure a method was of its instances against how good they are.

    An instance is as good as its IoU with the true one that it matches at 0.5 or more; a false find
    is worth 0. Instances are drawn one by one for intervals. None without instances, or where one
    of them has no confidence, as where labels were edited since.
    """
    if not contingency.num_predicted or not confidence.keys() >= set(
        contingency.predicted_ids.tolist()
    ):
        return None
    found = match(contingency)
    ious = np.zeros(contingency.num_predicted)
    ious[found.predicted_index] = found.ious
    sure = np.array([confidence[number] for number in contingency.predicted_ids.tolist()])
    return calibrate_iou(sure, ious, [0] * len(sure), seed=seed)


def _mean_cells(name: str, mean: SectionMean) -> dict[str, Cell]:
    return {
        f"section_{name}": mean.mean,
        f"section_{name}_low": mean.interval.low,
        f"section_{name}_high": mean.interval.high,
    }
