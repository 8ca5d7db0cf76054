"""Volumes in other pixels than those the model was trained on: labels are on the volume's own."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile

from mitosam.data.resampling import resample_image
from mitosam.errors import InputError
from mitosam.inference.instance_settings import InstanceSettings
from mitosam.io.open import open_volume
from mitosam.io.write import write_stack_tiff
from mitosam.workflows.automatic import Segmenter
from tests.segmentations import as_zarr, results, run, whole
from tests.tiny_runs import VOXEL_SIZE_NM
from tests.tiny_segmenter import write_tuned

Z_NM, PIXEL_NM, _ = VOXEL_SIZE_NM
HALF_NM = (Z_NM, PIXEL_NM / 2, PIXEL_NM / 2)


@pytest.fixture(scope="module", params=["scaled to it", "noted"])
def scaled_model(tmp_path_factory, base_model, request):
    """A model that was trained on pixels of the size of those of `images`."""
    path = tmp_path_factory.mktemp("tuned") / "model.safetensors"
    if request.param == "noted":
        return write_tuned(path, base_model, pixel_nm=PIXEL_NM)
    return write_tuned(path, base_model, trained_with=[f"data.common_pixel_nm={PIXEL_NM}"])


@pytest.fixture(scope="module")
def finer(tmp_path_factory, images):
    """The same tissue in pixels of half the size, four of which hold what one held."""
    path = tmp_path_factory.mktemp("finer") / "em.tif"
    stack = tifffile.imread(images).repeat(2, axis=1).repeat(2, axis=2)
    write_stack_tiff(path, stack, HALF_NM)
    return path


def foreground(out):
    return whole(out / "probability.ome.zarr").astype(int)


def test_the_model_is_shown_its_own_pixels_and_labels_are_on_the_volumes(
    tmp_path, finer, scaled_model, base_model, expected
):
    found = run(finer, tmp_path / "out", scaled_model, base_model, probability=True)
    volume = open_volume(found.labels)
    assert volume.shape_zyx == open_volume(finer).shape_zyx
    assert volume.voxel_size_nm == pytest.approx(HALF_NM)
    # Four pixels that hold what one held are that one again, so the model says the same.
    shape_yx = volume.shape_zyx[1:]
    maps = whole(expected.out / "probability.ome.zarr")
    same = np.stack([resample_image(section, shape_yx) for section in maps]).astype(int)
    assert np.abs(foreground(found.out) - same).max() <= 1
    (remark,) = json.loads((found.out / "segmentation.json").read_text("utf-8"))["remarks"]
    assert remark == "the model is shown pixels of 10 x 10 nm; the volume's are of 5 x 5 nm"
    assert remark[1:] in found.report.read_text("utf-8").replace("&#39;", "'")
    assert expected.volume.num_instances > 3
    assert found.volume.volume_fraction == pytest.approx(expected.volume.volume_fraction, rel=0.2)


def test_panes_and_memory_change_nothing(tmp_path, finer, scaled_model, base_model, monkeypatch):
    stack = np.tile(tifffile.imread(finer)[:2], (1, 4, 4))  # 512 x 640
    as_zarr(tmp_path / "em.ome.zarr", stack, HALF_NM)
    found = {}
    for pane_px, memory_gb in ((2048, 4.0), (256, 1.2)):
        monkeypatch.setattr(Segmenter, "pane_px", lambda *_, px=pane_px: px)
        out = tmp_path / str(pane_px)
        run(
            tmp_path / "em.ome.zarr", out, scaled_model, base_model,
            probability=True, memory_gb=memory_gb,
        )  # fmt: skip
        found[pane_px] = foreground(out)
    assert found[2048].std() > 5
    assert np.abs(found[2048] - found[256]).max() <= 1


def test_larger_and_oblong_pixels_are_scaled_too(tmp_path, images, scaled_model, base_model):
    stack = tifffile.imread(images)
    path = tmp_path / "em.tif"
    write_stack_tiff(path, stack, (Z_NM, 2 * PIXEL_NM, 1.5 * PIXEL_NM))
    found = run(path, tmp_path / "out", scaled_model, base_model, num_workers=2)
    assert open_volume(found.labels).shape_zyx == stack.shape
    assert found.volume.num_instances > 0


def test_any_model_is_shown_the_pixels_that_are_asked_for(
    tmp_path, finer, images, scaled_model, model, base_model, expected
):
    asked = [f"data.common_pixel_nm={PIXEL_NM}"]
    more = {"overrides": asked, "tiff": True, "probability": True}
    for name, path in (("scaled", scaled_model), ("any", model)):
        run(finer, tmp_path / name, path, base_model, **more)
    assert results(tmp_path / "scaled") == results(tmp_path / "any")
    run(images, tmp_path / "alike", model, base_model, **more)
    assert results(tmp_path / "alike") == results(expected.out)


def test_pixels_of_unknown_size_are_shown_as_they_are_unless_others_are_asked_for(
    tmp_path, images, scaled_model, base_model, expected
):
    path = tmp_path / "em.tif"
    tifffile.imwrite(path, tifffile.imread(images))
    found = run(path, tmp_path / "out", scaled_model, base_model)
    assert found.volume.num_instances == expected.volume.num_instances
    with pytest.raises(InputError, match="pass --voxel-size"):
        run(
            path, tmp_path / "asked", scaled_model, base_model,
            overrides=["data.common_pixel_nm=5"],
        )  # fmt: skip


def test_areas_follow_the_pixels():
    settings = InstanceSettings(min_area_px=50, min_volume_voxels=200, min_whole_voxels=30)
    finer = settings.for_pixels(4)
    assert (finer.min_area_px, finer.min_volume_voxels, finer.min_whole_voxels) == (200, 800, 120)
    coarse = settings.for_pixels(0.001)
    assert (coarse.min_area_px, coarse.min_volume_voxels, coarse.min_whole_voxels) == (1, 1, 0)
    assert settings.for_pixels(1) == settings
