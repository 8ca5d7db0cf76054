"""Volumes measured in many blocks, stopped and taken up again: the tables of one piece."""

from __future__ import annotations

import dataclasses
import os
import pickle
from functools import partial

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from mitosam import measure
from mitosam.data.phantom import make_phantom
from mitosam.errors import InputError, OutputExistsError
from mitosam.io.ome_zarr_spec import VolumeSpec
from mitosam.io.ome_zarr_writer import write_ome_zarr
from mitosam.io.open import open_volume
from mitosam.io.volume import volume_of_array
from mitosam.io.write import write_stack_tiff
from mitosam.morphometry.block_grid import BlockGrid
from mitosam.morphometry.settings import MeasureSettings
from mitosam.workflows import measure_blocks, measure_tasks
from mitosam.workflows.measure_blocks import measure_volume, survey_labels
from mitosam.workflows.workers import InProcess
from tests.morphometry.measuring import measured
from tests.tiny_runs import KillAt, Remembered, contents

SIZE = (30.0, 8.0, 8.0)


@pytest.fixture(scope="module")
def labels():
    return make_phantom((14, 90, 100), 4, (30.0, 30.0, 30.0)).labels.astype(np.uint16)


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of a few sections, and groups of two instances."""
    monkeypatch.setattr("mitosam.morphometry.block_grid.MAX_BLOCK_VOXELS", 40_000)
    monkeypatch.setattr(measure_blocks, "MAX_GROUP", 2)


class Shuffled:
    """Items in another order, by a function that went to another process and back."""

    num_workers = 1

    def run(self, task, items, *, title, unit, progress):
        function = pickle.loads(pickle.dumps(task)).prepare()
        for item in np.random.default_rng(5).permutation(len(items)):
            yield items[item], pickle.loads(pickle.dumps(function(items[item])))


def write(folder, stack):
    path = folder / "labels.tif"
    write_stack_tiff(path, stack, SIZE)
    return path


def assert_same_rows(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        for field in dataclasses.fields(one):
            value, wanted = getattr(one, field.name), getattr(other, field.name)
            assert value == pytest.approx(wanted, rel=1e-12, nan_ok=True), field.name


cuts_of_phantom = st.tuples(
    st.sets(st.integers(1, 13), max_size=3),
    st.sets(st.integers(1, 89), max_size=3),
    st.sets(st.integers(1, 99), max_size=3),
)


@settings(max_examples=10, deadline=None)
@given(cuts_of_phantom, st.booleans())
def test_any_blocks_give_the_rows_of_one(labels, cuts, binary):
    if binary:
        labels = (labels > 0).astype(np.uint8)
    probability = np.linspace(0, 1, labels.size, dtype=np.float32).reshape(labels.shape)
    whole = measured(labels, SIZE, probability, cuts=((), (), ()), binary=binary)
    parts = measured(labels, SIZE, probability, cuts=cuts, binary=binary)
    for found, expected in zip(parts, whole, strict=True):
        assert_same_rows(found, expected)


def test_blocks_of_any_order_give_the_same_files(tmp_path, labels, small_blocks):
    opened = partial(open_volume, write(tmp_path, labels))
    for name, workers in (("one", InProcess()), ("other", Shuffled())):
        folder = tmp_path / name
        folder.mkdir()
        found = measure_volume(
            opened, folder / "sections.csv", SIZE, scratch=folder, workers=workers
        )
        (folder / "rows.txt").write_text(repr(found.instances))
    for file in ("sections.csv", "rows.txt"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "other" / file).read_bytes()


def test_two_processes_give_the_same_files(tmp_path, labels):
    path = write(tmp_path, labels)
    measure(path, tmp_path / "one")
    measure(path, tmp_path / "two", num_workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_rows_of_few_sections_at_a_time_are_the_same(tmp_path, labels, small_blocks, monkeypatch):
    path = write(tmp_path, labels)
    expected = measure(path, tmp_path / "expected")
    monkeypatch.setattr(measure_blocks, "BYTES_A_ROW", 10**9)
    found = measure(path, tmp_path / "found")
    assert found.sections.read_bytes() == expected.sections.read_bytes()
    assert repr(found.instances) == repr(expected.instances)


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize(
    ("text", "item"),
    [("counting voxels", 2), ("writing sections", 1), ("measuring instances", 3)],
)
def test_a_stopped_measurement_goes_on_to_the_same_bytes(
    tmp_path, labels, small_blocks, text, item, binary
):
    path = write(tmp_path, (labels > 0).astype(np.uint8) if binary else labels)
    measure(path, tmp_path / "expected")
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        measure(path, out, progress=KillAt(text, item))
    kept = {p: p.stat().st_mtime_ns for p in (tmp_path / ".out.measure").glob("[crs]*_*")}
    assert kept
    progress, written = Remembered(), []
    with pytest.MonkeyPatch.context() as patch:
        save = measure_tasks.Kept.save
        patch.setattr(measure_tasks.Kept, "save", lambda *a: (written.append(a[1]), save(*a))[1])
        measure(path, out, progress=progress)
    assert "going on with a measurement that was stopped" in progress.said
    assert not {p.stem for p in kept} & set(written)
    assert contents(out) == contents(tmp_path / "expected")
    assert {p.name for p in tmp_path.iterdir()} == {"labels.tif", "expected", "out"}


def test_labels_that_change_while_it_is_stopped_are_counted_anew(tmp_path, labels, small_blocks):
    """Even where size and time of the file stay what they were."""
    path = tmp_path / "labels.tif"
    save = partial(tifffile.imwrite, path, photometric="minisblack")  # of one size, uncompressed
    save(labels)
    with pytest.raises(KeyboardInterrupt):
        measure(
            path,
            tmp_path / "out",
            voxel_size_nm=SIZE,
            progress=KillAt("measuring instances", 3),
        )
    before = path.stat()
    edited = labels.copy()
    edited[0][edited[0] == edited[0].max()] = 0
    save(edited)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    measure(path, tmp_path / "out", voxel_size_nm=SIZE)
    measure(path, tmp_path / "expected", voxel_size_nm=SIZE)
    assert contents(tmp_path / "out") == contents(tmp_path / "expected")


def test_a_damaged_part_is_made_anew(tmp_path, labels, small_blocks):
    path = write(tmp_path, labels)
    with pytest.raises(KeyboardInterrupt):
        measure(path, tmp_path / "out", progress=KillAt("measuring instances", 3))
    for part in (tmp_path / ".out.measure").iterdir():
        content = bytearray(part.read_bytes())
        content[len(content) // 2] ^= 16
        part.write_bytes(content)
    measure(path, tmp_path / "out")
    measure(path, tmp_path / "expected")
    assert contents(tmp_path / "out") == contents(tmp_path / "expected")


def test_input_that_turns_out_unusable_leaves_nothing(tmp_path, labels, small_blocks):
    trust = np.zeros(labels.shape, np.float32)
    trust[-1, 0, 0] = 3
    tifffile.imwrite(tmp_path / "p.tif", trust, photometric="minisblack")
    path = write(tmp_path, labels)
    with pytest.raises(InputError, match="page 14 holds 0 to 3"):
        measure(path, tmp_path / "out", probability=tmp_path / "p.tif")
    assert set(contents(tmp_path)) == {"labels.tif", "p.tif"}


def test_a_folder_of_something_else_is_left_alone(tmp_path, labels):
    path = write(tmp_path, labels)
    (tmp_path / ".out.measure").mkdir()
    (tmp_path / ".out.measure" / "notes.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match="holds something else"):
        measure(path, tmp_path / "out")
    assert (tmp_path / ".out.measure" / "notes.txt").read_text() == "mine"


@pytest.fixture
def zarr_labels(tmp_path, labels):
    spec = VolumeSpec(
        shape_zyx=labels.shape, dtype=labels.dtype, kind="labels", voxel_size_nm=SIZE, name="l",
        chunk_zyx=(4, 32, 32),
    )  # fmt: skip
    write_ome_zarr(tmp_path / "labels.ome.zarr", iter(labels), spec)
    return tmp_path / "labels.ome.zarr"


def no_section(z):
    raise AssertionError("a section may be larger than memory")


def test_a_file_with_boxes_is_read_by_boxes_alone(tmp_path, labels, zarr_labels, monkeypatch):
    expected = measure(write(tmp_path, labels), tmp_path / "expected")
    monkeypatch.setattr("mitosam.morphometry.block_grid.MAX_BLOCK_VOXELS", 9000)
    monkeypatch.setattr(measure_blocks, "BYTES_A_PIXEL", 10**6)  # as if a section were larger

    def opened():
        return dataclasses.replace(open_volume(zarr_labels), read_section=no_section)

    survey = survey_labels(opened)
    assert survey.values.tolist() == np.unique(labels[labels > 0]).tolist()
    assert survey.num_empty_sections == 0
    found = measure_volume(opened, tmp_path / "s.csv", SIZE, scratch=tmp_path)
    assert repr(found.instances) == repr(expected.instances)
    assert (tmp_path / "s.csv").read_bytes() == expected.sections.read_bytes()


def test_the_same_blocks_have_one_hash_and_others_another(zarr_labels, monkeypatch):
    monkeypatch.setattr("mitosam.morphometry.block_grid.MAX_BLOCK_VOXELS", 9000)
    monkeypatch.setattr(measure_blocks, "BYTES_A_PIXEL", 10**6)
    opened = partial(open_volume, zarr_labels)
    first, again = survey_labels(opened), survey_labels(opened, workers=Shuffled())
    assert first.sha256 == again.sha256
    edited = open_volume(zarr_labels).box(BlockGrid.regular((14, 90, 100), (14, 90, 100)).box(0))
    edited[7, 8, 9] += 1
    volume = volume_of_array("labels", edited)
    other = dataclasses.replace(
        volume, read_box=lambda box: edited[box.slices], chunk_zyx=(4, 32, 32)
    )
    assert survey_labels(lambda: other).sha256 != first.sha256


def test_an_instance_too_large_for_memory_is_measured_coarsely_and_named(
    tmp_path, labels, monkeypatch
):
    monkeypatch.setattr(measure_blocks, "BYTES_A_BOX_VOXEL", 10**5)
    fine, _ = measured(labels, SIZE)
    largest = max(fine, key=lambda row: (row.z1 - row.z0) * (row.y1 - row.y0) * (row.x1 - row.x0))
    box = np.prod([largest.z1 - largest.z0 + 2, largest.y1 - largest.y0 + 2,
                   largest.x1 - largest.x0 + 2])  # fmt: skip
    memory = (int(box) * 10**5 - 1 + 2**28) / 2**30
    volume = volume_of_array("labels", labels)
    found = measure_volume(
        lambda: volume,
        tmp_path / "s.csv",
        SIZE,
        scratch=tmp_path,
        settings=MeasureSettings(memory_gb=memory),
    )
    (remark,) = found.remarks
    assert f"({largest.instance})" in remark
    for row, expected in zip(found.instances, fine, strict=True):
        if row.instance != largest.instance:
            assert repr(row) == repr(expected)
    (coarse,) = (row for row in found.instances if row.instance == largest.instance)
    assert coarse.length_nm == pytest.approx(largest.length_nm, rel=0.2)
    for name in ("volume_um3", "surface_area_um2", "nearest_neighbour_nm"):
        assert getattr(coarse, name) == getattr(largest, name)
