"""What a segmentation writes, whatever it is done with."""

from __future__ import annotations

import re

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile

from mitosam.io.open import open_volume
from mitosam.reporting.words import three_figures
from mitosam.workflows.automatic import Segmenter
from tests.segmentations import as_zarr, results, run, whole
from tests.tiny_runs import VOXEL_SIZE_NM, rows_of


def test_ids_count_from_one_without_gaps_and_each_has_its_line(expected):
    labels = whole(expected.labels)
    num = int(labels.max())
    assert num > 3
    np.testing.assert_array_equal(np.unique(labels), np.arange(num + 1))
    rows = rows_of(expected.table)
    assert [int(row["instance"]) for row in rows] == list(range(1, num + 1))
    assert [int(row["num_voxels"]) for row in rows] == np.bincount(labels.ravel())[1:].tolist()
    sections = rows_of(expected.out / "sections.csv")
    per_section = sum(len(np.unique(section[section > 0])) for section in labels)
    assert len(sections) == per_section


def test_tiff_and_zarr_are_read_back_alike_and_with_the_voxel_size(expected):
    for name, dtype in (("labels", np.uint32), ("probability", np.uint8)):
        zarred = open_volume(expected.out / f"{name}.ome.zarr")
        tiff = open_volume(expected.out / f"{name}.tif")
        assert zarred.dtype == tiff.dtype == dtype
        assert zarred.sha256() == tiff.sha256()
        assert zarred.voxel_size_nm == tiff.voxel_size_nm == pytest.approx(VOXEL_SIZE_NM)


def test_instances_lie_where_the_probability_is_high(expected):
    labels, probability = whole(expected.labels), whole(expected.out / "probability.ome.zarr")
    assert probability[labels > 0].min() >= 0.5 * 255 - 1
    means = [probability[labels == i].mean() / 255 for i in range(1, labels.max() + 1)]
    confidences = [float(row["confidence"]) for row in rows_of(expected.table)]
    np.testing.assert_allclose(confidences, means, rtol=1e-3)


def test_the_page_tells_each_instances_largest_section(expected):
    labels, size = whole(expected.labels), np.prod(VOXEL_SIZE_NM[1:]) / 1e6
    largest = {row.instance: row.largest_area_um2 for row in expected.instances}
    for instance, area in largest.items():
        assert area == pytest.approx((labels == instance).sum(axis=(1, 2)).max() * size)
    table = expected.report.read_text("utf-8").partition('id="largest"')[2]
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>(.*)</tr>", table)]
    shown = [row for row in cells if len(row) == 7][:10]
    biggest = sorted(expected.instances, key=lambda row: -row.num_voxels)[: len(shown)]
    assert [row[2] for row in shown] == [three_figures(row.largest_area_um2) for row in biggest]


def test_each_section_has_a_preview_and_the_page_needs_no_other_file(expected, images):
    previews = sorted((expected.out / "previews").iterdir())
    assert [path.name for path in previews] == [f"section_{z:04d}.jpg" for z in range(1, 6)]
    grey = tifffile.imread(images)
    assert all(iio.imread(path).shape == (*grey.shape[1:], 3) for path in previews)
    page = expected.report.read_text("utf-8")
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)[^"']+""", page)
    assert "url(http" not in page


def test_nothing_else_is_left(expected):
    assert [path.name for path in expected.out.parent.iterdir()] == ["out"]
    assert {path.name.partition(".")[0] for path in expected.out.iterdir()} == {
        *("labels", "probability", "mitochondria", "sections", "previews", "report"),
        "segmentation",
    }


def test_two_processes_write_what_one_writes(tmp_path, images, model, base_model, expected):
    found = run(
        images, tmp_path / "out", model, base_model, tiff=True, probability=True, num_workers=2
    )
    assert found.instances == expected.instances
    assert results(tmp_path / "out") == results(expected.out)


@pytest.mark.parametrize("method", ["head", "prompted"])
def test_large_sections_are_segmented_pane_by_pane(
    tmp_path, images, model, base_model, method, monkeypatch
):
    """The head says the same of a section in one piece; the decoder but for what panes cut."""
    stack = np.tile(tifffile.imread(images)[:3], (1, 8, 8))  # 512 x 640
    as_zarr(tmp_path / "em.ome.zarr", stack)
    whole_maps = {}
    for pane_px in (2048, 256):
        monkeypatch.setattr(Segmenter, "pane_px", lambda *_, px=pane_px: px)
        out = tmp_path / str(pane_px)
        run(tmp_path / "em.ome.zarr", out, model, base_model, method=method, probability=True)
        whole_maps[pane_px] = whole(out / "probability.ome.zarr").astype(int)
    difference = np.abs(whole_maps[2048] - whole_maps[256])
    assert whole_maps[2048].std() > 5
    # Random weights find things wider than what the second pane, from 512 on, sees of the first.
    alike = difference if method == "head" else difference[:, :, :512]
    assert alike.max() <= 1


def test_memory_changes_nothing(tmp_path, images, model, base_model, expected):
    found = run(
        images, tmp_path / "out", model, base_model, tiff=True, probability=True, memory_gb=1.2
    )
    assert found.instances == expected.instances
    np.testing.assert_array_equal(whole(found.labels), whole(expected.labels))
