from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitosam.data.object_size import OBJECT_MODEL_PX, ObjectSize
from mitosam.data.prepared import PreparedVolume, prepare_volume
from mitosam.errors import InputError
from mitosam.io.open import open_volume
from tests.tiny_runs import write_stacks

EPFL = (768, 1024)


def prepared(folder, labels: np.ndarray) -> PreparedVolume:
    images = np.random.default_rng(0).integers(0, 255, labels.shape).astype(np.uint8)
    sources = write_stacks(folder, images, labels)
    images_volume, masks = open_volume(sources.images), open_volume(sources.masks)
    return prepare_volume(images_volume, masks, folder / "prepared")


def size_of(median_px: float) -> ObjectSize:
    return ObjectSize(median_px=median_px, num_objects=1)


def test_squares_measured_by_hand(tmp_path):
    labels = np.zeros((3, 64, 64), np.uint16)
    labels[0, :10, :10] = 1
    labels[0, 20:40, 20:40] = 2
    labels[1, :30, :30] = 2
    labels[1, 60:62, 60:62] = 3  # too small to count
    labels[2, :64, :50] = 4  # in a section that is not asked for
    size = ObjectSize.measure(prepared(tmp_path, labels), [0, 1], min_object_px=20)
    assert size.num_objects == 3
    assert size.median_px == pytest.approx(2 * math.sqrt(400 / math.pi))


def test_two_pieces_of_one_mitochondrion_count_by_themselves(tmp_path):
    labels = np.zeros((3, 64, 64), np.uint16)
    labels[0, :10, :10] = labels[0, 30:40, 30:40] = 7
    size = ObjectSize.measure(prepared(tmp_path, labels), [0], min_object_px=20)
    assert size.num_objects == 2


@pytest.mark.parametrize("sections", [[1], []])
def test_nothing_to_measure_is_an_error_that_names_the_setting(tmp_path, sections):
    labels = np.zeros((3, 64, 64), np.uint16)
    labels[0, :10, :10] = 1
    with pytest.raises(InputError, match=r"no mitochondrion of 20 px.* data\.tile_px to a number"):
        ObjectSize.measure(prepared(tmp_path, labels), sections, min_object_px=20)


@pytest.mark.parametrize(
    ("median_px", "tile_px"), [(55.8, 512), (56.3, 512), (36.8, 320), (10, 256), (300, 1024)]
)
def test_the_sizes_of_real_volumes_and_the_limits_by_hand(median_px: float, tile_px: int):
    """EPFL's 1-119 and 1-104, SBEM's 1-14, then what is smaller and larger than tiles may be."""
    found = size_of(median_px).tile_px(input_px=1024, patch_px=256, shape_yx=EPFL)
    assert found == tile_px


sizes = st.floats(1, 2000)


@given(sizes, st.integers(32, 1500), st.integers(40, 3000), st.sampled_from([512, 768, 1024]))
def test_a_tile_holds_a_patch_and_is_a_whole_number_of_cells(size, patch_px, side, input_px):
    found = size_of(size).tile_px(input_px=input_px, patch_px=patch_px, shape_yx=(side, side))
    assert found % 64 == 0
    assert found >= patch_px
    assert found <= max(1024, patch_px + 63)
    assert found < max(side, patch_px) + 64


@given(st.floats(32, 110))
def test_between_the_limits_objects_have_about_the_wanted_size_for_the_model(size):
    tile_px = size_of(size).tile_px(input_px=1024, patch_px=256, shape_yx=(4096, 4096))
    assert size * 1024 / tile_px == pytest.approx(OBJECT_MODEL_PX, rel=0.15)


@given(sizes, st.floats(1, 3))
def test_larger_objects_never_have_a_smaller_tile(size, factor):
    small, large = (
        size_of(length).tile_px(input_px=1024, patch_px=256, shape_yx=EPFL)
        for length in (size, size * factor)
    )
    assert small <= large
