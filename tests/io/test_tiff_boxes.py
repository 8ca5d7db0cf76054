"""TIFF files by boxes: the same values as whole pages, and only what a box touches is read."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from mitosam.errors import InputError, RemoteError
from mitosam.geometry import Box
from mitosam.io import remote, tiff_segments
from mitosam.io.open import open_volume
from tests.io.web_server import WebServer

STACK = np.random.default_rng(0).integers(0, 250, (5, 70, 90)).astype(np.uint16)
LAYOUTS = {
    "plain": {},
    "one page for all": {"truncate": True},
    "imagej": {"imagej": True, "metadata": {"axes": "ZYX"}},
    "big endian": {"byteorder": ">"},
    "big": {"bigtiff": True},
    "strips": {"rowsperstrip": 13},
    "packed strips": {"rowsperstrip": 13, "compression": "zlib"},
    "tiles": {"tile": (16, 32)},
    "packed tiles": {"tile": (16, 32), "compression": "zlib", "predictor": True},
    "packed big endian tiles": {"tile": (32, 16), "compression": "lzw", "byteorder": ">"},
    "packed pages": {"compression": "zstd"},
}


def write(path, layout, stack=STACK):
    options = {"photometric": "minisblack", **LAYOUTS[layout]}
    tifffile.imwrite(path, stack, **options)
    return path


def some_box(data):
    start = tuple(data.draw(st.integers(0, n - 1)) for n in STACK.shape)
    stop = tuple(data.draw(st.integers(a + 1, n)) for a, n in zip(start, STACK.shape, strict=True))
    return Box(start, stop)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
@given(data=st.data())
@settings(max_examples=12)
def test_a_box_holds_what_the_whole_stack_holds_there(tmp_path_factory, layout, dtype, data):
    stack = STACK.astype(dtype)
    volume = open_volume(write(tmp_path_factory.mktemp("t") / "a.tif", layout, stack))
    box = some_box(data)
    np.testing.assert_array_equal(volume.box(box), stack[box.slices])
    np.testing.assert_array_equal(volume.section(1), stack[1])


@pytest.mark.parametrize(
    ("layout", "chunk"),
    [("tiles", (1, 16, 32)), ("strips", (1, 13, 90)), ("plain", (1, 70, 90)),
     ("one page for all", (1, 70, 90))],
)  # fmt: skip
def test_the_chunks_are_the_file_s_own(tmp_path, layout, chunk):
    assert open_volume(write(tmp_path / "a.tif", layout)).chunk_zyx == chunk


@pytest.mark.parametrize(
    ("layout", "most"), [("tiles", 2048), ("packed tiles", 2048), ("strips", 1800), ("plain", 1800)]
)
def test_only_what_a_box_touches_is_read(tmp_path, monkeypatch, layout, most):
    volume = open_volume(write(tmp_path / "a.tif", layout))
    read, counts = tiff_segments._read, []
    monkeypatch.setattr(
        tiff_segments, "_read", lambda *asked: counts.append(asked[2]) or read(*asked)
    )
    box = Box((2, 16, 32), (3, 26, 64))
    np.testing.assert_array_equal(volume.box(box), STACK[box.slices])
    assert 0 < sum(counts) <= most


def test_an_empty_tile_is_nodata_and_a_cut_one_is_refused(tmp_path):
    stack = STACK.copy()
    stack[0, :16, :32] = 0
    path = write(tmp_path / "a.tif", "packed tiles", stack)
    with tifffile.TiffFile(path, mode="r+") as file:
        tags = file.pages[0].tags
        tags["TileByteCounts"].overwrite((0, *tags["TileByteCounts"].value[1:]))
    box = Box((0, 0, 0), (1, 20, 40))
    np.testing.assert_array_equal(open_volume(path).box(box), stack[box.slices])
    with tifffile.TiffFile(path, mode="r+") as file:
        tags = file.pages[1].tags
        offsets = tags["TileOffsets"].value
        tags["TileOffsets"].overwrite((path.stat().st_size - 1, *offsets[1:]))
    with pytest.raises(InputError, match=r"page 2 is not a whole TIFF"):
        open_volume(path).box(Box((1, 0, 0), (2, 20, 40)))


def test_colour_and_one_bit_pages_are_cut_from_whole_ones(tmp_path):
    colour = np.repeat(STACK[0, ..., None].astype(np.uint8), 3, axis=-1)
    tifffile.imwrite(tmp_path / "colour.tif", colour, tile=(16, 16), photometric="rgb")
    tifffile.imwrite(tmp_path / "mask.tif", STACK > 100, photometric="minisblack")
    box = Box((0, 3, 5), (1, 60, 80))
    np.testing.assert_array_equal(
        open_volume(tmp_path / "colour.tif").box(box), STACK[:1][box.slices]
    )
    box = Box((1, 3, 5), (4, 60, 80))
    np.testing.assert_array_equal(
        open_volume(tmp_path / "mask.tif").box(box), (STACK > 100)[box.slices]
    )


def test_of_a_folder_only_the_sections_of_a_box_are_opened(tmp_path):
    for z, section in enumerate(STACK):
        tifffile.imwrite(tmp_path / f"{z}.tif", section, tile=(16, 32), compression="zlib")
    volume = open_volume(tmp_path)
    for z in (0, 1, 4):
        (tmp_path / f"{z}.tif").write_bytes(b"lost")
    box = Box((2, 5, 6), (4, 60, 70))
    np.testing.assert_array_equal(volume.box(box), STACK[box.slices])


@pytest.mark.parametrize("layout", ["plain", "packed tiles", "one page for all"])
def test_a_stack_on_a_web_server_is_read_in_parts(tmp_path, monkeypatch, layout):
    monkeypatch.setattr(remote, "PAUSES_S", (0.01,))
    monkeypatch.setattr(remote, "BLOCK_BYTES", 2**10)
    write(tmp_path / "a.tif", layout)
    with WebServer(tmp_path).running() as server:
        volume = open_volume(f"{server.address}/a.tif")
        server.requests.clear()
        box = Box((3, 16, 32), (4, 20, 60))
        np.testing.assert_array_equal(volume.box(box), STACK[box.slices])
        assert len(server.requests) <= 5
        np.testing.assert_array_equal(volume.section(0), STACK[0])
        server.stop()
        with pytest.raises(RemoteError, match="run the same command again"):
            volume.box(Box((1, 0, 0), (3, 70, 90)))


@pytest.mark.parametrize("layout", ["plain", "tiles", "packed pages"])
def test_threads_do_not_move_each_others_place_in_the_file(tmp_path, monkeypatch, layout):
    volume = open_volume(write(tmp_path / "a.tif", layout))
    seek = tifffile.FileHandle.seek

    def seek_and_let_others_go_on(file, *where):
        place = seek(file, *where)
        time.sleep(0.001)
        return place

    monkeypatch.setattr(tifffile.FileHandle, "seek", seek_and_let_others_go_on)
    boxes = [Box((z, 0, 0), (z + 1, 70, 90)) for z in range(len(STACK))] * 8
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(volume.box, boxes))
    for box, voxels in zip(boxes, found, strict=True):
        np.testing.assert_array_equal(voxels, STACK[box.slices])
