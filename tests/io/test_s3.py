"""S3 by s3fs, against moto's server on loopback."""

from __future__ import annotations

import fsspec
import numpy as np
import pytest
from moto.server import ThreadedMotoServer

from mitosam.errors import InputNotFoundError, OutputExistsError, RemoteError
from mitosam.geometry import Box
from mitosam.io import remote
from mitosam.io.ome_zarr_spec import VolumeSpec
from mitosam.io.ome_zarr_writer import write_ome_zarr
from mitosam.io.open import open_volume
from mitosam.io.place import Url
from mitosam.io.upload import MARKER, upload_folder

STACK = np.random.default_rng(0).integers(0, 250, (7, 40, 300)).astype(np.uint8)
BOX = Box((1, 2, 3), (6, 33, 244))


@pytest.fixture(scope="module")
def bucket():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    options = {"endpoint_url": f"http://{host}:{port}", "key": "ada", "secret": "lovelace"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(fsspec.config.conf, "s3", options)
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setattr(remote, "PAUSES_S", (0.01, 0.02))
        fsspec.filesystem("s3").mkdir("/lab")
        yield "s3://lab"
    server.stop()


@pytest.fixture
def folder(tmp_path):
    spec = VolumeSpec(shape_zyx=STACK.shape, dtype=STACK.dtype, kind="image", chunk_zyx=(3, 16, 64))
    write_ome_zarr(tmp_path / "job" / "labels.ome.zarr", STACK, spec)
    (tmp_path / "job" / "table.csv").write_text("label\n1\n")
    return tmp_path / "job"


def test_a_folder_goes_to_s3_and_is_read_from_there(bucket, folder):
    done = upload_folder(folder, Url(f"{bucket}/whole"))
    assert done.num_sent == done.num_files
    volume = open_volume(f"{bucket}/whole/labels.ome.zarr")
    np.testing.assert_array_equal(volume.box(BOX), STACK[BOX.slices])
    assert upload_folder(folder, Url(f"{bucket}/whole")).num_sent == 0
    (folder / "table.csv").write_text("label\n2\n")
    with pytest.raises(OutputExistsError):
        upload_folder(folder, Url(f"{bucket}/whole"))


def test_an_upload_to_s3_that_was_lost_goes_on(bucket, folder, monkeypatch):
    store = fsspec.filesystem("s3")  # the very one that the upload will have
    put, sent = store.put_file, []

    def lost(lpath, rpath, **kwargs):
        sent.append(rpath)
        if len(sent) > 9:
            raise ConnectionResetError("lost")
        return put(lpath, rpath, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(store, "put_file", lost)
        with pytest.raises(RemoteError, match="run the same command again"):
            upload_folder(folder, Url(f"{bucket}/lost"))
    with pytest.raises(InputNotFoundError):
        open_volume(f"{bucket}/lost/labels.ome.zarr")
    done = upload_folder(folder, Url(f"{bucket}/lost"))
    assert done.num_sent == done.num_files - 9
    assert not fsspec.filesystem("s3").exists(f"lab/lost/{MARKER}")
    volume = open_volume(f"{bucket}/lost/labels.ome.zarr")
    np.testing.assert_array_equal(volume.box(BOX), STACK[BOX.slices])


def test_what_is_not_on_s3_is_one_line(bucket, folder):
    with pytest.raises(InputNotFoundError):
        open_volume(f"{bucket}/nowhere.zarr")
    with pytest.raises(InputNotFoundError):
        open_volume("s3://no-such-bucket/a.zarr")
    with pytest.raises((InputNotFoundError, RemoteError)):
        upload_folder(folder, Url("s3://no-such-bucket/job"))


def test_single_files_on_s3_are_read_in_parts(bucket, tmp_path):
    import h5py
    import tifffile

    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("raw", data=STACK, chunks=(1, 20, 50))
    tifffile.imwrite(tmp_path / "a.tif", STACK, photometric="minisblack")
    for name in ("a.h5", "a.tif"):
        fsspec.filesystem("s3").put_file(str(tmp_path / name), f"lab/{name}")
        volume = open_volume(f"{bucket}/{name}")
        np.testing.assert_array_equal(volume.box(BOX), STACK[BOX.slices])
