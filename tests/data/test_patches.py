from __future__ import annotations

import numpy as np
import pytest

from mitosam.data.patches import Patch, list_patches, patch_labels
from mitosam.data.prepared import prepare_volume
from mitosam.geometry import Window
from mitosam.io.volume import volume_of_array


@pytest.fixture
def volume(tmp_path):
    masks = np.zeros((2, 6, 8), np.uint8)
    masks[0, 1:3, 1:7] = 255  # crosses from the first patch into the second
    masks[0, 5, 0] = 255
    images = np.arange(96, dtype=np.uint8).reshape(2, 6, 8)
    return prepare_volume(
        volume_of_array("em", images), volume_of_array("m", masks), tmp_path / "p"
    )


def test_patches_count_what_lies_in_them(volume):
    patches = list_patches(volume, 4)
    assert len(patches) == 2 * 4
    assert patches[:4] == [
        Patch("em", 0, Window(0, 0, 4, 4), 1, 6),
        Patch("em", 0, Window(0, 4, 4, 4), 1, 6),
        Patch("em", 0, Window(4, 0, 4, 4), 1, 1),
        Patch("em", 0, Window(4, 4, 4, 4), 0, 0),
    ]
    assert all(patch.num_objects == 0 for patch in patches[4:])


def test_cropping_and_chosen_sections_are_respected(volume):
    patches = list_patches(volume, 4, "crop", sections=[1])
    assert [(patch.section, patch.window.y) for patch in patches] == [(1, 0), (1, 0)]


def test_each_piece_of_each_id_is_an_object_of_its_own():
    labels = np.array([[5, 5, 0, 5], [0, 0, 0, 5], [7, 7, 5, 0], [7, 0, 0, 0]])
    found = patch_labels(labels, Window(0, 0, 4, 4))
    assert found.dtype == np.int32
    assert found.tolist() == [[1, 1, 0, 2], [0, 0, 0, 2], [3, 3, 2, 0], [3, 0, 0, 0]]
    assert patch_labels(labels, Window(2, 2, 4, 4)).tolist()[0] == [1, 0, 0, 0]
