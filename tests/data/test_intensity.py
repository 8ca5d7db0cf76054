from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitosam.data.intensity import Normalisation, measure_normalisation, read_normalised
from mitosam.errors import InputError
from mitosam.io.volume import volume_of_array


def noise(dtype=np.uint8, scale=1.0):
    return (np.random.default_rng(0).integers(0, 250, (5, 30, 40)) * scale).astype(dtype)


def test_eight_bit_images_stay_as_they_are():
    volume = volume_of_array("v", noise())
    normalisation = measure_normalisation(volume)
    assert normalisation == Normalisation()
    np.testing.assert_array_equal(read_normalised(volume, 2, normalisation), noise()[2])


@pytest.mark.parametrize(
    ("dtype", "scale"),
    [(np.uint16, 200), (np.int16, -90), (np.int32, 1e6), (np.float32, 1e-3), (np.float16, 100)],
)
def test_other_images_are_stretched_to_eight_bit(dtype, scale):
    volume = volume_of_array("v", noise(dtype, scale))
    normalisation = measure_normalisation(volume)
    assert normalisation.kind == "percentile"
    section = read_normalised(volume, 0, normalisation)
    assert section.dtype == np.uint8
    assert (section.min(), section.max()) == (0, 255)
    grey = noise()[0] if scale > 0 else 249 - noise()[0]
    np.testing.assert_allclose(section, grey * (255 / 249), atol=3)


@given(gain=st.integers(1, 200), offset=st.integers(0, 10000))
def test_gain_and_offset_of_the_detector_do_not_matter(gain, offset):
    plain = volume_of_array("v", noise(np.uint16))
    other = volume_of_array("v", (noise(np.uint16) * gain + offset).astype(np.uint16))
    first, second = (read_normalised(v, 1, measure_normalisation(v)) for v in (plain, other))
    np.testing.assert_allclose(first, second, atol=1)


def test_outliers_are_clipped():
    images = noise(np.uint16)
    images[0, 0, 0] = 65535
    normalisation = measure_normalisation(volume_of_array("v", images))
    assert normalisation.high < 300
    assert normalisation.apply(images[0])[0, 0] == 255


def test_few_bright_pixels_on_an_even_ground_are_no_constant_image():
    images = np.zeros((1, 100, 100), np.uint16)
    images[0, 5, 5] = 10
    normalisation = measure_normalisation(volume_of_array("v", images))
    assert (normalisation.low, normalisation.high) == (0, 10)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused_by_section(value):
    images = noise(np.float32)
    images[3, 2, 1] = value
    with pytest.raises(InputError, match=r"v, page 4 has 1 pixels that are NaN or infinite"):
        measure_normalisation(volume_of_array("v", images))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_constant_images_are_refused(dtype):
    with pytest.raises(InputError, match="is constant: every pixel is 7"):
        measure_normalisation(volume_of_array("v", np.full((3, 4, 5), 7, dtype)))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_what_is_even_but_for_some_sections_in_the_middle_is_measured_there(dtype):
    images = np.full((200, 20, 30), 3, dtype)
    images[101, 4:9, 5:10] = np.arange(25).reshape(5, 5) + 50
    normalisation = measure_normalisation(volume_of_array("v", images))
    if dtype == np.uint16:
        assert (normalisation.low, normalisation.high) == pytest.approx((3, 74), abs=1.5)
    else:
        assert normalisation == Normalisation()


def test_truth_values_are_no_images():
    with pytest.raises(InputError, match="looks like a mask"):
        measure_normalisation(volume_of_array("v", np.zeros((3, 4, 5), bool)))


def test_an_eight_bit_normalisation_refuses_other_images():
    with pytest.raises(InputError, match="is for 8-bit images, got uint16"):
        Normalisation().apply(noise(np.uint16)[0])


@given(low=st.floats(-1e9, 1e9), width=st.floats(1e-3, 1e9))
def test_saved_and_loaded_it_is_the_same(low, width):
    normalisation = Normalisation(kind="percentile", low=low, high=low + width)
    if normalisation.low < normalisation.high:
        assert Normalisation.from_dict(normalisation.to_dict()) == normalisation


@pytest.mark.parametrize(
    "flat",
    [{}, {"kind": "x"}, {"kind": "identity"}, {"kind": "percentile", "low": "2", "high": "1"}],
)
def test_a_damaged_normalisation_is_refused(flat):
    with pytest.raises(InputError, match="normalisation"):
        Normalisation.from_dict(flat)
