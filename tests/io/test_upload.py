from __future__ import annotations

import hashlib
import logging

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from mitosam.errors import InputError, InputNotFoundError, OutputExistsError, RemoteError
from mitosam.io import remote
from mitosam.io.ome_zarr_spec import VolumeSpec
from mitosam.io.ome_zarr_writer import write_ome_zarr
from mitosam.io.open import open_volume
from mitosam.io.place import Url
from mitosam.io.upload import MARKER, upload_folder

STACK = np.random.default_rng(0).integers(0, 250, (7, 40, 300)).astype(np.uint8)
URL = Url("shelf://out/job")


class Shelf(MemoryFileSystem):
    """A store in memory that tells MD5 as S3 does, notes what it is given, and can fail."""

    protocol = "shelf"
    store: dict = {}  # noqa: RUF012  of the class, as in its base
    pseudo_dirs = [""]  # noqa: RUF012
    given: list = []  # noqa: RUF012
    fault = None
    tells_md5 = True

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.replace("shelf://", "memory://"))

    def put_file(self, lpath, rpath, **kwargs):
        self.given.append(rpath)
        if type(self).fault:
            type(self).fault(rpath)
        return super().put_file(lpath, rpath, **kwargs)

    def find(self, path, **kwargs):
        found = super().find(path, **kwargs)
        for name, facts in found.items():
            if self.tells_md5:
                facts["ETag"] = f'"{hashlib.md5(self.cat_file(name)).hexdigest()}"'
        return found


@pytest.fixture(autouse=True)
def shelf(monkeypatch):
    monkeypatch.setattr(remote, "PAUSES_S", (0.01, 0.02))
    fsspec.register_implementation("shelf", Shelf, clobber=True)
    Shelf.store.clear()
    Shelf.given.clear()
    Shelf.fault, Shelf.tells_md5 = None, True
    return Shelf


@pytest.fixture(params=["0.4", "0.5"])
def folder(tmp_path, request):
    spec = VolumeSpec(
        shape_zyx=STACK.shape, dtype=STACK.dtype, kind="image", chunk_zyx=(3, 16, 64),
        ngff_version=request.param,
    )  # fmt: skip
    write_ome_zarr(tmp_path / "job" / "labels.ome.zarr", STACK, spec)
    (tmp_path / "job" / "mitochondria.csv").write_text("label\n1\n")
    return tmp_path / "job"


def names():
    return {path.removeprefix("/out/job/") for path in Shelf.store}


def local(folder):
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_a_folder_arrives_whole_and_its_volume_is_read_there(folder):
    done = upload_folder(folder, URL)
    assert names() == local(folder)
    assert done.num_sent == done.num_files == len(local(folder))
    assert done.bytes_sent == sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    volume = open_volume("shelf://out/job/labels.ome.zarr")
    np.testing.assert_array_equal(np.stack(list(volume.sections())), STACK)


def test_metadata_come_last_and_the_volume_s_own_at_the_end(folder):
    upload_folder(folder, URL)
    are_metadata = [path.rpartition("/")[2].strip(".").startswith("z") for path in Shelf.given]
    assert are_metadata == sorted(are_metadata)
    assert Shelf.given[-1] in (f"/out/job/labels.ome.zarr/{n}" for n in (".zgroup", "zarr.json"))


@pytest.mark.parametrize("num_sent", [0, 3, 40])
def test_an_upload_that_was_lost_is_not_taken_for_whole_and_goes_on(folder, num_sent):
    def lost(path):
        if len(Shelf.given) > num_sent:
            raise ConnectionResetError("lost")

    Shelf.fault = lost
    with pytest.raises(RemoteError, match=r"after 3 tries .* run the same command again"):
        upload_folder(folder, URL)
    assert MARKER in names()
    with pytest.raises((InputNotFoundError, InputError)):
        open_volume("shelf://out/job/labels.ome.zarr")
    there = len(names()) - 1
    Shelf.fault = None
    done = upload_folder(folder, URL)
    assert done.num_sent == done.num_files - there
    assert names() == local(folder)


def test_a_store_that_falters_is_asked_again(folder, caplog):
    def falter(path):
        if Shelf.given.count(path) == 1:
            raise TimeoutError

    Shelf.fault = falter
    with caplog.at_level(logging.WARNING):
        upload_folder(folder, URL)
    assert "no answer in time; trying again" in caplog.text
    assert names() == local(folder)


def test_what_is_there_already_is_not_sent_again(folder):
    upload_folder(folder, URL)
    assert upload_folder(folder, URL).num_sent == 0


def test_something_else_is_never_overwritten(folder):
    Shelf().pipe_file("/out/job/notes.txt", b"mine")
    with pytest.raises(OutputExistsError, match="holds something else"):
        upload_folder(folder, URL)
    Shelf.store.clear()
    upload_folder(folder, URL)
    (folder / "mitochondria.csv").write_text("label\n2\n")
    with pytest.raises(OutputExistsError, match="holds something else"):
        upload_folder(folder, URL)


def test_an_earlier_try_of_another_result_leaves_no_chunk_behind(folder, caplog):
    Shelf().pipe_file(f"/out/job/{MARKER}", b"{}")
    Shelf().pipe_file("/out/job/labels.ome.zarr/0/c/9/9/9", b"stale")
    upload_folder(folder, URL)
    assert names() == local(folder)
    assert "removed" in caplog.text


def test_a_store_that_tells_no_md5_is_sent_all_again(folder):
    Shelf.tells_md5 = False
    Shelf.fault = lambda path: (_ for _ in ()).throw(TimeoutError) if len(Shelf.given) > 9 else None
    with pytest.raises(RemoteError):
        upload_folder(folder, URL)
    Shelf.fault = None
    done = upload_folder(folder, URL)
    assert done.num_sent == done.num_files
    assert names() == local(folder)


def test_what_a_store_swallows_is_noticed(folder, monkeypatch):
    put = Shelf.put_file
    monkeypatch.setattr(
        Shelf, "put_file", lambda self, a, b: None if b.endswith("csv") else put(self, a, b)
    )
    with pytest.raises(RemoteError, match=r"lacks 1 of .* the first mitochondria.csv"):
        upload_folder(folder, URL)


def test_places_that_cannot_take_files_are_refused(folder):
    with pytest.raises(InputError, match="takes no files"):
        upload_folder(folder, Url("https://host/out"))
    with pytest.raises(InputNotFoundError, match="no folder"):
        upload_folder(folder / "none", URL)


def test_the_memory_of_fsspec_takes_it_too(folder):
    upload_folder(folder, Url("memory://taken/job"))
    volume = open_volume("memory://taken/job/labels.ome.zarr")
    np.testing.assert_array_equal(volume.section(3), STACK[3])
    fsspec.filesystem("memory").rm("/taken", recursive=True)
