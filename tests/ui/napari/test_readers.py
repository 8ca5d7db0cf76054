"""What napari is handed for each thing mitosam writes; none of it needs napari itself."""

from __future__ import annotations

import csv
import subprocess
import sys

import numpy as np
import pytest

from mitosam.config import resolve_settings
from mitosam.errors import InputNotFoundError, StorageError
from mitosam.io.ome_zarr_spec import VolumeSpec
from mitosam.io.ome_zarr_writer import write_ome_zarr
from mitosam.ui.napari.readers import napari_get_reader
from mitosam.ui.session.kept import LABELS
from mitosam.ui.session.store import AnnotationStore
from mitosam.workflows.prepare import Sources, prepare
from mitosam.workflows.segment import segment
from tests.tiny_runs import VOXEL_SIZE_NM, short_settings, write_model, write_phantom
from tests.tiny_segmenter import write_tuned

DATA = ("data.patch_px=64", "data.tile_px=64")
NM = ("nm", "nm", "nm")


def read(path):
    reader = napari_get_reader(str(path))
    assert reader is not None
    return reader(str(path))


def write_zarr(path, array, kind, voxel_size_nm=None, chunk_zyx=(4, 64, 64)):
    spec = VolumeSpec(
        shape_zyx=array.shape,
        dtype=array.dtype,
        kind=kind,
        voxel_size_nm=voxel_size_nm,
        chunk_zyx=chunk_zyx,
    )
    write_ome_zarr(path, array, spec)
    return path


@pytest.fixture(scope="module")
def segmented(tmp_path_factory):
    folder = tmp_path_factory.mktemp("segmented")
    base = write_model(folder / "tiny")
    images = write_phantom(folder / "em", shape_zyx=(5, 64, 80)).images
    model = write_tuned(folder / "model.safetensors", base)
    settings = short_settings(base)
    return segment(
        images, folder / "out", model=model, method="head", probability=True, tiff=True,
        settings=settings,
    )  # fmt: skip


def test_a_run_opens_as_its_images_and_mitochondria_in_nm(tmp_path):
    run = prepare(write_phantom(tmp_path / "em"), tmp_path / "run", resolve_settings())
    (images, image, kind), (labels, mitochondria, labels_kind) = read(tmp_path / "run")
    volume = run.parts()[0].volume
    assert (kind, labels_kind) == ("image", "labels")
    assert np.array_equal(images, volume.images)
    assert np.array_equal(labels, volume.labels)
    assert image["scale"] == mitochondria["scale"] == VOXEL_SIZE_NM
    assert image["units"] == mitochondria["units"] == NM
    assert image["metadata"]["mitosam"]["test_sections"] == (3,)
    assert (image["name"], mitochondria["name"]) == ("images", "images mitochondria")


def test_halved_sections_lie_side_by_side(tmp_path):
    sources = write_phantom(tmp_path / "em", shape_zyx=(1, 192, 192))
    prepare(sources, tmp_path / "run", resolve_settings(overrides=DATA))
    left, _, right, _ = read(tmp_path / "run")
    shift_px = right[1]["translate"][2] / VOXEL_SIZE_NM[2]
    assert left[1]["translate"] == (0, 0, 0)
    assert left[0].shape[2] <= shift_px == 192 - right[0].shape[2]
    assert left[1]["visible"]
    assert right[1]["visible"]


def test_of_a_volume_to_train_on_and_one_to_test_on_the_first_is_shown(tmp_path):
    train, test = write_phantom(tmp_path / "a"), write_phantom(tmp_path / "b", seed=4)
    sources = Sources(
        images=train.images, masks=train.masks, test_images=test.images, test_masks=test.masks
    )
    prepare(sources, tmp_path / "run", resolve_settings(overrides=DATA))
    assert [look["visible"] for _, look, _ in read(tmp_path / "run")] == [True, True, False, False]


def test_a_run_whose_preparation_was_killed_says_so(tmp_path):
    run = prepare(write_phantom(tmp_path / "em"), tmp_path / "run", resolve_settings())
    (run.prepared_folder / "parts.json").unlink()
    with pytest.raises(InputNotFoundError, match="is not prepared"):
        read(tmp_path / "run")


def test_a_segmentation_opens_with_probability_and_measurements(segmented):
    (probability, below, kind), (labels, above, labels_kind) = read(segmented.out)
    assert (kind, labels_kind) == ("image", "labels")
    assert below["scale"] == above["scale"] == VOXEL_SIZE_NM
    assert above["units"] == NM
    assert not below["visible"]
    assert probability.dtype == np.uint8
    with segmented.table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows
    assert above["features"]["index"].tolist() == [int(row["instance"]) for row in rows]
    assert above["features"]["num_voxels"].tolist() == [int(row["num_voxels"]) for row in rows]
    counts = np.bincount(np.asarray(labels).ravel())[1:]
    assert counts[counts > 0].tolist() == above["features"]["num_voxels"].tolist()


def test_a_label_volume_without_voxel_size_is_in_pixels(tmp_path):
    labels = np.arange(3 * 8 * 9, dtype=np.uint32).reshape(3, 8, 9)
    ((stack, look, kind),) = read(write_zarr(tmp_path / "a.ome.zarr", labels, "labels"))
    assert np.array_equal(np.asarray(stack), labels)
    assert (kind, look["name"], look["scale"]) == ("labels", "a", (1, 1, 1))
    assert "units" not in look


def test_a_label_volume_with_a_pyramid_keeps_its_levels(tmp_path):
    labels = np.zeros((4, 600, 600), np.uint32)
    labels[1:3, 100:300, 100:200] = 7
    path = write_zarr(tmp_path / "a.ome.zarr", labels, "labels", VOXEL_SIZE_NM)
    ((levels, _, _),) = read(path)
    assert [level.shape for level in levels] == [(4, 600, 600), (2, 300, 300), (1, 150, 150)]
    assert np.array_equal(np.asarray(levels[0]), labels)
    assert np.array_equal(np.asarray(levels[1]), labels[::2, ::2, ::2])


def test_sections_are_read_when_they_are_looked_at(tmp_path):
    labels = np.ones((9, 8, 8), np.uint32)
    path = write_zarr(tmp_path / "a.ome.zarr", labels, "labels", chunk_zyx=(1, 8, 8))
    ((stack, _, _),) = read(path)
    (path / "0" / "c" / "8" / "0" / "0").write_bytes(b"damaged")
    assert np.asarray(stack[7]).all()
    with pytest.raises(ValueError, match="damaged near section 9"):
        np.asarray(stack[8])


def test_a_working_folder_opens_as_the_objects_outlined_so_far(tmp_path):
    folder = tmp_path / "stack.mitosam"
    expected = np.zeros((3, 300, 270), np.uint32)
    expected[1, 200:290, 100:260], expected[2, 5:9, 7:8] = 4, 9
    store = AnnotationStore(folder / LABELS, expected.shape)
    store.note("voxel_size_nm", VOXEL_SIZE_NM)
    with store.edit("draw") as edit:
        for z in (1, 2):
            edit.paint(z, 0, 0, expected[z])
    with pytest.raises(StorageError, match="in use by another mitosam"):
        read(folder)
    store.close()
    ((stack, look, kind),) = read(folder)
    assert (kind, look["name"], look["units"]) == ("labels", "stack mitochondria", NM)
    assert np.array_equal(np.asarray(stack), expected)
    AnnotationStore(folder / LABELS, expected.shape).close()


def test_what_mitosam_did_not_write_is_left_to_others(tmp_path):
    image = write_zarr(tmp_path / "image.zarr", np.ones((2, 8, 8), np.uint8), "image")
    (tmp_path / "notes").mkdir()
    (tmp_path / "broken.zarr").mkdir()
    (tmp_path / "broken.zarr" / "zarr.json").write_text("{")
    (tmp_path / "stack.tif").write_bytes(b"II*")
    left = (image, tmp_path / "notes", tmp_path / "broken.zarr", tmp_path / "stack.tif", "nothing")
    assert [napari_get_reader(str(path)) for path in left] == [None] * 5


def test_one_path_may_come_as_a_list_and_several_are_left_to_others(tmp_path):
    path = str(write_zarr(tmp_path / "a.zarr", np.ones((2, 8, 8), np.uint32), "labels"))
    assert napari_get_reader([path]) is not None
    assert napari_get_reader([path, path]) is None


def test_readers_and_sample_data_need_no_napari_and_no_torch():
    code = (
        "import sys; sys.modules['napari'] = sys.modules['qtpy'] = None\n"
        "import mitosam.ui.napari.readers, mitosam.ui.napari.sample\n"
        "print([name for name in ('torch', 'dask', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
