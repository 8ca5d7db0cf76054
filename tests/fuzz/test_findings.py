"""What fuzzing found, each as the smallest file that showed it."""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
from contextlib import suppress

import numpy as np
import pytest
import tifffile
import torch
import zarr
from PIL import Image

from mitosam.errors import InputError, ModelError, StorageError
from mitosam.io.arrays import map_array
from mitosam.io.open import open_volume
from mitosam.models.families import build_family
from mitosam.models.weight_files import read_weights
from mitosam.ui.session.kept import LABELS, kept_labels
from mitosam.workflows.automatic_results import CONFIDENCE, read_confidence
from mitosam.workflows.curves import read_curve
from mitosam.workflows.runs import Run
from mitosam.workflows.score_files import read_scores
from tests.fuzz.texts import blocks, read_blocks, run, session


def tiff_with(path, tag, value):
    """A stack whose first page says something else in one tag."""
    tifffile.imwrite(path, np.ones((3, 16, 20), np.uint8), photometric="minisblack")
    with tifffile.TiffFile(path, mode="r+b") as file:
        file.pages.first.tags[tag].overwrite(value)
    return path


@pytest.mark.parametrize("tag", ["ImageWidth", "ImageLength"])
def test_a_tiff_of_no_pixels_is_refused(tmp_path, tag):
    with pytest.raises(InputError):
        open_volume(tiff_with(tmp_path / "a.tif", tag, 0)).section(0)


def test_a_tiff_page_that_reaches_past_the_end_takes_no_memory(tmp_path):
    path = tmp_path / "a.tif"
    image = np.ones((16, 20), np.uint8)
    tifffile.imwrite(path, image, compression="zlib", photometric="minisblack")
    with tifffile.TiffFile(path, mode="r+b") as file:
        file.pages.first.tags["StripByteCounts"].overwrite(2**32 - 1)
    with pytest.raises(InputError):
        open_volume(path).section(0)


def test_a_tiff_whose_resolution_has_no_parts_is_read_or_refused(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.ones((8, 8), np.uint8), resolution=(1e6, 1e6), resolutionunit=3)
    with tifffile.TiffFile(path) as file:
        offset = file.pages.first.tags["XResolution"].offset
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, offset + 4, 0)  # no values
    path.write_bytes(data)
    with suppress(InputError):
        open_volume(path)


def test_a_file_of_another_kind_is_no_png_whatever_its_name(tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "a.eps")
    (tmp_path / "a.eps").rename(tmp_path / "a.png")
    with pytest.raises(InputError, match="not a whole PNG or JPEG"):
        open_volume(tmp_path / "a.png")


def test_a_png_is_opened_without_its_pixels(tmp_path):
    Image.new("L", (500, 400)).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[:60])
    assert open_volume(tmp_path / "a.png").shape_zyx == (1, 400, 500)
    with pytest.raises(InputError):
        open_volume(tmp_path / "a.png").section(0)


def test_a_zarr_of_endless_sections_is_refused_at_once(tmp_path):
    array = zarr.create_array(tmp_path / "a.zarr", shape=(3, 8, 8), chunks=(1, 8, 8), dtype="u1")
    assert array.shape == (3, 8, 8)
    path = tmp_path / "a.zarr" / "zarr.json"
    metadata = json.loads(path.read_text())
    metadata["shape"][0] = 10**12
    path.write_text(json.dumps(metadata))
    with pytest.raises(InputError, match="MITOSAM_MAX_PAGES"):
        open_volume(tmp_path / "a.zarr")


HEADERS = (
    "{'descr': '|u1', 'fortran_order': False, 'shape': (3, 4), ",  # no end
    "{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999999999,), }",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (10000, 10000), }",
    "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
    "{'descr': '<U9', 'fortran_order': False, 'shape': (1,), }",
    "[" * 90,
)


@pytest.mark.parametrize("header", HEADERS)
def test_an_npy_with_a_damaged_header_is_refused(tmp_path, header):
    text = header.encode().ljust(118 - 1) + b"\n"
    data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(40)
    (tmp_path / "a.npy").write_bytes(data)
    with pytest.raises(InputError, match="is damaged"):
        map_array(tmp_path / "a.npy")


TABLES = (b"a,b\n1\n", b"instance,confidence\n1,x\n", b"instance,confidence\n1\n",
          b"\xff\xfe\n1",
          b"instance,confidence\n1,2,3\n", b"instance,confidence\n" + b"1" * 200_000 + b",1\n",
          b"instance,confidence\n1e308,1\n", b"\x00,\x00\n1,2\n")  # fmt: skip


@pytest.mark.parametrize("data", TABLES)
def test_a_damaged_table_is_refused(tmp_path, data):
    for name in (CONFIDENCE, "training.csv", "base.csv"):
        (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match="damaged or another table"):
        read_confidence(tmp_path)
    with pytest.raises(InputError, match="damaged or another table"):
        read_curve(tmp_path / "training.csv")
    with pytest.raises(InputError, match="damaged or another table"):
        read_scores(tmp_path / "base.csv")


def test_volumes_outside_of_a_run_are_refused(tmp_path):
    folder = run(tmp_path)
    parts = folder / "prepared" / "parts.json"
    found = json.loads(parts.read_text())
    parts.write_text(json.dumps({"../../elsewhere": found["volume"]}))
    with pytest.raises(InputError, match="outside of the run"):
        Run.open(folder).parts()
    parts.write_text(json.dumps({"volume": found["volume"] | {"train": None}}))
    with pytest.raises(InputError, match="damaged"):
        Run.open(folder).parts()


@pytest.mark.parametrize("chunks", ["C:\\\\outside", [1e-308, 255, 40, 48], None])
def test_blocks_of_maps_that_are_damaged_are_made_anew(tmp_path, chunks):
    folder = blocks(tmp_path)
    path = folder / "maps" / "array.zarr" / "zarr.json"
    metadata = json.loads(path.read_text())
    metadata["chunk_grid"]["configuration"]["chunk_shape"] = chunks
    path.write_text(json.dumps(metadata))
    read_blocks(folder)


@pytest.mark.parametrize("value", ["[3, 40]", "[3, -40, 48]", "null", '"x"', "[1e999, 1, 1]"])
def test_a_session_of_a_strange_shape_is_refused(tmp_path, value):
    import sqlite3

    path = session(tmp_path)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE facts SET value = ? WHERE name = 'shape_zyx'", (value,))
    connection.close()
    with pytest.raises((InputError, StorageError)):
        kept_labels(path.parent)
    assert path.name == LABELS


class Asks:
    """A pickle that calls what torch lets a file of weights call."""

    def __init__(self, function, *values):
        self._call = function, values

    def __reduce__(self):
        return self._call


@pytest.mark.parametrize(
    "asked", [Asks(bytearray, 10**10), Asks(torch.FloatTensor, 10**9)], ids=["bytes", "tensor"]
)
@pytest.mark.parametrize("is_zip", [True, False])
def test_a_checkpoint_that_asks_for_memory_is_refused(tmp_path, asked, is_zip):
    path = tmp_path / "a.pth"
    torch.save({"a": asked}, path, _use_new_zipfile_serialization=is_zip)
    with pytest.raises(ModelError, match=r"bytearray|FloatTensor"):
        read_weights(path)


def test_a_tensor_that_shows_more_than_it_holds_is_refused(tmp_path):
    torch.save({"a": torch.zeros(1).half().expand(10**6, 10**6)}, tmp_path / "a.pth")
    with pytest.raises(ModelError, match="shows more numbers than it holds"):
        read_weights(tmp_path / "a.pth")


def test_a_checkpoint_that_is_a_bomb_is_refused(tmp_path):
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", pickle.dumps({}))
        archive.writestr("a/data/0", bytes(2**27))
    with pytest.raises(ModelError, match="unpacks to 128 MB"):
        read_weights(path)


@pytest.mark.parametrize("data", [b"", b"\x80\x02", b"PK\x03\x04", b"\x80\x02]q\x00."])
def test_what_is_no_checkpoint_is_refused(tmp_path, data):
    (tmp_path / "a.pth").write_bytes(data)
    with pytest.raises(ModelError):
        read_weights(tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("header", "data"),
    [
        (b"{}", 2**40),
        (b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', None),
        (b'{"a":{"dtype":"F32","shape":[9999999999],"data_offsets":[0,8]}}', None),
        (
            b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},'
            b'"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}',
            None,
        ),
    ],
    ids=["long header", "no data", "overflow", "overlap"],
)
def test_safetensors_headers_are_held_against_the_file(tmp_path, header, data):
    length = data or len(header)
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", length) + header)
    with pytest.raises(ModelError):
        read_weights(tmp_path / "a.safetensors")


@pytest.mark.parametrize("changes", [{"num_hidden_layers": 10**6}, {"hidden_size": 10**9}])
def test_a_config_of_no_model_is_refused(changes):
    with pytest.raises(ModelError, match=r"no model has more than"):
        build_family({"model_type": "sam", "vision_config": changes}, "a")
