from __future__ import annotations

import numpy as np
import pytest

from mitosam.errors import InputError
from mitosam.io.open import open_volume
from mitosam.io.write import write_sections_tiff, write_stack_tiff


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


@pytest.mark.parametrize("dtype", [np.uint8, np.uint32, np.float32])
def test_sections_are_written_as_they_come(tmp_path, dtype):
    stack = np.random.default_rng(1).integers(0, 255, (4, 6, 5)).astype(dtype)
    asked = []

    def sections():
        for z, section in enumerate(stack):
            asked.append(z)
            yield section[:, ::-1]

    write_sections_tiff(
        tmp_path / "p.tif",
        sections(),
        shape_zyx=stack.shape,
        dtype=dtype,
        voxel_size_nm=(30.0, 8.0, 4.5),
    )
    assert asked == [0, 1, 2, 3]
    volume = open_volume(tmp_path / "p.tif")
    assert volume.voxel_size_nm == pytest.approx((30, 8, 4.5))
    assert volume.dtype == dtype
    np.testing.assert_array_equal(np.stack(list(volume.sections())), stack[:, :, ::-1])


@pytest.mark.parametrize(
    ("stack", "match"),
    [
        (np.ones((2, 4, 5), np.uint8), "3 sections, but only 2 came"),
        (np.ones((4, 4, 5), np.uint8), "3 sections, but more came"),
        (np.ones((3, 4, 6), np.uint8), r"section 1 is of shape \(4, 6\)"),
        (np.ones((3, 4, 5), np.uint16), "uint16"),
    ],
)
def test_sections_that_are_not_as_announced_leave_no_file(tmp_path, stack, match):
    with pytest.raises(InputError, match=match):
        write_sections_tiff(tmp_path / "p.tif", stack, shape_zyx=(3, 4, 5), dtype=np.uint8)
    assert not list(tmp_path.iterdir())


def test_truth_values_are_no_tiff_stack(tmp_path):
    with pytest.raises(InputError, match="needs numbers"):
        write_sections_tiff(
            tmp_path / "p.tif", np.ones((1, 2, 2), bool), shape_zyx=(1, 2, 2), dtype=bool
        )
