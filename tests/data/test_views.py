from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mitosam.data.views import AS_IT_IS, View

squares = st.integers(1, 6).flatmap(
    lambda side: arrays(np.uint8, (side, side), elements=st.integers(0, 255))
)
symmetries = st.integers(0, 7)
INVERSE = {0: 0, 1: 3, 2: 2, 3: 1, 4: 4, 5: 5, 6: 6, 7: 7}  # a mirror image is its own inverse


@given(squares, symmetries)
def test_labels_and_pixels_turn_alike(square, symmetry):
    view = View(symmetry=symmetry)
    assert np.array_equal(view.of_pixels(square), view.of_labels(square))


@given(squares, symmetries)
def test_every_view_has_an_inverse(square, symmetry):
    turned = View(symmetry=symmetry).of_labels(square)
    assert np.array_equal(View(symmetry=INVERSE[symmetry]).of_labels(turned), square)


@given(squares)
def test_a_view_that_changes_nothing_gives_the_image_itself(square):
    assert np.array_equal(AS_IT_IS.of_pixels(square), square)


def test_the_eight_symmetries_differ():
    square = np.arange(9).reshape(3, 3)
    seen = {View(symmetry=symmetry).of_labels(square).tobytes() for symmetry in range(8)}
    assert len(seen) == 8


def test_a_quarter_turn_by_hand():
    square = np.array([[1, 2], [3, 4]], np.uint8)
    assert View(symmetry=1).of_labels(square).tolist() == [[2, 4], [1, 3]]
    assert View(symmetry=4).of_labels(square).tolist() == [[2, 1], [4, 3]]


@given(squares, symmetries, st.floats(0.5, 2), st.floats(0.5, 2))
def test_contrast_changes_no_place_and_no_order_of_grey_values(square, symmetry, gamma, gain):
    view = View(symmetry=symmetry, gamma=gamma, gain=gain)
    turned = view.of_labels(square)
    changed = view.of_pixels(square)
    assert changed.dtype == np.uint8
    order = np.argsort(turned, axis=None, kind="stable")
    assert (np.diff(changed.ravel()[order].astype(int)) >= 0).all()


def test_contrast_by_hand():
    view = View(gamma=2, gain=0.5)  # v -> (v^2 - 0.5) / 2 + 0.5
    assert view.of_pixels(np.array([[0, 51], [255, 255]], np.uint8)).tolist() == [
        [64, 69],
        [191, 191],
    ]
