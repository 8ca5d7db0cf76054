from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mitosam.data.phantom import make_phantom
from mitosam.data.resampling import (
    Resampling,
    images_at_pixel,
    resample_image,
    resample_labels,
    scaled_shape,
    to_common_pixel,
)
from mitosam.errors import InputError
from mitosam.geometry import Box, Window
from mitosam.io.volume import volume_of_array

SHAPES = st.tuples(st.integers(1, 24), st.integers(1, 24))
IMAGES = SHAPES.flatmap(lambda shape: arrays(np.uint8, shape))


@given(IMAGES)
def test_as_many_pixels_are_the_same_pixels(section):
    assert np.array_equal(resample_image(section, section.shape), section)
    assert np.array_equal(resample_labels(section, section.shape), section)


@given(st.sampled_from(["uint8", "uint16", "int32", "float32"]), SHAPES, SHAPES)
def test_a_flat_section_stays_flat_at_any_size(dtype, shape, new_shape):
    section = np.full(shape, 77, dtype)
    scaled = resample_image(section, new_shape)
    assert scaled.dtype == section.dtype
    assert np.allclose(scaled, 77, atol=1e-4)


@given(arrays(np.float32, (12, 18), elements=st.floats(0, 255, width=32)), st.integers(2, 12))
def test_a_smaller_section_keeps_the_mean(section, height):
    scaled = resample_image(section, (height, 7))
    assert scaled.mean() == pytest.approx(section.mean(), abs=0.01)


def test_four_pixels_become_their_mean_and_three_halves_share_the_middle_one():
    section = np.array([[0, 4, 8, 8], [0, 4, 8, 8]], np.float32)
    assert resample_image(section, (1, 2)).tolist() == [[2.0, 8.0]]
    thirds = np.array([[0, 3, 9]], np.float32)
    # 1.5 old pixels each: (0 + 3 / 2) / 1.5 and (3 / 2 + 9) / 1.5
    assert np.allclose(resample_image(thirds, (1, 2)), [[1.0, 7.0]])


def test_a_larger_section_is_linear_between_the_middles():
    section = np.array([[0, 8]], np.float32)
    assert resample_image(section, (1, 4)).tolist() == [[0.0, 2.0, 6.0, 8.0]]


@given(arrays(np.uint16, (20, 20), elements=st.integers(0, 5)), SHAPES)
def test_no_id_is_made_up(labels, new_shape):
    assert set(np.unique(resample_labels(labels, new_shape))) <= set(np.unique(labels))


@given(IMAGES, SHAPES)
def test_renumbering_ids_before_or_after_is_the_same_but_for_ties(labels, new_shape):
    renumber = np.random.default_rng(0).permutation(256).astype(np.uint8)
    before = resample_labels(renumber[labels], new_shape)
    assert np.array_equal(before, renumber[resample_labels(labels, new_shape)])


def test_most_of_the_ground_wins_and_the_middle_where_it_is_even():
    labels = np.zeros((3, 3), np.uint8)
    labels[:, 1:] = 5
    assert resample_labels(labels, (1, 1)).tolist() == [[5]]
    labels = np.array([[1, 1, 1], [2, 2, 3], [3, 3, 2]], np.uint8)  # three votes each
    assert resample_labels(labels, (1, 1)).tolist() == [[2]]


@pytest.mark.parametrize("pixel_nm", [4.0, 8.0, 13.0, 17.5])
def test_areas_in_nm_stay_within_2_percent(pixel_nm):
    phantom = make_phantom((3, 256, 320), 3, (10.0, 10.0, 10.0))
    labels = phantom.labels.astype(np.uint16)
    _, masks = to_common_pixel(
        volume_of_array("images", phantom.images, voxel_size_nm=(10.0, 10.0, 10.0)),
        volume_of_array("masks", labels),
        pixel_nm,
    )
    _, y, x = masks.voxel_size_nm
    scaled = np.stack(list(masks.sections()))
    assert (scaled > 0).sum() * y * x == pytest.approx((labels > 0).sum() * 100, rel=0.02)
    sizes_nm2 = np.bincount(labels.ravel())[1:] * 100
    coarser_nm = max(pixel_nm, 10.0)
    large = [i for i, size in enumerate(sizes_nm2, start=1) if size / coarser_nm**2 > 800]
    assert large
    for number in large:
        area = (scaled == number).sum() * y * x
        assert area == pytest.approx(sizes_nm2[number - 1], rel=0.02)


def test_the_voxel_size_says_what_pixels_really_are_and_z_stays():
    images = volume_of_array("images", np.zeros((2, 101, 64), np.uint8))
    scaled, masks = to_common_pixel(images, images, 8.0, (30.0, 5.0, 6.0))
    assert scaled.shape_zyx == masks.shape_zyx == (2, 63, 48)
    z, y, x = scaled.voxel_size_nm
    assert (z, x) == (30.0, 8.0)
    assert y == pytest.approx(101 * 5 / 63)
    assert abs(y * 63 - 8 * 63) <= 8 / 2
    assert scaled.section(1).shape == (63, 48)


@given(IMAGES, SHAPES, st.data())
def test_a_window_is_what_it_is_of_the_whole(section, shape, data):
    whole = resample_image(section, shape)
    (y, bottom), (x, right) = (
        sorted(data.draw(st.tuples(st.integers(0, n - 1), st.integers(1, n)))) for n in shape
    )
    wanted = Window(y, x, max(bottom - y, 1), max(right - x, 1))
    scaling = Resampling(section.shape, shape)
    needed = scaling.needed(wanted)
    place = needed.grown(data.draw(st.integers(0, 3)), section.shape)
    found = scaling.apply(section[place.slices], place, wanted)
    assert np.array_equal(found, whole[wanted.slices])


@pytest.mark.parametrize("pixel_nm", [3.1, 12.5])
def test_boxes_of_a_scaled_volume_are_those_of_its_sections(pixel_nm):
    stack = np.random.default_rng(0).integers(0, 60000, (4, 90, 110)).astype(np.uint16)
    boxes = []
    images = replace(
        volume_of_array("stack", stack),
        read_box=lambda box: boxes.append(box) or stack[box.slices],
    )
    scaled = images_at_pixel(images, pixel_nm, (30.0, 5.0, 6.0))
    _, height, width = scaled.shape_zyx
    box = Box((1, height // 3, width // 2), (3, height // 2, width - 1))
    expected = np.stack([scaled.section(z) for z in (1, 2)])[:, *box.slices[1:]]
    np.testing.assert_array_equal(scaled.box(box), expected)
    (read,) = boxes
    assert np.prod(read.shape_zyx) < stack.size / 4


def test_a_volume_of_that_pixel_size_is_read_as_it_is():
    images = volume_of_array("images", np.arange(2 * 20 * 20, dtype=np.uint16).reshape(2, 20, 20))
    scaled, _ = to_common_pixel(images, images, 5.0, (5.0, 5.0, 5.0))
    assert scaled.read_section is images.read_section
    assert scaled.voxel_size_nm == (5.0, 5.0, 5.0)


def test_without_a_voxel_size_nothing_is_scaled():
    images = volume_of_array("stack", np.zeros((2, 64, 64), np.uint8))
    with pytest.raises(InputError, match="stack has no voxel size, which common_pixel_nm needs"):
        to_common_pixel(images, images, 8.0)


def test_a_pixel_size_that_leaves_nothing_of_a_section_is_refused():
    images = volume_of_array("stack", np.zeros((2, 64, 64), np.uint8))
    with pytest.raises(InputError, match="would be 3 x 3 px at 100 nm a pixel"):
        to_common_pixel(images, images, 100.0, (5.0, 5.0, 5.0))


def test_a_pixel_size_that_enlarges_beyond_reason_is_refused():
    images = volume_of_array("stack", np.zeros((2, 64, 64), np.uint8))
    scaled, _ = to_common_pixel(images, images, 5.0, (30.0, 40.0, 40.0))
    assert scaled.shape_zyx == (2, 512, 512)
    message = "5000 x 5000 nm, and 5 nm a pixel would enlarge its sections to 64000 x 64000 px"
    with pytest.raises(InputError, match=message):
        to_common_pixel(images, images, 5.0, (5000.0, 5000.0, 5000.0))


@given(SHAPES, st.floats(1, 50), st.floats(1, 50))
def test_a_side_keeps_its_length_to_half_a_pixel(shape, pixel_nm, common_nm):
    for old, new in zip(shape, scaled_shape(shape, (pixel_nm, pixel_nm), common_nm), strict=True):
        assert abs(new * common_nm - old * pixel_nm) <= common_nm / 2 + 1e-6
