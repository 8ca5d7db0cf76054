from __future__ import annotations

import io
import logging

import imageio.v3 as iio
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from mitosam.data.masks import pieces, survey_masks
from mitosam.data.phantom import make_phantom
from mitosam.errors import InputError
from mitosam.io.volume import volume_of_array

TWO = np.zeros((3, 20, 20), np.int64)
TWO[:, 2:8, 2:8] = 1
TWO[:, 12:18, 12:18] = 1


def as_volume(array):
    return volume_of_array("masks", np.asarray(array))


@pytest.mark.parametrize("value", [1, 128, 255])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32, np.float64])
def test_two_values_are_binary_whatever_their_dtype(value, dtype):
    survey = survey_masks(as_volume((TWO * value).astype(dtype)))
    assert survey.coding == "binary"
    labels = survey.to_labels((TWO[0] * value).astype(dtype))
    assert labels.dtype == np.uint16
    assert labels.max() == 2
    np.testing.assert_array_equal(labels > 0, TWO[0] > 0)


def test_truth_values_are_binary():
    assert survey_masks(as_volume(TWO > 0)).coding == "binary"


def test_touching_corners_are_one_mitochondrion():
    mask = np.eye(6, dtype=np.uint8)
    assert survey_masks(as_volume(mask[None])).to_labels(mask).max() == 1


def test_instance_ids_are_kept():
    masks = TWO.copy()
    masks[:, 12:18, 12:18] = 7
    survey = survey_masks(as_volume(masks))
    assert survey.coding == "instances"
    assert survey.label_dtype == np.uint16
    np.testing.assert_array_equal(survey.to_labels(masks[0]), masks[0])


@pytest.mark.parametrize(("largest", "dtype"), [(70000, np.int32), (2**31 - 1, np.int32)])
def test_large_ids_are_kept_in_32_bits(largest, dtype):
    masks = TWO.copy()
    masks[:, 12:18, 12:18] = largest
    survey = survey_masks(as_volume(masks))
    assert survey.label_dtype == dtype
    np.testing.assert_array_equal(survey.to_labels(masks[0]), masks[0])


def test_huge_ids_are_numbered_anew_without_merging():
    masks = TWO.astype(np.uint64) * np.uint64(2**40)
    masks[:, 12:18, 12:18] += np.uint64(1)
    labels = survey_masks(as_volume(masks)).to_labels(masks[0])
    assert sorted(np.unique(labels)) == [0, 1, 2]
    assert labels[3, 3] == 1
    assert labels[13, 13] == 2


def test_counts_and_hash_come_from_the_same_pass():
    masks = TWO.astype(np.uint8)
    masks[1] = 0
    volume = as_volume(masks)
    survey = survey_masks(volume)
    assert survey.num_empty_sections == 1
    assert survey.foreground_px == masks.sum()
    assert survey.sha256 == volume.sha256()


def test_empty_masks_are_refused():
    with pytest.raises(InputError, match="no mitochondria in any of 3 masks"):
        survey_masks(as_volume(np.zeros((3, 5, 5), np.uint8)))


@pytest.mark.parametrize("bad", [0.5, np.nan, np.inf])
def test_masks_with_other_than_whole_numbers_are_refused(bad):
    masks = TWO.astype(np.float32)
    masks[1, 0, 0] = bad
    with pytest.raises(InputError, match=r"page 2|2\^63"):
        survey_masks(as_volume(masks))


def test_negative_ids_are_refused():
    with pytest.raises(InputError, match="negative"):
        survey_masks(as_volume(-TWO))


def test_a_phantom_s_images_are_no_masks_but_its_labels_are():
    phantom = make_phantom((3, 256, 256), 0)
    with pytest.raises(InputError, match="does not look like masks"):
        survey_masks(as_volume(phantom.images))
    assert survey_masks(as_volume(phantom.labels)).coding == "instances"


@pytest.mark.parametrize("sigma", [0, 1, 3, 8])
def test_images_however_blurred_are_no_masks(sigma):
    rng = np.random.default_rng(0)
    grey = ndimage.gaussian_filter(rng.normal(size=(2, 100, 100)), (0, sigma, sigma))
    grey = np.rint(np.interp(grey, (grey.min(), grey.max()), (1, 255))).astype(np.uint8)
    with pytest.raises(InputError, match="does not look like masks"):
        survey_masks(as_volume(grey))


def test_masks_saved_as_jpeg_are_refused():
    blobs = make_phantom((1, 160, 160), 0).labels[0] > 0
    file = io.BytesIO()
    iio.imwrite(file, (blobs * 255).astype(np.uint8), extension=".jpg", quality=85)
    soft = iio.imread(file.getvalue(), extension=".jpg")
    with pytest.raises(InputError, match=r"not JPEG"):
        survey_masks(as_volume(soft[None]))


def test_masks_with_smoothed_edges_are_refused():
    soft = ndimage.gaussian_filter((TWO[0] * 255).astype(float), 1)
    with pytest.raises(InputError, match="unblurred"):
        survey_masks(as_volume(np.rint(soft).astype(np.uint8)[None]))


def test_noise_of_two_values_is_refused():
    noise = np.zeros((1, 600, 600), np.uint8)
    noise[:, ::2, ::2] = 1
    with pytest.raises(InputError, match="looks like noise"):
        survey_masks(as_volume(noise)).to_labels(noise[0])


def test_inverted_masks_are_pointed_out(caplog):
    with caplog.at_level(logging.WARNING):
        survey_masks(as_volume((1 - TWO).astype(np.uint8)))
    assert "are they inverted?" in caplog.text


def test_masks_one_pixel_high_are_labelled():
    mask = np.array([[[0, 1, 1, 0, 1]]], np.uint8)
    assert survey_masks(as_volume(mask)).to_labels(mask[0]).tolist() == [[0, 1, 1, 0, 2]]


@given(hnp.arrays(np.int32, (7, 9), elements=st.integers(0, 3)))
def test_pieces_cover_the_labels_and_never_join_two_ids(labels):
    found = pieces(labels)
    np.testing.assert_array_equal(found > 0, labels > 0)
    for number in range(1, found.max() + 1):
        part = found == number
        assert len(np.unique(labels[part])) == 1
        assert ndimage.label(part, np.ones((3, 3)))[1] == 1


def test_empty_masks_can_be_allowed():
    survey = survey_masks(as_volume(TWO * 0), empty_ok=True)
    assert (survey.coding, survey.values.size, survey.label_dtype) == ("instances", 0, np.uint16)


def test_instances_may_be_specks_if_each_is_one():
    masks = TWO * 0
    masks[0, 1, 1], masks[0, 3, 3], masks[1, 5, 5] = 1, 2, 3
    assert survey_masks(as_volume(masks)).coding == "instances"
