"""Volumes of all kinds, and those that are refused."""

from __future__ import annotations

from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile

from mitosam.errors import InputError, SettingsError
from mitosam.io.open import open_volume
from mitosam.workflows import automatic_model
from tests.segmentations import as_folder, as_zarr, run, whole
from tests.tiny_runs import VOXEL_SIZE_NM, Remembered, rows_of


@pytest.mark.parametrize(("name", "write"), [("folder", as_folder), ("em.ome.zarr", as_zarr)])
def test_a_folder_and_an_ome_zarr_give_what_the_stack_gives(
    tmp_path, images, model, base_model, expected, name, write
):
    write(tmp_path / name, tifffile.imread(images))
    size = VOXEL_SIZE_NM if name == "folder" else None
    found = run(tmp_path / name, tmp_path / "out", model, base_model, voxel_size_nm=size)
    assert found.instances == expected.instances
    np.testing.assert_array_equal(whole(found.labels), whole(expected.labels))


def test_one_image_without_a_voxel_size_is_measured_in_pixels(tmp_path, images, model, base_model):
    iio.imwrite(tmp_path / "em.png", tifffile.imread(images)[2])
    progress = Remembered()
    found = run(tmp_path / "em.png", tmp_path / "out", model, base_model, progress=progress)
    assert any("no voxel size" in line and "--voxel-size" in line for line in progress.said)
    assert open_volume(found.labels).shape_zyx == (1, 64, 80)
    assert len(found.instances) > 1
    row = rows_of(found.table)[0]
    assert (row["volume_um3"], row["centroid_x_nm"]) == ("", "")
    assert float(row["centroid_x_px"]) > 0
    areas = [int(row["num_voxels"]) for row in rows_of(found.table)]
    assert min(areas) >= 12  # min_area_px, as the smallest volume means nothing here


@pytest.mark.parametrize("shape", [(2, 1, 70), (1, 1, 33), (3, 20, 20)])
def test_sections_of_any_size_are_segmented(tmp_path, images, model, base_model, shape):
    stack = tifffile.imread(images)[tuple(slice(0, side) for side in shape)]
    tifffile.imwrite(tmp_path / "em.tif", stack, photometric="minisblack")
    found = run(tmp_path / "em.tif", tmp_path / "out", model, base_model)
    assert open_volume(found.labels).shape_zyx == shape


def test_what_is_wrong_in_the_last_section_is_found_before_the_first_is_segmented(
    tmp_path, images, model, base_model
):
    stack = tifffile.imread(images).astype(np.float32)
    stack[4, 3, 3] = np.nan
    tifffile.imwrite(tmp_path / "nan.tif", stack, photometric="minisblack")
    progress = Remembered()
    with pytest.raises(InputError, match=r"NaN"):
        run(tmp_path / "nan.tif", tmp_path / "out", model, base_model, progress=progress)
    assert not any(loop.startswith("segmenting") for loop in progress.loops)
    assert {path.name for path in tmp_path.iterdir()} == {"nan.tif"}


def test_a_voxel_size_that_contradicts_the_file_is_refused(tmp_path, images, model, base_model):
    with pytest.raises(SettingsError, match=r"says 10 x 10 x 10 nm.*says 30 x 8 x 8 nm"):
        run(images, tmp_path / "out", model, base_model, voxel_size_nm=(30.0, 8.0, 8.0))
    assert not list(tmp_path.iterdir())


def test_the_folder_one_stands_in_may_be_the_result(
    tmp_path, images, model, base_model, monkeypatch
):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    run(images, Path(), model, base_model)
    assert (tmp_path / "here" / "mitochondria.csv").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


def test_what_has_no_structure_holds_nothing_and_its_tiles_are_encoded_once(
    tmp_path, images, model, base_model, monkeypatch
):
    stack = tifffile.imread(images)
    padded = np.zeros((7, 64, 400), np.uint8)
    padded[1:6, :, :80] = stack
    tifffile.imwrite(tmp_path / "em.tif", padded, photometric="minisblack")
    blank = []

    def encode_with(sam):
        def encode(pixels, frame):
            blank.append(pixels.min() == pixels.max())
            return sam.encode(sam.prepare(pixels, frame))[0]

        return encode

    monkeypatch.setattr(automatic_model, "encode_with", encode_with)
    found = run(tmp_path / "em.tif", tmp_path / "out", model, base_model, probability=True)
    assert sum(blank) <= 5 < blank.count(False)  # once in each section that has structure at most
    maps = whole(found.out / "probability.ome.zarr")
    assert not maps[[0, 6]].any()
    assert maps[1:6].any()
