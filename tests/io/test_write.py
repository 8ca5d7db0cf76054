from __future__ import annotations

import numpy as np
import pytest

from mitosam.errors import InputError
from mitosam.io.open import open_volume
from mitosam.io.write import write_stack_tiff


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
@pytest.mark.parametrize("shape", [(3, 40, 50), (1, 7, 9), (4, 1, 3)])
def test_labels_are_read_back_with_their_voxel_size(tmp_path, dtype, shape):
    labels = np.random.default_rng(0).integers(0, 99, shape).astype(dtype)
    write_stack_tiff(tmp_path / "l.tif", labels, (30.0, 8.0, 4.5))
    volume = open_volume(tmp_path / "l.tif")
    assert volume.voxel_size_nm == pytest.approx((30, 8, 4.5))
    assert volume.dtype == dtype
    np.testing.assert_array_equal(np.stack(list(volume.sections())), labels)


def test_an_unknown_voxel_size_stays_unknown(tmp_path):
    write_stack_tiff(tmp_path / "l.tif", np.ones((2, 3, 4), np.uint16), None)
    assert open_volume(tmp_path / "l.tif").voxel_size_nm is None


def test_what_is_no_label_volume_is_refused(tmp_path):
    with pytest.raises(InputError, match="whole numbers"):
        write_stack_tiff(tmp_path / "l.tif", np.ones((2, 3, 4)), None)
    with pytest.raises(InputError, match="axes z, y and x"):
        write_stack_tiff(tmp_path / "l.tif", np.ones((3, 4), int), None)
    assert not list(tmp_path.iterdir())
