from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mitosam.evaluation.metrics import iou
from mitosam.geometry import Window
from mitosam.inference.mask_nms import (
    FoundMask,
    box_nms,
    found_mask,
    mask_nms,
    merge_masks,
    shared_px,
)

SHAPE = (12, 14)
thresholds = st.sampled_from([0.0, 0.2, 0.5, 0.7, 1.0])


def make(mask: np.ndarray, score: float = 0.5, origin_yx: tuple[int, int] = (0, 0)) -> FoundMask:
    found = found_mask(mask, origin_yx, predicted_iou=score, stability_score=1.0)
    assert found is not None
    return found


def rectangle(top: int, left: int, height: int, width: int, score: float = 0.5) -> FoundMask:
    return make(np.ones((height, width), bool), score, (top, left))


def whole(found: FoundMask, shape_yx: tuple[int, int] = SHAPE) -> np.ndarray:
    section = np.zeros(shape_yx, bool)
    window = found.window
    section[window.y : window.y + window.height, window.x : window.x + window.width] = found.crop
    return section


@st.composite
def found_masks(draw, max_size: int = 8) -> list[FoundMask]:
    """Blotches on a small section, no two with one score."""
    masks = draw(st.lists(hnp.arrays(bool, (5, 6)), max_size=max_size))
    masks = [mask for mask in masks if mask.any()]
    scores = draw(st.permutations(np.linspace(0.1, 0.9, len(masks)).tolist()))
    origins = draw(
        st.lists(
            st.tuples(st.integers(0, 7), st.integers(0, 8)),
            min_size=len(masks),
            max_size=len(masks),
        )
    )
    return [make(*parts) for parts in zip(masks, scores, origins, strict=True)]


@given(mask=hnp.arrays(bool, (5, 6)), origin=st.tuples(st.integers(0, 7), st.integers(0, 8)))
def test_a_cut_mask_is_the_mask_in_the_tightest_window(mask, origin):
    found = found_mask(mask, origin, predicted_iou=0.5, stability_score=1.0)
    if found is None:
        assert not mask.any()
        return
    expected = np.zeros(SHAPE, bool)
    expected[origin[0] : origin[0] + 5, origin[1] : origin[1] + 6] = mask
    assert np.array_equal(whole(found), expected)
    assert found.area == mask.sum()
    assert found.crop[[0, -1]].any(axis=1).all()
    assert found.crop[:, [0, -1]].any(axis=0).all()


def test_a_cut_mask_does_not_keep_the_array_it_came_from():
    large = np.zeros((100, 100), bool)
    large[3:5, 3:5] = True
    assert make(large).crop.base is None


@given(found=found_masks(max_size=4))
def test_shared_pixels_are_those_of_whole_masks(found):
    for a, b in itertools.product(found, repeat=2):
        assert shared_px(a, b) == (whole(a) & whole(b)).sum()


@given(found=found_masks(), mask_thresh=thresholds, containment=thresholds)
def test_mask_nms_agrees_with_the_same_on_whole_masks(found, mask_thresh, containment):
    expected: list[int] = []
    for index in sorted(range(len(found)), key=lambda i: -found[i].predicted_iou):
        for other in expected:
            a, b = whole(found[index]), whole(found[other])
            if iou(a, b) > mask_thresh or (a & b).sum() > containment * min(a.sum(), b.sum()):
                break
        else:
            expected.append(index)
    kept = mask_nms(found, mask_nms_thresh=mask_thresh, containment_thresh=containment)
    assert kept.tolist() == expected


@given(found=found_masks(), threshold=thresholds)
def test_box_nms_agrees_with_mask_nms_of_filled_boxes(found, threshold):
    filled = [
        rectangle(w.y, w.x, w.height, w.width, f.predicted_iou)
        for w, f in ((f.window, f) for f in found)
    ]
    expected = mask_nms(filled, mask_nms_thresh=threshold)
    assert box_nms(found, box_nms_thresh=threshold).tolist() == expected.tolist()


@given(found=found_masks(), threshold=thresholds)
def test_nms_is_idempotent_and_leaves_no_duplicates(found, threshold):
    kept = [found[i] for i in mask_nms(found, mask_nms_thresh=threshold)]
    assert mask_nms(kept, mask_nms_thresh=threshold).tolist() == list(range(len(kept)))
    for a, b in itertools.combinations(kept, 2):
        assert iou(whole(a), whole(b)) <= threshold


@given(found=found_masks(), data=st.data())
def test_the_order_in_which_masks_come_does_not_matter(found, data):
    shuffled = data.draw(st.permutations(found))
    kept, again = (
        [masks[i].window for i in mask_nms(masks, mask_nms_thresh=0.5)]
        for masks in (found, shuffled)
    )
    assert kept == again
    merged, merged_again = (merge_masks(masks, SHAPE) for masks in (found, shuffled))
    assert np.array_equal(merged.labels, merged_again.labels)
    assert np.array_equal(merged.confidence, merged_again.confidence)


def test_ties_go_to_the_more_stable_mask_and_then_to_the_upper_left():
    plain = rectangle(2, 2, 3, 3)
    moved = rectangle(2, 3, 3, 3)
    stable = FoundMask(
        window=moved.window, crop=moved.crop, predicted_iou=0.5, stability_score=2.0, area=9
    )
    for masks in ([plain, moved], [moved, plain]):
        (kept,) = mask_nms(masks, mask_nms_thresh=0.4)
        assert masks[kept] is plain
    assert mask_nms([plain, stable], mask_nms_thresh=0.4).tolist() == [1]


def test_a_part_of_a_better_mask_goes_only_if_containment_counts():
    masks = [rectangle(0, 0, 6, 6, 0.9), rectangle(1, 1, 2, 2, 0.8)]
    assert mask_nms(masks, mask_nms_thresh=0.7).tolist() == [0, 1]
    assert mask_nms(masks, mask_nms_thresh=0.7, containment_thresh=0.9).tolist() == [0]


def test_merging_by_hand():
    masks = [
        rectangle(0, 0, 1, 3, 0.6),
        rectangle(0, 2, 1, 3, 0.8),
        rectangle(0, 3, 1, 1, 0.7),  # covered
        rectangle(0, 0, 1, 1, 0.2),  # covered
        rectangle(0, 5, 1, 1, 0.1),
    ]
    merged = merge_masks(masks, (1, 7))
    assert merged.labels.tolist() == [[2, 2, 1, 1, 1, 3, 0]]
    assert merged.labels.dtype == np.int32
    assert merged.confidence.tolist() == pytest.approx([0.8, 0.6, 0.1])


@given(found=found_masks())
def test_merged_masks_cover_their_union_and_each_pixel_is_of_the_best(found):
    merged = merge_masks(found, SHAPE)
    best = np.zeros(SHAPE, np.float32)
    for mask in found:
        best[whole(mask)] = np.maximum(best[whole(mask)], np.float32(mask.predicted_iou))
    assert np.array_equal(np.concatenate([[0], merged.confidence])[merged.labels], best)
    assert np.array_equal(
        np.unique(merged.labels[merged.labels > 0]), np.arange(1, len(merged.confidence) + 1)
    )


def test_nothing_found_is_nothing_merged():
    assert mask_nms([], mask_nms_thresh=0.5).tolist() == []
    assert box_nms([], box_nms_thresh=0.5).tolist() == []
    merged = merge_masks([], (1, 3))
    assert merged.labels.tolist() == [[0, 0, 0]]
    assert merged.confidence.shape == (0,)


def test_a_window_says_where_a_mask_lies_in_the_section():
    assert make(np.array([[False, True]]), origin_yx=(3, 4)).window == Window(3, 5, 1, 1)
