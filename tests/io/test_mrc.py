from __future__ import annotations

import logging

import mrcfile
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mitosam.errors import InputError, MitosamError, RemoteError
from mitosam.geometry import Box
from mitosam.io import mrc, remote
from mitosam.io.open import open_volume
from tests.io.web_server import WebServer

STACK = np.random.default_rng(0).integers(0, 120, (7, 20, 30)).astype(np.int8)


def write(path, data=STACK, size_angstrom=(300.0, 80.0, 40.0), **fields):
    """A file by the reference library; `fields` of its header are changed afterwards."""
    with mrcfile.new(path) as file:
        file.set_data(data)
        z, y, x = size_angstrom
        file.voxel_size = (x, y, z)
        for name, value in fields.items():
            file.header[name] = value
    return path


def patch(path, at, content):
    raw = bytearray(path.read_bytes())
    raw[at : at + len(content)] = content
    path.write_bytes(raw)
    return path


def whole(volume):
    return np.stack(list(volume.sections()))


@pytest.mark.parametrize("dtype", ["i1", "i2", "f4", "u2", "f2"])
@pytest.mark.parametrize("suffix", ["mrc", "rec", "st"])
def test_a_volume_is_read_as_the_reference_library_wrote_it(tmp_path, dtype, suffix):
    stack = STACK.astype(dtype)
    volume = open_volume(write(tmp_path / f"a.{suffix}", stack))
    assert volume.name == "a"
    assert volume.section_names[1] == "page 2"
    assert volume.dtype == volume.section(0).dtype == np.dtype(dtype)
    assert volume.voxel_size_nm == pytest.approx((30, 8, 4))
    np.testing.assert_array_equal(whole(volume), stack)


def test_big_endian_files_and_extended_headers_are_read(tmp_path):
    path = tmp_path / "a.mrc"
    header = np.zeros(1, mrcfile.dtypes.HEADER_DTYPE.newbyteorder(">"))
    header["nz"], header["ny"], header["nx"] = STACK.shape
    header["mode"], header["nsymbt"], header["machst"] = 1, 96, [[0x11, 0x11, 0, 0]]
    path.write_bytes(header.tobytes() + bytes(96) + STACK.astype(">i2").tobytes())
    volume = open_volume(path)
    assert volume.voxel_size_nm is None
    assert volume.dtype == np.dtype("i2")
    np.testing.assert_array_equal(whole(volume), STACK)
    patch(path, 212, bytes(4))  # older files have no machine stamp
    np.testing.assert_array_equal(whole(open_volume(path)), STACK)


def test_bytes_of_imod_are_unsigned_unless_it_says_otherwise(tmp_path):
    path = write(tmp_path / "a.rec", STACK - 100)
    patch(path, 152, (1146047817).to_bytes(4, "little"))
    assert open_volume(path).dtype == np.uint8
    np.testing.assert_array_equal(whole(open_volume(path)), (STACK - 100).view(np.uint8))
    patch(path, 156, (1).to_bytes(4, "little"))
    np.testing.assert_array_equal(whole(open_volume(path)), STACK - 100)


@given(data=st.data())
@settings(max_examples=30)
def test_a_box_holds_what_the_whole_volume_holds_there(tmp_path_factory, data):
    volume = open_volume(write(tmp_path_factory.mktemp("m") / "a.mrc"))
    start = tuple(data.draw(st.integers(0, n - 1)) for n in STACK.shape)
    stop = tuple(data.draw(st.integers(a + 1, n)) for a, n in zip(start, STACK.shape, strict=True))
    box = Box(start, stop)
    np.testing.assert_array_equal(volume.box(box), STACK[box.slices])


def test_a_single_image_is_one_section(tmp_path):
    volume = open_volume(write(tmp_path / "a.mrc", STACK[0]))
    assert volume.section_names == ("a.mrc",)
    np.testing.assert_array_equal(volume.section(0), STACK[0])


@pytest.mark.parametrize(
    ("size", "expected"),
    [((1.0, 1.0, 1.0), None), ((0.0, 0.0, 0.0), None), ((8e6, 8e6, 8e6), None)],
)
def test_a_size_that_is_none_is_left_out(tmp_path, caplog, size, expected):
    path = write(tmp_path / "a.mrc", size_angstrom=size)
    with caplog.at_level(logging.INFO):
        assert open_volume(path).voxel_size_nm == expected
    assert ("left out" in caplog.text) == (size[0] > 0)


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"mode": 4}, "complex"), ({"mode": 16}, "RGB"), ({"mode": 101}, "4-bit"),
        ({"mode": 77}, "unknown"), ({"nx": 0}, "damaged"), ({"nz": -1}, "damaged"),
        ({"nsymbt": -99999}, "damaged"), ({"nsymbt": 64}, "cut short"),
        ({"nx": 2**31 - 1, "ny": 2**31 - 1, "nz": 2**31 - 1}, "cut short"),
        ({"mapc": 3, "maps": 1}, "axes in the order"), ({"ispg": 401, "mz": 1}, "holds 7 volumes"),
    ],
)  # fmt: skip
def test_what_is_not_read_is_one_line(tmp_path, fields, word):
    path = write(tmp_path / "a.mrc", **fields)
    with pytest.raises(InputError, match=word):
        open_volume(path)


@pytest.mark.parametrize("share", [0, 0.02, 0.3, 0.6, 0.999])
def test_a_truncated_file_is_never_read(tmp_path, share):
    path = write(tmp_path / "a.mrc")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(InputError, match="copy it again"):
        open_volume(path)


def test_a_file_that_shrinks_while_in_use_is_noticed(tmp_path):
    path = write(tmp_path / "a.mrc")
    volume = open_volume(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError, match="damaged near section 7"):
        volume.section(6)


def test_a_packed_file_says_what_to_do(tmp_path):
    (tmp_path / "a.mrc.gz").write_bytes(b"packed")
    with pytest.raises(InputError, match="gunzip"):
        open_volume(tmp_path / "a.mrc.gz")


@given(content=st.binary(max_size=1100))
def test_any_bytes_are_a_header_or_one_line(content):
    try:
        header = mrc.read_header(content, "a.mrc")
    except MitosamError:
        return
    assert min(header.shape_zyx) > 0


def test_a_file_on_a_web_server_is_read_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "PAUSES_S", (0.01,))
    monkeypatch.setattr(remote, "BLOCK_BYTES", 2**10)
    write(tmp_path / "a.mrc")
    box = Box((5, 2, 3), (7, 9, 8))
    with WebServer(tmp_path).running() as server:
        volume = open_volume(f"{server.address}/a.mrc")
        server.requests.clear()
        np.testing.assert_array_equal(volume.box(box), STACK[box.slices])
        assert len(server.requests) <= 4
        np.testing.assert_array_equal(whole(volume), STACK)
        server.stop()
        remote_volume = volume
        monkeypatch.setattr(remote, "NUM_BLOCKS", 0)
        with pytest.raises(RemoteError, match="run the same command again"):
            whole(remote_volume)
