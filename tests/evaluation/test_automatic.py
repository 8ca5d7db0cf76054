from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitosam.data.phantom import make_phantom
from mitosam.errors import InputError
from mitosam.evaluation.automatic import score_automatic
from mitosam.evaluation.contingency import count_overlaps
from mitosam.evaluation.instances import score_instances, volume_instances
from mitosam.evaluation.metrics import pooled_iou
from mitosam.evaluation.quantities import measure_quantities
from mitosam.evaluation.sections import average_sections, score_sections
from mitosam.evaluation.surfaces import measure_surfaces
from tests.evaluation.label_arrays import label_pairs, labels

FLAT = (30.0, 4.0, 6.0)


@given(label_pairs)
def test_each_part_is_what_its_own_function_gives(pair):
    predicted, truth = pair
    scores = score_automatic(predicted, truth, FLAT, seed=4)
    contingency = count_overlaps(predicted, truth)
    assert scores.instances == score_instances(contingency)
    assert repr(scores.quantities) == repr(measure_quantities(contingency))  # NaN is not NaN
    assert repr(scores.surfaces) == repr(measure_surfaces(predicted > 0, truth > 0, FLAT))
    assert scores.foreground.everywhere.iou == pooled_iou(predicted > 0, truth > 0)
    assert scores.sections == tuple(score_sections(predicted, truth))
    assert repr(scores.section_means) == repr(average_sections(scores.sections, seed=4))


@given(labels)
def test_the_truth_scores_one_or_errs_by_nothing(array):
    row = score_automatic(array, array).to_row()
    for name in ("f1", "msa", "panoptic_quality", "foreground_iou", "section_msa", "section_iou"):
        assert row[name] == 1
    assert row["count_error"] == row["relative_volume_error"] == row["num_merges"] == 0


@given(label_pairs, st.permutations(range(1, 5)))
def test_relabelling_changes_no_cell(pair, new):
    predicted, truth = pair
    before = score_automatic(predicted, truth, FLAT).to_row()
    after = score_automatic(np.array([0, *new])[predicted], truth, FLAT).to_row()
    assert after == pytest.approx(before, nan_ok=True)


def test_a_row_has_the_same_columns_with_and_without_a_voxel_size():
    array = np.array([[[1, 1, 0], [0, 0, 2]]])
    known, unknown = score_automatic(array, array, FLAT), score_automatic(array, array)
    assert unknown.surfaces is None
    assert list(known.to_row()) == list(unknown.to_row())
    assert known.to_row()["asd_nm"] == 0
    assert math.isnan(unknown.to_row()["asd_nm"])


def test_a_mitochondrion_followed_through_sections_is_one_in_3d_and_many_in_2d():
    truth = np.zeros((4, 5, 5), int)
    truth[:, 1:4, 1:4] = 7
    scores = score_automatic(truth * np.array([1, 1, 1, 0])[:, None, None], truth)
    assert (scores.instances.num_true, scores.instances.ap75) == (1, 1)  # 3/4 of it
    assert [score.ap50 for score in scores.sections] == [1, 1, 1, 0]


def test_a_phantom_predicted_one_pixel_off_scores_high_but_not_one():
    truth = make_phantom((8, 96, 96), seed=0).labels
    moved = np.concatenate([truth[..., :1], truth[..., :-1]], axis=2)
    predicted = volume_instances(moved > 0)
    scores = score_automatic(iter(predicted), iter(truth), (5.0, 5.0, 5.0))
    assert scores.surfaces is not None
    assert 0 < scores.surfaces.asd_nm < 5
    assert 0.8 < scores.foreground.everywhere.iou < scores.foreground.off_boundary.iou <= 1
    assert 0.5 < scores.section_means.iou.interval.low <= scores.section_means.iou.mean < 1


def test_probabilities_are_refused():
    with pytest.raises(InputError, match="whole numbers"):
        score_automatic(np.full((1, 2, 2), 0.5), np.ones((1, 2, 2), int))


def test_confidence_against_what_was_found_worked_by_hand():
    truth = np.array([[[1, 1, 1, 1, 0, 0, 2, 2]]])
    predicted = np.array([[[5, 5, 5, 0, 0, 7, 0, 0]]])
    found = score_automatic(predicted, truth, confidence={5: 0.9, 7: 0.6}).confidence
    assert (found.count, found.mean_predicted) == (2, pytest.approx(0.75))
    assert found.mean_true == pytest.approx((0.75 + 0) / 2)  # 7 is a false find
    assert found.spearman == 1
    assert found.bias_interval.resampled == "single scores"


@pytest.mark.parametrize("confidence", [None, {}, {5: 0.9}])
def test_confidence_that_is_not_known_of_every_instance_is_not_judged(confidence):
    predicted = np.array([[[5, 5, 7]]])
    assert score_automatic(predicted, predicted, confidence=confidence).confidence is None
