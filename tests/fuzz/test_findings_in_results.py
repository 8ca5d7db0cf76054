"""What fuzzing found in results, data sets and models, each as the smallest file that showed it."""

from __future__ import annotations

import io
import json
import os
import sqlite3
import struct
import time
import tomllib
import zipfile

import numpy as np
import pytest
import tifffile
import zarr

from mitosam.checksums import write_sealed
from mitosam.config import read_settings
from mitosam.data.archives import unpack_members
from mitosam.data.manifest import read_manifest
from mitosam.errors import DamagedFileError, InputError, ModelError, SettingsError
from mitosam.geometry import Box
from mitosam.io.arrays import unpack_arrays
from mitosam.io.ome_zarr_check import find_unreadable
from mitosam.io.open import open_volume
from mitosam.locks import read_owner, why_dead
from mitosam.models.detectors import load_detector
from mitosam.models.load import load_model
from mitosam.models.tinyvit import TinyViT, TinyViTConfig
from mitosam.models.tuned import read_tuned_info
from mitosam.models.weight_files import read_weights
from mitosam.morphometry.kept import Kept
from mitosam.workflows.ablate_cells import COST, read_cost
from mitosam.workflows.doctor import doctor
from mitosam.workflows.evaluate import check_scored_files
from mitosam.workflows.evaluate_clicks import SUMMARY, read_clicks
from mitosam.workflows.runs import Run, read_object, write_object
from mitosam.workflows.study_file import flat_settings
from mitosam.workflows.tuned_model import settings_of
from tests.fuzz.datasets import archive, manifest
from tests.fuzz.images import ome_zarr_05
from tests.fuzz.models import owl, tiny_folder, tuned
from tests.fuzz.results import scored, segmentation, session_folder
from tests.fuzz.texts import run


def test_a_strip_that_says_to_be_larger_than_its_file_takes_no_memory(tmp_path):
    path = tmp_path / "a.tif"
    stack = np.random.default_rng(0).integers(0, 255, (3, 16, 20), np.uint8)
    tifffile.imwrite(path, stack, compression="zlib", photometric="minisblack", bigtiff=True)
    with tifffile.TiffFile(path, mode="r+b") as file:
        file.pages[1].aspage().tags["StripByteCounts"].overwrite(2**37)
    with pytest.raises(InputError, match="past the file's end"):
        open_volume(path).box(Box((1, 0, 0), (2, 4, 4)))


def test_members_that_lie_before_their_archive_are_refused(tmp_path):
    path = archive(tmp_path)
    content = bytearray(path.read_bytes())
    place = struct.Struct("<I")
    at = len(content) - 6  # where the directory begins, in the last record
    place.pack_into(content, at, place.unpack_from(content, at)[0] + 1000)
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged zip archive"):
        unpack_members(path, "*.png", tmp_path / "out")


OWNER = {
    "host": "a", "boot": "b", "pid": 1, "process_started": 1.0, "since": 1.0, "is_locked": False,
}  # fmt: skip


@pytest.mark.parametrize(
    "said", ["[" * 100_000, "null", json.dumps(OWNER | {"pid": 2**80}),
             json.dumps(OWNER | {"pid": -1}), json.dumps(OWNER | {"since": [1]})]
)  # fmt: skip
def test_a_lock_that_says_nonsense_has_no_owner(tmp_path, said):
    (tmp_path / "lock").write_text(said)
    assert read_owner(tmp_path / "lock") is None
    assert why_dead(tmp_path / "lock") is None
    os.utime(tmp_path / "lock", (time.time() - 10**6,) * 2)
    assert "no sign" in str(why_dead(tmp_path / "lock"))


def test_a_table_of_damaged_numbers_is_what_the_doctor_says(tmp_path):
    out = segmentation(tmp_path)
    (out / "mitochondria.csv").write_text("instance,volume_voxels\nx,1\n")
    (found,) = doctor(out).findings
    assert "damaged or another table" in found.what


def test_an_array_that_tells_of_endless_chunks_is_looked_through_at_once(tmp_path):
    group = zarr.create_group(tmp_path / "a.zarr")
    array = group.create_array("0", shape=(2, 8, 8), chunks=(1, 8, 8), dtype="u1")
    array[:] = 1
    path = tmp_path / "a.zarr" / "0" / "zarr.json"
    metadata = json.loads(path.read_text())
    metadata["shape"][0] = 10**12
    path.write_text(json.dumps(metadata))
    assert list(find_unreadable(tmp_path / "a.zarr")) == []


@pytest.mark.parametrize("shape", [None, 3])
def test_metadata_that_are_no_array_are_what_the_check_says(tmp_path, shape):
    group = zarr.create_group(tmp_path / "a.zarr")
    group.create_array("0", shape=(2, 8, 8), chunks=(1, 8, 8), dtype="u1")
    path = tmp_path / "a.zarr" / "0" / "zarr.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"chunk_grid": shape}))
    (what,) = find_unreadable(tmp_path / "a.zarr")
    assert "metadata cannot be read" in what


def test_a_session_with_a_block_of_no_section_is_what_the_doctor_says(tmp_path):
    folder = session_folder(tmp_path)
    with sqlite3.connect(folder / "annotations.sqlite") as database:
        database.execute("UPDATE blocks SET z = 'x', ids = x'00' WHERE z = 0")
    database.close()
    assert any("of section x cannot be read" in one.what for one in doctor(folder).findings)


@pytest.mark.parametrize("said", ["3", "[3]", '[{"interval": 1}]', '[{"interval": {"x": 1}}]'])
def test_a_summary_of_clicks_that_is_none_is_refused(tmp_path, said):
    folder = scored(tmp_path)
    (folder / SUMMARY).write_text(said)
    with pytest.raises(InputError, match="damaged"):
        read_clicks(Run.open(folder))


def test_scores_that_name_no_files_are_refused(tmp_path):
    with pytest.raises(DamagedFileError, match="names no files"):
        check_scored_files(tmp_path / "base.json", {"files": "base.csv"})


@pytest.mark.parametrize("said", ["{}", '{"seconds": "long"}', "[]"])
def test_the_cost_of_a_run_that_is_none_is_refused(tmp_path, said):
    (tmp_path / COST).write_text(said)
    with pytest.raises(DamagedFileError):
        read_cost(tmp_path)


@pytest.mark.parametrize("said", ["[[[", "a = [" + "[" * 100_000, "seed = " + "9" * 5000])
def test_a_tuned_model_of_damaged_settings_is_refused(tmp_path, said):
    info = read_tuned_info(tuned(tmp_path)).model_copy(update={"settings_toml": said})
    with pytest.raises(ModelError, match="no settings of a training"):
        settings_of(info)


def packed(**arrays):
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def with_member(content):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        made.writestr("key.npy", content)
    return file.getvalue()


HEADER = b"{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999,), }"
LONG = b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + HEADER.ljust(117) + b"\n"


@pytest.mark.parametrize(
    "content",
    [b"", b"PK", packed(other=np.ones(3)), packed(key=np.array([None])), with_member(LONG),
     with_member(b"\x93NUMPY")],
    ids=["nothing", "no archive", "another name", "objects", "too long", "cut short"],
)  # fmt: skip
def test_partial_results_that_are_damaged_and_sealed_are_made_anew(tmp_path, content):
    write_sealed(tmp_path / "a.npz", content)
    assert Kept(tmp_path).key("a") is None
    with pytest.raises(DamagedFileError):
        Kept(tmp_path).load("a", "key")


def test_arrays_come_out_of_their_archive_as_they_went_in(tmp_path):
    given = {"a": np.arange(6).reshape(2, 3), "b": np.array("text"), "c": np.array(2.5)}
    found = unpack_arrays(tmp_path, packed(**given))
    assert {name: array.tolist() for name, array in found.items()} == {
        name: array.tolist() for name, array in given.items()
    }


def test_a_checkpoint_whose_pickle_cannot_be_unpacked_is_refused(tmp_path):
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a/data.pkl", bytes(range(256)) * 9)
    content = bytearray(path.read_bytes())
    content[60:90] = b"\xff" * 30
    path.write_bytes(content)
    with pytest.raises(ModelError):
        read_weights(path)


def test_windows_of_no_model_are_refused_before_they_are_counted():
    with pytest.raises(ModelError, match="at most 32 tokens"):
        TinyViT(TinyViTConfig(window_sizes=(7, 100_000, 14, 7)))


def changed(path, key, value):
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {key: config[key] | value}))
    return path


def test_a_model_larger_than_its_weights_is_refused(tmp_path):
    wide = {"embed_dims": [64, 128, 160, 200_000]}
    with pytest.raises(ModelError, match=r"config\.json of \d+ numbers"):
        load_model(changed(tiny_folder(tmp_path), "tiny_vit", wide))


def test_a_detector_larger_than_its_weights_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"config\.json of \d+ numbers"):
        load_detector(changed(owl(tmp_path), "text_config", {"vocab_size": 900_000}))


def test_a_detector_whose_weights_lie_elsewhere_is_refused(tmp_path):
    folder = owl(tmp_path)
    (folder / "model.safetensors").rename(tmp_path / "model.safetensors")
    places = {"weight_map": {"a": "../model.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(places))
    with pytest.raises(ModelError, match="outside its folder"):
        load_detector(folder)


def test_a_pickle_that_asks_for_more_than_its_file_takes_no_memory(tmp_path):
    (tmp_path / "a.pth").write_bytes(b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"short")
    with pytest.raises(ModelError) as refused:
        read_weights(tmp_path / "a.pth")
    assert not isinstance(refused.value.__cause__, MemoryError)


@pytest.mark.parametrize("number", ["9" * 5000, "0x" + "f" * 5000])
def test_a_manifest_with_endless_numbers_is_refused(tmp_path, number):
    path = manifest(tmp_path)
    path.write_text(path.read_text().replace("mask_value = 2", f"mask_value = {number}"))
    with pytest.raises(InputError):
        read_manifest(path)


def test_settings_in_endless_tables_are_refused(tmp_path):
    deep = "a." * 3000
    with pytest.raises(SettingsError, match="at most 20 tables"):
        flat_settings(tomllib.loads(f"{deep}a = 1"))
    (tmp_path / "a.toml").write_text(f"training.epochs.{deep}a = 1")
    with pytest.raises(SettingsError):
        read_settings(tmp_path / "a.toml")


def test_a_run_that_names_what_no_folder_can_be_called_is_refused(tmp_path):
    folder = run(tmp_path)
    parts = folder / "prepared" / "parts.json"
    write_object(parts, {"z" * 300: read_object(parts)["volume"]})
    with pytest.raises(InputError, match="no folder can be called"):
        Run.open(folder).parts()


def test_an_ome_zarr_whose_level_no_folder_can_be_called_is_refused(tmp_path):
    folder = ome_zarr_05(tmp_path)
    metadata = (folder / "zarr.json").read_text()
    (folder / "zarr.json").write_text(metadata.replace('"path": "0"', f'"path": "{"9" * 5000}"'))
    with pytest.raises(InputError, match="missing or no zarr array"):
        open_volume(folder)
