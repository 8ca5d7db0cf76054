"""Volumes at URLs: a web server on loopback that fails in every way, and fsspec's memory."""

from __future__ import annotations

import logging
import sys

import fsspec
import numpy as np
import pytest
import zarr

from mitosam.errors import InputError, InputNotFoundError, MitosamError, RemoteError, SettingsError
from mitosam.geometry import Box
from mitosam.io import remote
from mitosam.io.ome_zarr_spec import VolumeSpec
from mitosam.io.ome_zarr_writer import write_ome_zarr
from mitosam.io.open import open_volume
from mitosam.io.place import Url
from mitosam.io.zarr_folder import RemoteFolder
from tests.io.web_server import WebServer

STACK = np.random.default_rng(0).integers(0, 250, (7, 40, 50)).astype(np.uint8)
BOX = Box((1, 2, 3), (6, 33, 44))


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(remote, "PAUSES_S", (0.01, 0.02, 0.04))


@pytest.fixture
def server(tmp_path):
    for version in ("0.4", "0.5"):
        spec = VolumeSpec(
            shape_zyx=STACK.shape, dtype=STACK.dtype, kind="image", voxel_size_nm=(30, 8, 8),
            chunk_zyx=(3, 16, 16), ngff_version=version,
        )  # fmt: skip
        write_ome_zarr(tmp_path / f"v{version}.ome.zarr", STACK, spec)
    zarr.create_array(
        store=tmp_path / "sharded.zarr", data=STACK, chunks=(1, 8, 8), shards=(4, 32, 32)
    )
    with WebServer(tmp_path).running() as running:
        yield running


@pytest.mark.parametrize("name", ["v0.4.ome.zarr", "v0.5.ome.zarr", "v0.5.ome.zarr/0"])
def test_an_ome_zarr_on_a_web_server_is_read_by_boxes_and_sections(server, name):
    volume = open_volume(f"{server.address}/{name}")
    assert volume.shape_zyx == STACK.shape
    assert volume.chunk_zyx == (3, 16, 16)
    assert volume.voxel_size_nm == (None if name.endswith("/0") else (30, 8, 8))
    np.testing.assert_array_equal(volume.box(BOX), STACK[BOX.slices])
    np.testing.assert_array_equal(volume.section(4), STACK[4])


def test_only_the_chunks_of_a_box_are_asked_for(server):
    volume = open_volume(f"{server.address}/v0.5.ome.zarr")
    server.requests.clear()
    volume.box(Box((0, 0, 0), (1, 16, 17)))
    assert sorted(server.requests) == [f"/v0.5.ome.zarr/0/c/0/0/{x}" for x in (0, 1)]


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_shards_are_read_in_part_where_the_server_can(server, knows_ranges):
    server.knows_ranges = knows_ranges
    volume = open_volume(f"{server.address}/sharded.zarr")
    np.testing.assert_array_equal(volume.box(BOX), STACK[BOX.slices])


@pytest.mark.parametrize("knows_ranges", [True, False])
@pytest.mark.parametrize(("start", "stop"), [(0, 9), (3, 9), (3, None), (0, None), (-5, None)])
def test_a_part_of_a_file_is_that_part_whatever_the_server_sends(
    server, tmp_path, knows_ranges, start, stop
):
    (tmp_path / "digits").write_bytes(b"0123456789")
    server.knows_ranges = knows_ranges
    folder = RemoteFolder(remote.remote_at(Url(server.address)))
    assert folder.read("digits", start, stop) == b"0123456789"[start:stop]


@pytest.mark.parametrize("fault", [503, 429, "drop"])
def test_a_store_that_falters_is_asked_again_and_the_log_says_so(server, caplog, fault):
    server.fault = lambda path, number: fault if number % 3 else None
    with caplog.at_level(logging.WARNING):
        volume = open_volume(f"{server.address}/v0.5.ome.zarr")
        np.testing.assert_array_equal(volume.box(BOX), STACK[BOX.slices])
    assert "trying again in" in caplog.text
    assert "/0/c/" in caplog.text


def test_a_store_lost_in_the_middle_is_one_line_that_says_how_to_go_on(server):
    volume = open_volume(f"{server.address}/v0.5.ome.zarr")
    np.testing.assert_array_equal(volume.section(0), STACK[0])
    server.stop()
    with pytest.raises(RemoteError, match=r"after 4 tries .* run the same command again"):
        volume.section(6)


def test_a_server_that_stalls_is_given_up_in_time(server, monkeypatch):
    monkeypatch.setattr(remote, "STALLED_S", 0.1)
    server.fault = lambda path, number: "slow"
    with pytest.raises(RemoteError, match="no answer in time"):
        open_volume(f"{server.address}/v0.5.ome.zarr")


def test_a_slow_server_is_waited_for(server):
    server.fault = lambda path, number: "slow" if path.endswith("zarr.json") else None
    assert open_volume(f"{server.address}/v0.5.ome.zarr").shape_zyx == STACK.shape


@pytest.mark.parametrize(
    ("status", "kind", "word"),
    [
        (401, RemoteError, "may not be opened"),
        (403, RemoteError, "may not be opened"),
        (400, InputError, "HTTP 400"),
        (404, InputNotFoundError, "does not exist"),
    ],
)
def test_a_refusal_is_final(server, status, kind, word):
    server.fault = lambda path, number: status
    with pytest.raises(kind, match=word):
        open_volume(f"{server.address}/v0.5.ome.zarr")
    assert len(server.requests) <= 3


def test_a_host_that_is_not_there_is_one_line():
    with pytest.raises(RemoteError, match=r"127.0.0.1:1/a.zarr.*cannot be reached"):
        open_volume("http://127.0.0.1:1/a.zarr")


@pytest.mark.parametrize("fault", [None, 403, 500, 400])
def test_what_opens_a_store_is_never_shown(server, caplog, fault):
    server.fault = lambda path, number: fault
    url = server.address.replace("://", "://ada:lovelace@") + "/v0.5.ome.zarr?sig=hush"
    shown = repr(Url(url)) + str(Url(url))
    with caplog.at_level(logging.DEBUG, logger="mitosam"):
        try:
            volume = open_volume(url)
            np.testing.assert_array_equal(volume.section(0), STACK[0])
            shown += repr(volume.name) + repr(volume.section_names)
        except MitosamError as error:
            shown += str(error)
    assert "/v0.5.ome.zarr/0/zarr.json?sig=hush" in server.requests or fault
    assert "hush" not in shown + caplog.text
    assert "lovelace" not in shown + caplog.text


def test_a_truncated_chunk_of_a_store_is_refused(server):
    chunk = server.root / "v0.5.ome.zarr/0/c/0/0/0"
    chunk.write_bytes(chunk.read_bytes()[:-9])
    with pytest.raises(InputError, match=r"v0.5.ome.zarr/0 is damaged near section 1"):
        open_volume(f"{server.address}/v0.5.ome.zarr").section(0)


@pytest.mark.parametrize("text", ["s3://bucket/a.zarr", "gs://bucket/a.zarr", "abfs://c@h/a.zarr"])
def test_a_missing_package_is_named(text, monkeypatch):
    for protocol, module in {"s3": "s3fs", "gs": "gcsfs", "abfs": "adlfs"}.items():
        monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
        monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, protocol, raising=False)
    with pytest.raises(SettingsError, match=r"pip install (s3fs|gcsfs|adlfs)"):
        open_volume(text)


def test_an_unknown_protocol_is_refused():
    with pytest.raises(SettingsError, match="protocol not known: carrier"):
        open_volume("carrier://pigeon/a.zarr")


def test_any_store_of_fsspec_will_do(tmp_path):
    zarr.create_array(store=tmp_path / "a.zarr", data=STACK, chunks=(3, 16, 16))
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path / "a.zarr"), "/any/a.zarr", recursive=True)
    np.testing.assert_array_equal(open_volume("memory://any/a.zarr").box(BOX), STACK[BOX.slices])
    np.testing.assert_array_equal(
        open_volume("simplecache::memory://any/a.zarr").box(BOX), STACK[BOX.slices]
    )
    with pytest.raises(InputError, match=r"name one of memory://any/a.zarr"):
        memory.pipe_file("/any/zarr.json", b'{"zarr_format": 3, "node_type": "group"}')
        open_volume("memory://any")
    memory.rm("/any", recursive=True)


def test_a_file_url_is_a_path(tmp_path):
    zarr.create_array(store=tmp_path / "a b.zarr", data=STACK)
    assert open_volume((tmp_path / "a b.zarr").as_uri()).shape_zyx == STACK.shape
