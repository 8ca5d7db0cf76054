"""The real volumes that the results are reported on, where this machine has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mitosam.data.patches import list_patches
from mitosam.data.prepared import prepare_volume
from mitosam.io.open import open_volume

DATA = Path(__file__).parents[2].parent / "shared" / "data"

needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason="no ../shared/data beside the repository; put the real volumes there"
)


def prepared(tmp_path, images, masks):
    return prepare_volume(open_volume(DATA / images), open_volume(DATA / masks), tmp_path / "p")


@needs_data
def test_epfl_has_1980_patches_of_which_1640_hold_mitochondria(tmp_path):
    volume = prepared(tmp_path, "epfl/training.tif", "epfl/training_groundtruth.tif")
    patches = list_patches(volume, 256)
    assert len(patches) == 1980
    assert sum(patch.num_objects > 0 for patch in patches) == 1640
    assert volume.info.coding == "binary"
    assert volume.voxel_size_nm is None  # the file claims 127 nm, by the inch
    assert round(volume.info.foreground_px / (165 * 768 * 1024), 3) == 0.056


@needs_data
def test_sbem_pairs_by_name(tmp_path):
    volume = prepared(tmp_path, "sbem/images", "sbem/labels")
    assert volume.info.pairing.startswith(
        "paired 20 sections by name: images.010.png with mitos_3D.010.png"
    )
    assert volume.shape_zyx == (20, 1024, 1024)
