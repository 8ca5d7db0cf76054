from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import textwrap
from dataclasses import replace

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.transform import downscale_local_mean

from mitosam.errors import InputError, OutputExistsError, StorageError
from mitosam.io import ome_zarr_pyramid
from mitosam.io.ome_zarr_pyramid import halve, plan_levels
from mitosam.io.ome_zarr_spec import VolumeSpec
from mitosam.io.ome_zarr_writer import ZarrDraft, draft_folder, write_ome_zarr
from mitosam.io.open import open_volume
from mitosam.io.write import write_sections_tiff
from tests.full_disk import no_file_above


def whole(volume):
    return np.stack(list(volume.sections()))


def spec_of(array, **changes: object):
    return VolumeSpec(**{
        "shape_zyx": array.shape, "dtype": array.dtype, "kind": "labels",
        "voxel_size_nm": (30.0, 8.0, 8.0), "chunk_zyx": (4, 16, 16), **changes,
    })  # fmt: skip


def some_labels(shape=(10, 40, 50), dtype=np.uint32, seed=0):
    return np.random.default_rng(seed).integers(0, 200, shape).astype(dtype)


def levels_of(folder):
    count = len([path for path in folder.iterdir() if path.is_dir()])
    return [zarr.open_array(store=folder / str(number), mode="r")[:] for number in range(count)]


def files_of(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def small_levels(monkeypatch):
    """Pyramids of volumes that a test can afford."""
    monkeypatch.setattr(ome_zarr_pyramid, "LARGEST_SIDE_PX", 8)


@settings(max_examples=20)  # each writes files
@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 20), st.integers(1, 20)),
    dtype=st.sampled_from(["u1", "u2", "u4", "i4", "u8", "f4"]),
    voxel_size=st.none() | st.tuples(*[st.floats(0.1, 900)] * 3),
    version=st.sampled_from(["0.4", "0.5"]),
    chunk=st.tuples(*[st.integers(4, 12)] * 3),
)
def test_what_is_written_is_read_back(tmp_path_factory, shape, dtype, voxel_size, version, chunk):
    array = some_labels(shape, dtype)
    spec = spec_of(
        array, kind="image", voxel_size_nm=voxel_size, chunk_zyx=chunk, ngff_version=version
    )
    path = tmp_path_factory.mktemp("z") / "a.ome.zarr"
    write_ome_zarr(path, array, spec)
    volume = open_volume(path)
    assert volume.voxel_size_nm == (None if voxel_size is None else pytest.approx(voxel_size))
    assert volume.dtype == array.dtype
    np.testing.assert_array_equal(whole(volume), array)
    assert [item.name for item in path.parent.iterdir()] == ["a.ome.zarr"]


def test_tiff_and_zarr_hold_the_same_volume(tmp_path):
    labels = some_labels()
    write_ome_zarr(tmp_path / "a.zarr", labels, spec_of(labels))
    write_sections_tiff(
        tmp_path / "a.tif", labels, shape_zyx=labels.shape, dtype=labels.dtype,
        voxel_size_nm=(30.0, 8.0, 8.0),
    )  # fmt: skip
    tiff, zarred = open_volume(tmp_path / "a.tif"), open_volume(tmp_path / "a.zarr")
    assert tiff.sha256() == zarred.sha256()
    assert tiff.voxel_size_nm == zarred.voxel_size_nm
    assert tiff.section_names == zarred.section_names


def test_the_metadata_are_those_of_the_specification(tmp_path, small_levels):
    labels = some_labels((3, 16, 16))
    write_ome_zarr(tmp_path / "mito.ome.zarr", labels, spec_of(labels))
    written = json.loads((tmp_path / "mito.ome.zarr" / "zarr.json").read_text())
    ome = written["attributes"]["ome"]
    assert (written["node_type"], written["zarr_format"], ome["version"]) == ("group", 3, "0.5")
    (multiscale,) = ome["multiscales"]
    assert multiscale["name"] == "mito"
    assert multiscale["axes"] == [
        {"name": name, "type": "space", "unit": "nanometer"} for name in "zyx"
    ]
    assert multiscale["datasets"] == [
        {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [30, 8, 8]}]},
        {"path": "1", "coordinateTransformations": [{"type": "scale", "scale": [30, 16, 16]}]},
    ]
    assert ome["image-label"] == {}
    array = json.loads((tmp_path / "mito.ome.zarr" / "0" / "zarr.json").read_text())
    assert array["dimension_names"] == ["z", "y", "x"]


def test_means_lie_in_the_middle_of_their_voxels(tmp_path, small_levels):
    grey = some_labels((3, 16, 16), np.uint8)
    write_ome_zarr(tmp_path / "a.zarr", grey, spec_of(grey, kind="image", ngff_version="0.4"))
    (multiscale,) = json.loads((tmp_path / "a.zarr" / ".zattrs").read_text())["multiscales"]
    assert multiscale["version"] == "0.4"
    assert multiscale["datasets"][1]["coordinateTransformations"] == [
        {"type": "scale", "scale": [30, 16, 16]},
        {"type": "translation", "translation": [0, 4, 4]},
    ]


@given(
    shape=st.tuples(st.integers(1, 3000), st.integers(1, 9000), st.integers(1, 9000)),
    voxel_size=st.none() | st.tuples(*[st.floats(0.5, 100)] * 3),
)
def test_a_pyramid_ends_small_and_never_makes_voxels_less_cubic(shape, voxel_size):
    levels = plan_levels(shape, voxel_size)
    assert max(levels[-1].shape_zyx[1:]) <= 256
    assert all(max(level.shape_zyx[1:]) > 256 for level in levels[:-1])
    for level in levels:
        assert level.shape_zyx == tuple(
            -(-n // factor) for n, factor in zip(shape, level.factors_zyx, strict=True)
        )
    if voxel_size is None:
        assert {level.factors_zyx[0] for level in levels} == {1}
    elif min(shape) > 1:
        # An axis of one voxel cannot be halved any more, and has no shape to keep.
        sizes = [
            np.multiply(level.factors_zyx, voxel_size)[np.array(level.shape_zyx) > 1]
            for level in levels
        ]
        ratios = [max(size) / min(size) for size in sizes]
        assert (np.diff(ratios) <= 1e-9).all() or ratios[-1] <= 2


def test_labels_of_each_level_are_every_second_voxel_and_keep_their_ids(tmp_path, small_levels):
    labels = some_labels((9, 37, 50))
    write_ome_zarr(tmp_path / "a.zarr", labels, spec_of(labels))
    levels = levels_of(tmp_path / "a.zarr")
    planned = plan_levels(labels.shape, (30.0, 8.0, 8.0))
    assert [level.factors_zyx for level in planned] == [(1, 1, 1), (1, 2, 2), (1, 4, 4), (2, 8, 8)]
    for level, plan in zip(levels, planned, strict=True):
        z, y, x = plan.factors_zyx
        np.testing.assert_array_equal(level, labels[::z, ::y, ::x])
        assert set(np.unique(level)) <= set(np.unique(labels))


def test_images_of_each_level_are_means(tmp_path, small_levels):
    grey = np.random.default_rng(0).random((8, 32, 32), np.float32)
    spec = spec_of(grey, kind="image", voxel_size_nm=(8.0, 8.0, 8.0))
    write_ome_zarr(tmp_path / "a.zarr", grey, spec)
    for number, level in enumerate(levels_of(tmp_path / "a.zarr")):
        expected = downscale_local_mean(grey, (2**number,) * 3)
        np.testing.assert_allclose(level, expected, rtol=1e-5)


def test_means_are_rounded_and_edges_are_averaged_without_what_lies_outside():
    block = np.array([[[255, 254, 1], [255, 254, 4]]], np.uint8)
    assert halve(block, (1, 2, 2), "image").tolist() == [[[254, 2]]]
    assert halve(np.full((3, 3, 3), 65535, np.uint16), (2, 2, 2), "image").min() == 65535


def write_slabs(draft, labels, stop=None):
    depth = draft.spec.chunk_zyx[0]
    for z0 in range(draft.sections_done, stop or len(labels), depth):
        draft.write_sections(z0, labels[z0 : z0 + depth])


def test_a_stopped_draft_goes_on_to_the_same_bytes(tmp_path, small_levels):
    labels = some_labels((10, 40, 50))
    spec = spec_of(labels)
    work = draft_folder(tmp_path / "a.zarr")
    draft = ZarrDraft.open_or_create(work, spec)
    assert draft.sections_done == 0
    write_slabs(draft, labels, stop=8)
    (work / "done-other-host-1.txt").write_text("\n8 0 0 10 40 5")  # a kill cut it short
    (work / "done-other-host-2.txt").write_bytes(b"\n8 0 0 10 4\xff 50 .\n")
    (work / "volume" / "0" / "c" / "0" / "0" / "0.abc.partial").write_bytes(b"half a chunk")
    again = ZarrDraft.open_or_create(work, spec)
    assert again.sections_done == 8
    write_slabs(again, labels)
    assert again.finish(tmp_path / "a.zarr") == tmp_path / "a.zarr"
    write_ome_zarr(tmp_path / "b" / "a.zarr", labels, spec)
    assert files_of(tmp_path / "a.zarr") == files_of(tmp_path / "b" / "a.zarr")
    assert not work.exists()


def test_a_killed_process_leaves_a_draft_that_goes_on(tmp_path):
    code = f"""
        import os, signal, numpy as np
        from pathlib import Path
        from mitosam.io.ome_zarr_spec import VolumeSpec
        from mitosam.io.ome_zarr_writer import ZarrDraft
        labels = np.arange(10 * 8 * 8, dtype=np.uint32).reshape(10, 8, 8)
        spec = VolumeSpec(shape_zyx=(10, 8, 8), dtype=labels.dtype, kind="labels",
                          chunk_zyx=(4, 8, 8))
        draft = ZarrDraft.open_or_create(Path({str(tmp_path / "work")!r}), spec)
        draft.write_sections(0, labels[:4])
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False)
    assert done.returncode == -9
    labels = np.arange(10 * 8 * 8, dtype=np.uint32).reshape(10, 8, 8)
    spec = spec_of(labels, chunk_zyx=(4, 8, 8), voxel_size_nm=None)
    draft = ZarrDraft.open_or_create(tmp_path / "work", spec)
    assert draft.sections_done == 4
    write_slabs(draft, labels)
    draft.finish(tmp_path / "a.zarr")
    np.testing.assert_array_equal(whole(open_volume(tmp_path / "a.zarr")), labels)


@settings(max_examples=10)
@given(seed=st.integers(0, 99))
def test_blocks_may_come_in_any_order_and_from_several_writers(tmp_path_factory, seed):
    folder = tmp_path_factory.mktemp("z")
    labels = some_labels((6, 20, 33), seed=seed)
    writers = [ZarrDraft.open_or_create(folder / "work", spec_of(labels)) for _ in range(2)]
    blocks = list(ome_zarr_pyramid.chunk_blocks(labels.shape, (4, 16, 32)))
    for number, turn in enumerate(np.random.default_rng(seed).permutation(len(blocks))):
        z, y, x = blocks[turn]
        writers[number % 2].write_block((z.start, y.start, x.start), labels[z, y, x])
    writers[0].finish(folder / "a.zarr")
    np.testing.assert_array_equal(whole(open_volume(folder / "a.zarr")), labels)


def test_a_draft_with_gaps_is_not_finished(tmp_path):
    labels = some_labels()
    draft = ZarrDraft.open_or_create(tmp_path / "work", spec_of(labels))
    draft.write_sections(0, labels[:4])
    draft.write_sections(8, labels[8:])
    assert draft.sections_done == 4
    with pytest.raises(InputError, match="lacks 12 of 36 blocks, the first from section 5"):
        draft.finish(tmp_path / "a.zarr")
    assert not (tmp_path / "a.zarr").exists()


def test_a_pyramid_that_was_stopped_is_finished(tmp_path, small_levels, monkeypatch):
    labels = some_labels()
    draft = ZarrDraft.open_or_create(tmp_path / "work", spec_of(labels))
    write_slabs(draft, labels)

    class StopsAtLevelTwo:
        def track(self, items, description, **_):
            if description.endswith("2"):
                raise KeyboardInterrupt
            yield from items

    with pytest.raises(KeyboardInterrupt):
        draft.finish(tmp_path / "a.zarr", StopsAtLevelTwo())
    ZarrDraft.open_or_create(tmp_path / "work", spec_of(labels)).finish(tmp_path / "a.zarr")
    write_ome_zarr(tmp_path / "b" / "a.zarr", labels, spec_of(labels))
    assert files_of(tmp_path / "a.zarr") == files_of(tmp_path / "b" / "a.zarr")


@pytest.mark.parametrize(
    ("z0", "depth", "dtype"),
    [(1, 4, "u4"), (0, 3, "u4"), (8, 4, "u4"), (0, 4, "u2"), (-4, 4, "u4")],
)
def test_slabs_that_would_tear_a_chunk_are_refused(tmp_path, z0, depth, dtype):
    labels = some_labels()
    draft = ZarrDraft.open_or_create(tmp_path / "work", spec_of(labels))
    with pytest.raises(InputError, match="begin and end at multiples of the chunks"):
        draft.write_sections(z0, np.zeros((depth, 40, 50), dtype))
    assert draft.sections_done == 0


def test_a_draft_of_another_volume_and_a_foreign_folder_are_left_alone(tmp_path):
    labels = some_labels()
    ZarrDraft.open_or_create(tmp_path / "work", spec_of(labels))
    with pytest.raises(InputError, match="begun for a volume of another"):
        ZarrDraft.open_or_create(tmp_path / "work", spec_of(labels, voxel_size_nm=None))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(OutputExistsError):
        ZarrDraft.open_or_create(tmp_path / "mine", spec_of(labels))
    with pytest.raises(OutputExistsError):
        write_ome_zarr(tmp_path / "mine", labels, spec_of(labels))
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "x"


@pytest.mark.parametrize("num", [9, 11])
def test_too_few_or_too_many_sections_leave_nothing(tmp_path, num):
    labels = some_labels()
    with pytest.raises(InputError, match="sections"):
        write_ome_zarr(tmp_path / "a.zarr", some_labels((num, 40, 50)), spec_of(labels))
    assert not list(tmp_path.iterdir())


def test_labels_are_whole_numbers(tmp_path):
    with pytest.raises(InputError, match="labels must be whole numbers, got float32"):
        spec_of(some_labels(dtype=np.float32))
    with pytest.raises(InputError, match="at least one voxel"):
        spec_of(some_labels((0, 4, 5)))


def test_a_full_disk_is_a_storage_error_and_the_draft_stays(tmp_path):
    noise = np.random.default_rng(0).integers(0, 2**32, (4, 64, 64), np.uint32)
    draft = ZarrDraft.open_or_create(tmp_path / "work", spec_of(noise, chunk_zyx=(4, 64, 64)))
    with no_file_above(8192), pytest.raises(StorageError, match="free some space"):
        draft.write_sections(0, noise)
    assert draft.sections_done == 0
    draft.write_sections(0, noise)
    draft.finish(tmp_path / "a.zarr")
    np.testing.assert_array_equal(whole(open_volume(tmp_path / "a.zarr")), noise)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_labels_join_their_image(tmp_path, version):
    labels = some_labels()
    spec = spec_of(labels, ngff_version=version)
    write_ome_zarr(tmp_path / "em.zarr", labels.astype(np.uint8), replace(
        spec, dtype=np.dtype(np.uint8), kind="image"))  # fmt: skip
    for name in ("mitochondria", "nuclei"):
        write_ome_zarr(tmp_path / "em.zarr" / "labels" / name, labels, spec)
    attributes = dict(zarr.open_group(store=tmp_path / "em.zarr" / "labels", mode="r").attrs)
    listed = attributes["ome"] if version == "0.5" else attributes
    assert listed["labels"] == ["mitochondria", "nuclei"]
    volume = open_volume(tmp_path / "em.zarr" / "labels" / "mitochondria")
    assert volume.name == "mitochondria"
    np.testing.assert_array_equal(whole(volume), labels)
    other = replace(spec, ngff_version="0.4" if version == "0.5" else "0.5")
    with pytest.raises(InputError, match="must be of their image's OME-Zarr version"):
        write_ome_zarr(tmp_path / "em.zarr" / "labels" / "cells", labels, other)
