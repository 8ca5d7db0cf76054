"""Methods, heads and grey values: what a model says, and what is chosen without it."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from mitosam.data.intensity import Normalisation
from mitosam.data.phantom import make_phantom
from mitosam.errors import ModelError
from mitosam.io.open import open_volume
from mitosam.models.shipped_head import WORTH
from mitosam.workflows.automatic_model import segmenter_of, suit_shipped_head
from mitosam.workflows.segment import segment
from mitosam.workflows.tuned_model import load_tuned_model
from tests.segmentations import FEW_POINTS, run, whole
from tests.tiny_runs import Remembered, rows_of, short_settings, write_stacks
from tests.tiny_segmenter import write_tuned


def test_a_volume_without_a_find_has_empty_tables_and_a_page(tmp_path, images, base_model):
    none = ("grid.points_per_side=1", "grid.max_area_share=1e-9")
    found = run(images, tmp_path / "out", base_model, base_model, method="grid", overrides=none)
    assert found.instances == ()
    assert not whole(found.labels).any()
    assert rows_of(found.table) == []
    assert found.report.stat().st_size > 1000


def test_the_grid_needs_no_head_and_takes_its_settings(tmp_path, images, base_model):
    progress = Remembered()
    found = run(
        images, tmp_path / "out", base_model, base_model, method="grid", overrides=FEW_POINTS,
        progress=progress,
    )  # fmt: skip
    assert found.method == "grid"
    assert '"points_per_side": 2' in (found.out / "segmentation.json").read_text()
    with pytest.raises(ModelError, match=r"has no prompt-free head.*--method grid"):
        run(images, tmp_path / "head", base_model, base_model, method="auto")
    assert not (tmp_path / "head").exists()


def test_methods_work_as_in_the_training_but_for_what_is_named(tmp_path, base_model):
    trained = ("grid.points_per_side=5", "prompted.box_padding=0.2", "prompted.fuse=union")
    path = write_tuned(tmp_path / "m.safetensors", base_model, trained_with=trained)
    named = short_settings(base_model, "grid.points_per_batch=3", "prompted.fuse=replace")
    found = segmenter_of(load_tuned_model(path), path, named)
    assert (found.grid.points_per_side, found.grid.points_per_batch) == (5, 3)
    assert (found.prompted.box_padding, found.prompted.fuse) == (0.2, "replace")


def test_a_volume_of_other_numbers_than_the_training_is_measured_anew(
    tmp_path, images, model, base_model, caplog
):
    stack = tifffile.imread(images)
    tifffile.imwrite(tmp_path / "em.tif", stack.astype(np.uint16) * 257, photometric="minisblack")
    found = run(tmp_path / "em.tif", tmp_path / "out", model, base_model)
    assert "grey values are measured anew" in caplog.text
    assert '"kind": "percentile"' in (found.out / "segmentation.json").read_text()
    assert found.instances


def test_grey_values_are_stretched_as_in_the_training(tmp_path, images, base_model, expected):
    stretch = Normalisation(kind="percentile", low=0, high=255 * 257, dtype="uint16")
    model = write_tuned(tmp_path / "m.safetensors", base_model, normalisation=stretch)
    stack = tifffile.imread(images).astype(np.uint16) * 257
    tifffile.imwrite(tmp_path / "em.tif", stack, photometric="minisblack")
    found = run(tmp_path / "em.tif", tmp_path / "out", model, base_model)
    np.testing.assert_array_equal(whole(found.labels), whole(expected.labels))


def test_the_embedded_model_segments_out_of_the_box_and_says_what_its_head_is_worth(tmp_path):
    """It was trained on phantoms, so that it finds the mitochondria of another one."""
    phantom = make_phantom((2, 256, 256), 77, (40.0, 5.0, 5.0))
    sources = write_stacks(tmp_path / "em", phantom.images, phantom.labels)
    heard = Remembered()
    found = segment(
        sources.images, tmp_path / "out", model="vit_t", voxel_size_nm=None, progress=heard
    )
    assert found.method == "head"
    assert WORTH in heard.said
    assert "trained on made-up volumes alone" in found.report.read_text("utf-8")
    mask, truth = whole(found.labels) > 0, phantom.labels > 0
    assert (mask & truth).sum() / (mask | truth).sum() > 0.7


def test_the_shipped_head_takes_the_volumes_own_grey_values(tmp_path):
    grey = np.full((2, 64, 64), 100, np.uint8)
    grey[:, ::2] = 140
    grey[:, :, 60:] = 0  # a black margin is no image
    tifffile.imwrite(tmp_path / "em.tif", grey, photometric="minisblack")
    usable = load_tuned_model("vit_t")
    plain = segmenter_of(usable, "vit_t", short_settings("vit_t"))
    suited = suit_shipped_head(plain, open_volume(tmp_path / "em.tif").section, 2, 2)
    assert (suited.head.shape.grey_mean, suited.head.shape.grey_std) == (120, 20)
    assert suited.head.network.shape == suited.head.shape
    assert suited.info.settings_of("head").z_radius == 2
    assert suited.info.settings_of("prompted") == suited.info.settings_of("head")
