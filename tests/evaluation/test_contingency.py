from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.metrics import contingency_table

from mitosam.errors import InputError
from mitosam.evaluation import contingency
from mitosam.evaluation.contingency import ContingencyCounter, count_overlaps
from tests.evaluation.label_arrays import label_pairs, slow_ious


def as_table(counted) -> dict[tuple[int, int], int]:
    """Overlaps by true and predicted id, with the sizes under the id 0 of the other side."""
    true = counted.true_ids[counted.true_index].tolist()
    predicted = counted.predicted_ids[counted.predicted_index].tolist()
    table = dict(zip(zip(true, predicted, strict=True), counted.overlaps.tolist(), strict=True))
    for t, size in zip(counted.true_ids.tolist(), counted.true_sizes.tolist(), strict=True):
        table[t, 0] = size
    for p, size in zip(
        counted.predicted_ids.tolist(), counted.predicted_sizes.tolist(), strict=True
    ):
        table[0, p] = size
    return table


@given(label_pairs)
def test_scikit_image_agrees(pair):
    predicted, truth = pair
    dense = contingency_table(truth, predicted).toarray().astype(int)
    expected = {(t, p): n for (t, p), n in np.ndenumerate(dense) if n and t and p}
    expected |= {(t, 0): n for t, n in enumerate(dense.sum(axis=1)) if n and t}
    expected |= {(0, p): n for p, n in enumerate(dense.sum(axis=0)) if n and p}
    assert as_table(count_overlaps(predicted, truth)) == expected


@given(label_pairs)
def test_ious_are_those_of_the_masks_one_by_one(pair):
    counted = count_overlaps(*pair)
    slow = slow_ious(*pair)
    assert np.count_nonzero(slow) == len(counted.ious)
    np.testing.assert_array_equal(slow[counted.true_index, counted.predicted_index], counted.ious)


@given(label_pairs, st.permutations(range(3)), st.booleans())
def test_sections_in_any_order_count_as_the_whole(pair, order, merge_each):
    predicted, truth = pair
    counter = ContingencyCounter()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contingency, "_MAX_PENDING_ROWS", -1 if merge_each else 50_000)
        for z in order:
            counter.add(predicted[z], truth[z])
    assert as_table(counter.result()) == as_table(count_overlaps(predicted, truth))


def test_a_result_can_be_had_before_the_last_section():
    section = np.array([[1, 0]])
    counter = ContingencyCounter()
    counter.add(section, section)
    assert counter.result().overlaps.tolist() == [1]
    counter.add(section, section)
    assert counter.result().overlaps.tolist() == [2]


def test_ids_may_be_as_large_as_a_signed_64_bit_number():
    largest = np.iinfo(np.int64).max
    truth = np.array([[largest, largest, 0]], np.uint64)
    predicted = np.array([[0, largest - 1, largest - 2]], np.uint64)
    expected = {(largest, largest - 1): 1, (largest, 0): 2, (0, largest - 1): 1}
    assert as_table(count_overlaps(predicted, truth)) == expected | {(0, largest - 2): 1}


def test_the_arrays_need_not_lie_in_order_in_memory():
    truth = np.arange(12).reshape(3, 4)
    turned = np.asfortranarray(truth)
    assert as_table(count_overlaps(turned, truth)) == as_table(count_overlaps(truth, truth))


@pytest.mark.parametrize("shape", [(0, 4), (2, 2)])
def test_nothing_to_count_gives_an_empty_table(shape):
    nothing = np.zeros(shape, int)
    assert as_table(count_overlaps(nothing, nothing)) == {}
    assert count_overlaps(nothing, nothing).ious.size == 0


def test_labels_of_another_shape_are_refused():
    with pytest.raises(InputError, match=r"one shape .* \(2, 2\) predicted and \(2, 3\) true"):
        count_overlaps(np.ones((2, 2), int), np.ones((2, 3), int))


def test_probabilities_are_no_labels():
    with pytest.raises(InputError, match="whole numbers, got float64"):
        count_overlaps(np.full((2, 2), 0.5), np.ones((2, 2), int))


@pytest.mark.parametrize("wrong", [np.array([[-1]]), np.array([[2**63]], np.uint64)])
def test_ids_below_0_or_above_63_bits_are_refused(wrong):
    with pytest.raises(InputError, match="between 0 and 2"):
        count_overlaps(wrong, np.ones((1, 1), int))
