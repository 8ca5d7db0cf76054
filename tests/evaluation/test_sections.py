from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given

from mitosam.errors import InputError
from mitosam.evaluation.bootstrap import bootstrap_mean
from mitosam.evaluation.contingency import count_overlaps
from mitosam.evaluation.instances import score_instances, section_instances
from mitosam.evaluation.label_pairs import pair_sections
from mitosam.evaluation.metrics import iou
from mitosam.evaluation.sections import average_sections, score_section, score_sections
from tests.evaluation.label_arrays import label_pairs, labels


@given(label_pairs)
def test_each_section_is_scored_by_itself(pair):
    predicted, truth = pair
    for z, score in enumerate(score_sections(predicted, truth)):
        scores = score_instances(
            count_overlaps(section_instances(predicted[z]), section_instances(truth[z]))
        )
        assert (score.section, score.msa, score.ap50, score.f1) == (
            z,
            scores.msa,
            scores.ap50,
            scores.f1,
        )
        assert score.iou == iou(predicted[z] > 0, truth[z] > 0)


@given(labels)
def test_ids_need_not_agree_between_sections(array):
    renamed = array + np.where(array > 0, np.array([10, 20, 30])[:, None, None], 0)
    assert score_sections(renamed, array) == score_sections(array, array)


def test_the_pieces_of_one_id_are_instances_of_their_own():
    truth = np.array([[1, 0, 1]])
    score = score_section(np.array([[1, 0, 0]]), truth)
    assert (score.num_true, score.num_predicted, score.ap50) == (2, 1, 0.5)


def test_sections_that_hold_nothing_are_left_out_of_the_means_and_counted():
    truth = np.array([[[1, 0]], [[0, 0]], [[1, 0]], [[0, 0]]])
    predicted = np.array([[[1, 0]], [[0, 0]], [[0, 0]], [[0, 1]]])
    means = average_sections(score_sections(predicted, truth), seed=0)
    assert (means.num_sections, means.num_empty) == (3, 1)
    assert means.msa.mean == means.iou.mean == pytest.approx(1 / 3)  # missed, found, false


def test_where_every_section_is_empty_the_mean_is_one_without_an_interval():
    nothing = np.zeros((3, 2, 2), int)
    means = average_sections(score_sections(nothing, nothing), seed=0)
    assert (means.num_sections, means.num_empty, means.msa.mean) == (0, 3, 1)
    assert math.isnan(means.msa.interval.low)


def test_intervals_come_from_resampling_sections():
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, 3, (2, 8, 6, 6))
    scores = score_sections(predicted, truth)
    expected = bootstrap_mean(np.array([score.iou for score in scores]), range(8), seed=3)
    assert average_sections(scores, seed=3).iou.interval == expected
    assert expected.resampled == "sections"


@pytest.mark.parametrize(("num_predicted", "num_true"), [(1, 2), (2, 1)])
def test_one_section_too_few_is_refused(num_predicted, num_true):
    predicted, truth = np.ones((num_predicted, 2, 2), int), np.ones((num_true, 2, 2), int)
    shorter = "prediction" if num_predicted < num_true else "truth"
    with pytest.raises(InputError, match=f"the {shorter} ends after 1"):
        score_sections(predicted, truth)


def test_sections_of_another_shape_are_refused_and_named():
    sections = [np.ones((2, 2), int), np.ones((2, 2), int)]
    with pytest.raises(InputError, match="in section 2"):
        score_sections(sections, [sections[0], np.ones((2, 3), int)])


def test_probabilities_are_no_labels():
    with pytest.raises(InputError, match="whole numbers, got float32"):
        score_sections(np.ones((1, 2, 2), np.float32), np.ones((1, 2, 2), int))


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint64, np.int32])
def test_labels_may_be_of_any_whole_dtype(dtype):
    section = np.array([[1, 0, 1]], dtype)
    assert score_section(section, section).num_true == 2


def test_no_sections_are_refused():
    with pytest.raises(InputError, match="no sections"):
        list(pair_sections([], []))


def test_sections_are_read_one_at_a_time():
    read = []

    def sections(name):
        for z in range(3):
            read.append((name, z))
            yield np.ones((2, 2), int)

    for z, _ in enumerate(pair_sections(sections("predicted"), sections("true"))):
        assert read[-2:] == [("predicted", z), ("true", z)]
        assert len(read) == 2 * (z + 1)
