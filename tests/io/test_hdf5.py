from __future__ import annotations

import gc
import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mitosam.errors import InputError, InputNotFoundError, MitosamError, RemoteError
from mitosam.geometry import Box
from mitosam.io import remote
from mitosam.io.open import open_volume
from tests.io.web_server import WebServer

STACK = np.random.default_rng(0).integers(0, 250, (7, 40, 50)).astype(np.uint8)


def write(path, data=STACK, name="raw", **options):
    with h5py.File(path, "a") as file:
        dataset = file.create_dataset(name, data=data, **options)
        return path, dataset.name


def note(path, name, **attributes):
    with h5py.File(path, "a") as file:
        file[name].attrs.update(attributes)


def whole(volume):
    return np.stack(list(volume.sections()))


@pytest.mark.parametrize("dtype", ["u1", "i2", "u4", "u8", "f2", "f4", "f8", "?", ">u2", ">f4"])
@pytest.mark.parametrize("options", [{}, {"chunks": (3, 16, 16), "compression": "gzip"}])
@pytest.mark.parametrize("suffix", ["h5", "hdf5", "HDF"])
def test_a_dataset_is_read_as_it_was_written(tmp_path, dtype, options, suffix):
    path, _ = write(tmp_path / f"a.{suffix}", STACK.astype(dtype), **options)
    volume = open_volume(path)
    assert volume.name == "a"
    assert volume.voxel_size_nm is None
    assert volume.section_names[1] == "page 2"
    assert volume.chunk_zyx == (3, 16, 16) if options else (1, 40, 50)
    assert volume.dtype == volume.section(0).dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(whole(volume), STACK.astype(dtype))


@given(data=st.data())
@settings(max_examples=30)
def test_a_box_holds_what_the_whole_dataset_holds_there(tmp_path_factory, data):
    orders = {"zyx": (0, 1, 2), "xzy": (2, 0, 1)}
    names = data.draw(st.sampled_from(sorted(orders)))
    path, name = write(
        tmp_path_factory.mktemp("h") / "a.h5", STACK.transpose(orders[names]), chunks=(5, 7, 9)
    )
    note(path, name, axistags=json.dumps({"axes": [{"key": key} for key in names]}))
    start = tuple(data.draw(st.integers(0, n - 1)) for n in STACK.shape)
    stop = tuple(data.draw(st.integers(a + 1, n)) for a, n in zip(start, STACK.shape, strict=True))
    box = Box(start, stop)
    np.testing.assert_array_equal(open_volume(path).box(box), STACK[box.slices])


def test_several_datasets_are_named_behind_a_colon(tmp_path):
    path, _ = write(tmp_path / "a.h5", name="volumes/raw")
    write(path, STACK // 2, name="volumes/labels/mitos")
    write(path, np.arange(9), name="scores")
    with pytest.raises(InputError, match=r"2 datasets; name one of .*a.h5:/volumes/labels/mitos, "):
        open_volume(path)
    np.testing.assert_array_equal(whole(open_volume(f"{path}:/volumes/raw")), STACK)
    np.testing.assert_array_equal(
        whole(open_volume(Path(f"{path}:/volumes/labels/mitos"))), STACK // 2
    )
    with pytest.raises(InputError, match=r"no dataset /volumes/x; name one of"):
        open_volume(f"{path}:/volumes/x")
    with pytest.raises(InputError, match=r"no dataset /volumes; name one of"):
        open_volume(f"{path}:/volumes")
    with pytest.raises(InputNotFoundError):
        open_volume(f"{tmp_path}/b.h5:/volumes/raw")


def test_a_file_without_images_says_so(tmp_path):
    path, _ = write(tmp_path / "a.h5", np.arange(9))
    with pytest.raises(InputError, match="holds no image"):
        open_volume(path)


@pytest.mark.parametrize(
    ("name", "attributes", "expected"),
    [
        ("raw", {"element_size_um": [0.03, 0.008, 0.004]}, (30, 8, 4)),
        ("volumes/raw", {"resolution": [40.0, 4.0, 4.0]}, (40, 4, 4)),
        ("raw", {"resolution": [40.0, 4.0, 4.0]}, None),
        ("raw", {"element_size_um": [0.03, 0.008]}, None),
        ("raw", {"element_size_um": "thin"}, None),
        ("raw", {"element_size_um": [0.0, 0.008, 0.008]}, None),
    ],
)
def test_the_voxel_size_is_read_where_a_convention_defines_it(tmp_path, name, attributes, expected):
    path, _ = write(tmp_path / "a.h5", name=name)
    note(path, name, **attributes)
    found = open_volume(path).voxel_size_nm
    assert found == (None if expected is None else pytest.approx(expected))


def test_of_a_big_data_viewer_pyramid_the_finest_level_is_read_unsigned(tmp_path):
    stack = STACK.astype(np.uint16) * 260  # half of it above 32767
    path, _ = write(tmp_path / "a.h5", stack.view(np.int16), name="t00000/s00/0/cells")
    write(path, stack[::2, ::2, ::2].view(np.int16), name="t00000/s00/1/cells")
    write(path, np.ones((2, 3)), name="s00/resolutions")
    write(path, np.ones((2, 3), np.int32), name="s00/subdivisions")
    np.testing.assert_array_equal(whole(open_volume(path)), stack)
    write(path, stack.view(np.int16), name="t00000/s01/0/cells")
    with pytest.raises(InputError, match="holds 2 datasets"):
        open_volume(path)


@pytest.mark.parametrize(
    "shape", [(1, 7, 40, 50), (7, 40, 50, 1), (1, 1, 7, 40, 50), (1, 1, 40, 50), (40, 50)]
)
def test_axes_of_length_one_fall_away(tmp_path, shape):
    stack = STACK if 7 in shape else STACK[:1]
    path, _ = write(tmp_path / "a.h5", stack.reshape(shape))
    np.testing.assert_array_equal(whole(open_volume(path)), stack)


@pytest.mark.parametrize(
    ("shape", "word"),
    [((2, 7, 40, 50), "2 channels"), ((3, 1, 7, 4, 5), "3 timepoints"), ((1,) * 6, "save it as z")],
)
def test_channels_timepoints_and_more_axes_are_refused(tmp_path, shape, word):
    path, _ = write(tmp_path / "a.h5", np.zeros(shape, np.uint8))
    with pytest.raises(InputError, match=word):
        open_volume(path)


@pytest.mark.parametrize("values", [np.zeros((3, 4), np.complex64), np.zeros((2, 2), "S3")])
def test_what_are_no_numbers_is_refused(tmp_path, values):
    path, _ = write(tmp_path / "a.h5", values)
    with pytest.raises(InputError):
        open_volume(path)
    with pytest.raises(InputError, match=r"holds .* values"):
        open_volume(f"{path}:/raw")


def test_no_link_is_followed_out_of_a_file(tmp_path):
    secret, _ = write(tmp_path / "secret.h5")
    for link in (h5py.ExternalLink(str(secret), "/raw"), h5py.SoftLink("/outside/raw")):
        path = tmp_path / f"{type(link).__name__}.h5"
        with h5py.File(path, "w") as file:
            file["raw"] = link
            file["outside"] = h5py.ExternalLink(str(secret), "/")
        with pytest.raises(InputError, match="holds no image"):
            open_volume(path)
        for name in ("raw", "outside/raw"):
            with pytest.raises(InputError, match=r"is a link to .*; name that itself"):
                open_volume(f"{path}:/{name}")


def test_values_in_other_files_are_refused(tmp_path):
    secret, _ = write(tmp_path / "secret.h5")
    (tmp_path / "secret.bin").write_bytes(STACK.tobytes())
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        layout = h5py.VirtualLayout(STACK.shape, STACK.dtype)
        layout[:] = h5py.VirtualSource(str(secret), "raw", STACK.shape)
        file.create_virtual_dataset("raw", layout)
    with h5py.File(tmp_path / "external.h5", "w") as file:
        outside = [(str(tmp_path / "secret.bin"), 0, STACK.nbytes)]
        file.create_dataset("raw", STACK.shape, STACK.dtype, external=outside)
    for kind in ("virtual", "external"):
        with pytest.raises(InputError, match=f"is a {kind} dataset, whose values lie in other"):
            open_volume(tmp_path / f"{kind}.h5")


@pytest.mark.parametrize("share", [0, 0.02, 0.3, 0.6, 0.97])
@pytest.mark.parametrize("options", [{}, {"chunks": (3, 16, 16), "compression": "gzip"}])
def test_a_truncated_file_is_never_read(tmp_path, share, options):
    path, _ = write(tmp_path / "a.h5", **options)
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * share)])
    with pytest.raises(InputError, match=r"copy it again"):
        whole(open_volume(path))


@settings(max_examples=60)  # each writes a file
@given(data=st.data())
def test_a_damaged_file_ends_in_one_line(tmp_path_factory, data):
    path, _ = write(tmp_path_factory.mktemp("h") / "a.h5", STACK[:2, :9, :9], compression="gzip")
    raw = bytearray(path.read_bytes())
    start = data.draw(st.integers(0, len(raw) - 1))
    piece = data.draw(st.binary(min_size=1, max_size=8))
    raw[start : start + len(piece)] = piece
    path.write_bytes(raw)
    message = refusal(path)
    assert message is None or str(path) in message


def refusal(path):
    """The one line that a user gets, or None where the volume is read."""
    try:
        whole(open_volume(path))
    except MitosamError as error:
        return str(error)


def test_the_file_is_closed_once_nobody_reads_it(tmp_path):
    path, _ = write(tmp_path / "a.h5")
    volume = open_volume(path)
    volume.section(0)
    del volume
    gc.collect()
    open_files = Path("/proc/self/fd")
    if open_files.exists():
        targets = [str(link.readlink()) for link in open_files.iterdir() if link.is_symlink()]
        assert str(path) not in targets


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "PAUSES_S", (0.01, 0.02))
    monkeypatch.setattr(remote, "BLOCK_BYTES", 2**12)
    path, _ = write(tmp_path / "a.h5", chunks=(1, 20, 25), compression="gzip", name="b/raw")
    write(path, STACK // 3, name="b/labels")
    with WebServer(tmp_path).running() as running:
        yield running


def test_a_file_on_a_web_server_is_read_in_parts(server):
    server.fault = lambda path, number: 503 if number % 4 == 1 else None
    volume = open_volume(f"{server.address}/a.h5:/b/raw")
    num_before = len(server.requests)
    box = Box((0, 0, 0), (1, 20, 25))
    np.testing.assert_array_equal(volume.box(box), STACK[box.slices])
    assert len(server.requests) - num_before <= 4
    np.testing.assert_array_equal(whole(volume), STACK)


def test_a_server_lost_while_a_file_is_read_is_one_line(server):
    volume = open_volume(f"{server.address}/a.h5:/b/raw")
    server.stop()
    with pytest.raises(RemoteError, match="run the same command again"):
        whole(volume)


def test_a_server_without_ranges_or_without_the_file_is_one_line(server):
    server.knows_ranges = False
    with pytest.raises(InputError, match="sends files only as a whole; download"):
        open_volume(f"{server.address}/a.h5:/b/raw")
    with pytest.raises(InputNotFoundError, match=r"c\.h5 does not exist"):
        open_volume(f"{server.address}/c.h5")
