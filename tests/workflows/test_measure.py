from __future__ import annotations

import json
import logging

import numpy as np
import pytest
import tifffile

from mitosam import measure
from mitosam.errors import SettingsError, StorageError
from mitosam.io.open import open_volume
from mitosam.io.place import place_of
from mitosam.io.write import write_stack_tiff
from tests.full_disk import no_file_above
from tests.io.web_server import WebServer
from tests.tiny_runs import Remembered, contents, rows_of

SIZE = (30.0, 8.0, 8.0)


@pytest.fixture
def labels(tmp_path):
    """Two bodies inside, and one of two voxels at the border."""
    stack = np.zeros((8, 40, 40), np.uint16)
    stack[2:6, 4:16, 4:16] = 7
    stack[2:5, 20:34, 20:30] = 300
    stack[0, 0, :2] = 2
    return stack


def write(tmp_path, stack, size=SIZE):
    path = tmp_path / "labels.tif"
    write_stack_tiff(path, stack, size)
    return path


def test_three_files_hold_what_is_returned(tmp_path, labels):
    path = write(tmp_path, labels)
    result = measure(path, tmp_path / "out")
    assert set(contents(tmp_path / "out")) == {"mitochondria.csv", "sections.csv", "summary.json"}
    rows = rows_of(result.mitochondria)
    assert [row["instance"] for row in rows] == ["2", "7", "300"]
    assert float(rows[1]["volume_um3"]) == pytest.approx(4 * 12 * 12 * 1920e-9)
    assert [row["touches_border"] for row in rows] == ["True", "False", "False"]
    assert rows[0]["surface_area_um2"] == rows[0]["confidence"] == ""
    sections = rows_of(result.sections)
    assert [row["section"] for row in sections] == ["0", "2", "2", "3", "3", "4", "4", "5"]
    summary = json.loads(result.summary.read_text("utf-8"))
    assert summary["voxel_size_nm"] == list(SIZE)
    assert summary["labels_sha256"] == open_volume(path).sha256()
    assert summary["volume"]["without_border"]["count"] == 2
    assert summary["volume"]["num_instances"] == result.volume.num_instances == 3


def test_a_csv_has_the_others_beside_it(tmp_path, labels):
    measure(write(tmp_path, labels), tmp_path / "new" / "cells.csv")
    assert set(contents(tmp_path / "new")) == {
        *("cells.csv", "cells_sections.csv", "cells_summary.json")
    }
    measure(tmp_path / "labels.tif", tmp_path / "folder")
    for name, other in (("cells.csv", "mitochondria.csv"), ("cells_sections.csv", "sections.csv")):
        same = (tmp_path / "folder" / other).read_bytes()
        assert (tmp_path / "new" / name).read_bytes() == same


def test_without_a_voxel_size_lengths_are_left_out_and_that_is_said(tmp_path, labels):
    said = Remembered()
    result = measure(write(tmp_path, labels, None), tmp_path / "out", progress=said)
    row = rows_of(result.mitochondria)[1]
    assert (row["num_voxels"], row["volume_um3"], row["skeleton_length_nm"]) == ("576", "", "")
    assert result.volume.imaged_volume_um3 is None
    assert any("pass --voxel-size z,y,x" in line for line in said.said)


def test_the_flag_stands_in_for_the_files_voxel_size_and_may_repeat_it(tmp_path, labels):
    given = measure(write(tmp_path, labels, None), tmp_path / "a", voxel_size_nm=SIZE)
    found = measure(write(tmp_path, labels), tmp_path / "b", voxel_size_nm=SIZE)
    assert repr(given.instances) == repr(found.instances)
    assert given.volume == found.volume


@pytest.mark.parametrize("size", [(30.0, 8.0, 8.1), (0.0, 8.0, 8.0), (float("nan"), 8.0, 8.0)])
def test_a_voxel_size_that_differs_or_is_none_is_refused(tmp_path, labels, size):
    path = write(tmp_path, labels)
    with pytest.raises(SettingsError, match=r"voxel size"):
        measure(path, tmp_path / "out", voxel_size_nm=size)
    assert not (tmp_path / "out").exists()


def test_a_pixel_size_without_section_distance_is_left_out_with_a_message(tmp_path, labels, caplog):
    path = tmp_path / "labels.tif"
    metadata = {"unit": "um", "axes": "ZYX"}
    tifffile.imwrite(path, labels, imagej=True, resolution=(125, 125), metadata=metadata)
    with caplog.at_level(logging.WARNING):
        result = measure(path, tmp_path / "out")
    assert "left out its pixel size of 8 x 8 nm, as it gives no distance of sections" in caplog.text
    assert result.volume.imaged_area_um2 is None


def test_a_binary_mask_is_joined_through_the_volume_and_that_is_said(tmp_path, labels):
    said = Remembered()
    path = write(tmp_path, (labels > 0).astype(np.uint8) * 255)
    result = measure(path, tmp_path / "out", progress=said)
    as_labels = measure(write(tmp_path, labels), tmp_path / "labelled")
    volumes = [row.volume_um3 for row in as_labels.instances]
    assert [row.volume_um3 for row in result.instances] == volumes
    assert any("taken as a binary mask: voxels that share a face" in line for line in said.said)


def test_an_empty_volume_has_headers_only(tmp_path, labels):
    said = Remembered()
    result = measure(write(tmp_path, labels * 0), tmp_path / "out", progress=said)
    for path in (result.mitochondria, result.sections):
        (header,) = path.read_text("utf-8").splitlines()
        assert "instance" in header
    assert result.volume.num_instances == 0
    assert result.volume.without_border.mean_volume_um3 is None
    assert any("holds no instance" in line for line in said.said)


def test_a_single_image_has_areas_only_and_that_is_said(tmp_path, labels):
    said = Remembered()
    result = measure(write(tmp_path, labels[3:4]), tmp_path / "out", progress=said)
    assert rows_of(result.mitochondria)[0]["volume_um3"] == ""
    assert float(rows_of(result.sections)[0]["area_um2"]) == pytest.approx(144 * 64e-6)
    assert any("is a single section" in line for line in said.said)


def test_whole_numbers_saved_as_floats_are_ids(tmp_path, labels):
    tifffile.imwrite(tmp_path / "f.tif", labels.astype(np.float32), photometric="minisblack")
    result = measure(tmp_path / "f.tif", tmp_path / "out", voxel_size_nm=SIZE)
    assert [row.instance for row in result.instances] == [2, 7, 300]


def test_probabilities_give_a_confidence(tmp_path, labels):
    trust = np.where(labels == 7, 204, 51).astype(np.uint8)
    tifffile.imwrite(tmp_path / "p.tif", trust, photometric="minisblack")
    path = write(tmp_path, labels)
    result = measure(path, tmp_path / "out", probability=tmp_path / "p.tif")
    assert [row.confidence for row in result.instances] == pytest.approx([0.2, 0.8, 0.2])


@pytest.mark.parametrize("out", ["out", "out.csv"])
def test_a_full_disk_leaves_nothing(tmp_path, labels, out):
    path = write(tmp_path, labels)
    (tmp_path / "there").mkdir()
    with no_file_above(700), pytest.raises(StorageError, match="free some space"):
        measure(path, tmp_path / "there" / out)
    assert contents(tmp_path / "there") == {}


def test_labels_at_a_url_are_measured_as_those_on_this_machine(tmp_path, labels):
    path = write(tmp_path, labels)
    with WebServer(tmp_path).running() as server:
        url = f"{server.address.replace('://', '://ada:hush@')}/{path.name}?sig=hush"
        far = measure(place_of(url), tmp_path / "far")
    near = measure(path, tmp_path / "near")
    assert far.mitochondria.read_text() == near.mitochondria.read_text()
    written = json.loads(far.summary.read_text())
    assert written["labels"] == f"{server.address}/{path.name}"
    assert "hush" not in far.summary.read_text()
