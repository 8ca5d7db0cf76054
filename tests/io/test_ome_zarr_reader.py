from __future__ import annotations

import json
import logging
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec

from mitosam.errors import InputError, MitosamError
from mitosam.geometry import Box
from mitosam.io import ome_zarr_reader
from mitosam.io.open import open_volume

STACK = np.random.default_rng(0).integers(0, 60, (7, 20, 33)).astype(np.uint16)


def whole(volume):
    return np.stack(list(volume.sections()))


def plain(folder, array=STACK, chunks=None, zarr_format=3, **options: object):
    chunks = chunks or tuple(min(n, 3 if d == 0 else 16) for d, n in enumerate(array.shape))
    stored = zarr.create_array(
        store=folder, shape=array.shape, dtype=array.dtype, chunks=chunks,
        zarr_format=zarr_format, **options,
    )  # fmt: skip
    stored[:] = array
    return folder


def image(folder, axes, array, *, scale=None, version="0.5", **more: object):
    """A group with one level, its metadata written by hand as the specification shows them."""
    zarr_format = 3 if version == "0.5" else 2
    group = zarr.create_group(store=folder, zarr_format=zarr_format)
    plain(folder / "s0", array, (1,) * (array.ndim - 2) + (16, 16), zarr_format)
    transformation = {"type": "scale", "scale": scale or [1.0] * array.ndim}
    dataset = {"path": "s0", "coordinateTransformations": [transformation]}
    multiscales = [{"axes": axes, "datasets": [dataset], **more}]
    versioned = {"multiscales": multiscales}
    group.attrs.put({"ome": {"version": version, **versioned}} if version == "0.5" else versioned)
    return folder


def axes(names, unit="nanometer"):
    kinds = {"t": "time", "c": "channel"}
    return [
        {"name": name, "type": kinds.get(name, "space")}
        | ({"unit": unit} if name in "zyx" and unit else {})
        for name in names
    ]


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("dtype", ["u1", "i2", "u4", "u8", "f4", "f8", "?", ">u2", ">f4"])
def test_a_plain_array_is_read_as_it_was_written(tmp_path, zarr_format, dtype):
    stack = STACK.astype(dtype)
    volume = open_volume(plain(tmp_path / "a.zarr", stack, zarr_format=zarr_format))
    assert volume.name == "a"
    assert volume.voxel_size_nm is None
    assert volume.section_names[2] == "page 3"
    assert volume.dtype == volume.section(0).dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(whole(volume), stack)


def test_a_plain_section_and_a_folder_of_any_name_are_read(tmp_path):
    volume = open_volume(plain(tmp_path / "section", STACK[0]))
    assert volume.shape_zyx == (1, 20, 33)
    assert volume.section_names == ("section",)
    np.testing.assert_array_equal(volume.section(0), STACK[0])


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_an_ome_zarr_image_is_read_with_its_voxel_size(tmp_path, version):
    folder = image(
        tmp_path / "a.ome.zarr", axes("tczyx", "micrometer"), STACK[None, None],
        scale=[1, 1, 0.03, 0.004, 0.005], version=version,
    )  # fmt: skip
    volume = open_volume(folder)
    assert volume.name == "a"
    assert volume.voxel_size_nm == pytest.approx((30, 4, 5))
    np.testing.assert_array_equal(whole(volume), STACK)


@pytest.mark.parametrize("names", ["zyx", "xyz", "yxz", "czyx", "xyzc"])
def test_axes_may_stand_in_any_order(tmp_path, names):
    stored = STACK.transpose(["zyx".index(name) for name in names if name != "c"])
    stored = np.expand_dims(stored, names.index("c")) if "c" in names else stored
    scale = [{"z": 30.0, "y": 8.0, "x": 4.0, "c": 1.0}[name] for name in names]
    volume = open_volume(image(tmp_path / "a.zarr", axes(names), stored, scale=scale))
    assert volume.voxel_size_nm == pytest.approx((30, 8, 4))
    np.testing.assert_array_equal(whole(volume), STACK)


@pytest.mark.parametrize(("names", "word"), [("czyx", "2 channels"), ("tzyx", "2 timepoints")])
def test_channels_and_timepoints_are_refused(tmp_path, names, word):
    folder = image(tmp_path / "a.zarr", axes(names), np.stack([STACK, STACK]))
    with pytest.raises(InputError, match=f"{word}.*alone"):
        open_volume(folder)


@pytest.mark.parametrize(
    ("unit", "expected"),
    [("nanometer", (4, 4, 4)), ("angstrom", (0.4, 0.4, 0.4)), ("micrometer", None), ("foot", None)],
)
def test_a_unit_that_is_unknown_or_implausible_leaves_no_voxel_size(
    tmp_path, caplog, unit, expected
):
    with caplog.at_level(logging.WARNING):
        volume = open_volume(image(tmp_path / "a.zarr", axes("zyx", unit), STACK, scale=[4.0] * 3))
    assert volume.voxel_size_nm == (None if expected is None else pytest.approx(expected))
    assert bool(caplog.text) == (expected is None)


def test_scales_of_level_and_image_multiply(tmp_path):
    both = {"coordinateTransformations": [{"type": "scale", "scale": [2.0, 0.5, 1.0]}]}
    folder = image(tmp_path / "a.zarr", axes("zyx"), STACK, scale=[10.0, 8.0, 4.0], **both)
    assert open_volume(folder).voxel_size_nm == pytest.approx((20, 4, 4))


def test_a_section_without_z_has_its_pixel_height_as_step(tmp_path):
    folder = image(tmp_path / "a.zarr", axes("yx"), STACK[0], scale=[8.0, 4.0])
    assert open_volume(folder).voxel_size_nm == pytest.approx((8, 8, 4))


def test_a_group_without_an_image_says_what_to_name(tmp_path):
    zarr.create_group(store=tmp_path / "a.zarr")
    with pytest.raises(InputError, match="without an image"):
        open_volume(tmp_path / "a.zarr")
    plain(tmp_path / "a.zarr" / "raw")
    with pytest.raises(InputError, match=r"name one of .*a\.zarr.raw"):
        open_volume(tmp_path / "a.zarr")
    np.testing.assert_array_equal(whole(open_volume(tmp_path / "a.zarr" / "raw")), STACK)


def test_a_zarr_without_metadata_and_four_unnamed_axes_are_refused(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    with pytest.raises(InputError, match=r"lacks all of zarr.json"):
        open_volume(tmp_path / "a.zarr")
    with pytest.raises(InputError, match="save it as z, y, x"):
        open_volume(plain(tmp_path / "b.zarr", STACK[None]))


def test_missing_chunks_hold_the_fill_value(tmp_path):
    folder = plain(tmp_path / "a.zarr", fill_value=9)
    (folder / "c" / "0" / "0" / "0").unlink()
    section = open_volume(folder).section(0)
    assert (section[:16, :16] == 9).all()
    np.testing.assert_array_equal(section[:, 16:], STACK[0][:, 16:])


CODECS = [
    (3, BloscCodec(cname="zstd")),
    (3, BloscCodec(cname="lz4")),
    (3, ZstdCodec()),
    (3, GzipCodec()),
    (3, None),
    (2, {"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1}),
    (2, {"id": "zlib", "level": 1}),
    (2, {"id": "lz4", "acceleration": 1}),
    (2, None),
]


@pytest.mark.parametrize(("zarr_format", "codec"), CODECS)
@pytest.mark.parametrize("share", [0, 0.3, 0.6, 0.99])
def test_a_truncated_chunk_is_never_read(tmp_path, zarr_format, codec, share):
    folder = plain(tmp_path / "a.zarr", zarr_format=zarr_format, compressors=codec)
    chunk = folder / "c" / "1" / "0" / "1" if zarr_format == 3 else folder / "1.0.1"
    raw = chunk.read_bytes()
    chunk.write_bytes(raw[: int(len(raw) * share)])
    volume = open_volume(folder)
    np.testing.assert_array_equal(volume.section(2), STACK[2])
    with pytest.raises(InputError, match=r"damaged near section 4 .*copy it again"):
        volume.section(3)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_nothing_is_unpickled(tmp_path, zarr_format):
    folder = plain(tmp_path / "a.zarr", zarr_format=zarr_format, compressors=None)
    trap = pickle.dumps(STACK)
    if zarr_format == 2:
        metadata = json.loads((folder / ".zarray").read_text())
        (folder / ".zarray").write_text(json.dumps(metadata | {"filters": [{"id": "pickle"}]}))
        (folder / "0.0.0").write_bytes(trap)
    else:
        metadata = json.loads((folder / "zarr.json").read_text())
        metadata["codecs"].append({"name": "numcodecs.pickle", "configuration": {}})
        (folder / "zarr.json").write_text(json.dumps(metadata))
    with pytest.raises(InputError, match="stored with pickle, which is not read here"):
        open_volume(folder)


@pytest.mark.parametrize(
    "change",
    [{"dtype": "|O"}, {"dtype": [["a", "<u2"]]}, {"dtype": "<c8"}, {"dtype": "<M8[s]"}],
)
def test_what_are_no_numbers_is_refused(tmp_path, change):
    folder = plain(tmp_path / "a.zarr", zarr_format=2)
    metadata = json.loads((folder / ".zarray").read_text())
    (folder / ".zarray").write_text(json.dumps(metadata | change | {"fill_value": None}))
    with pytest.raises(InputError):
        open_volume(folder)


@pytest.mark.parametrize(
    "path",
    ["../secret", "/secret", "a/../../secret", "..\\\\secret", "C:\\\\secret", "s0::file:///secret",
     "http://host/secret"],
)  # fmt: skip
def test_pixels_outside_of_the_folder_are_not_read(tmp_path, path):
    plain(tmp_path / "secret")
    folder = image(tmp_path / "a.zarr", axes("zyx"), STACK)
    text = (folder / "zarr.json").read_text()
    (folder / "zarr.json").write_text(text.replace('"s0"', f'"{path}"'))
    with pytest.raises(InputError, match="outside of it"):
        open_volume(folder)


@pytest.mark.parametrize("linked", ["s0", "s0/zarr.json", "s0/c/1/0/1", "s0/c/1"])
def test_links_that_lead_out_of_the_folder_are_refused(tmp_path, linked):
    folder = image(tmp_path / "a.zarr", axes("zyx"), STACK)
    (folder / linked).rename(tmp_path / "elsewhere")
    (folder / linked).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"is a link that leads out of .*a\.zarr; copy"):
        whole(open_volume(folder))


def test_links_within_the_folder_and_to_it_are_followed(tmp_path):
    folder = image(tmp_path / "a.zarr", axes("zyx"), STACK)
    (folder / "s0").rename(folder / "finest")
    (folder / "s0").symlink_to(folder / "finest")
    (tmp_path / "link.zarr").symlink_to(folder)
    volume = open_volume(tmp_path / "link.zarr")
    np.testing.assert_array_equal(whole(volume), STACK)


@settings(max_examples=40)  # each writes files
@given(data=st.data())
def test_damaged_metadata_end_in_one_line(tmp_path_factory, data):
    folder = image(tmp_path_factory.mktemp("z") / "a.zarr", axes("zyx"), STACK[:, :4, :5])
    path = data.draw(st.sampled_from([folder / "zarr.json", folder / "s0" / "zarr.json"]))
    raw = bytearray(path.read_bytes())
    start = data.draw(st.integers(0, len(raw) - 1))
    length = data.draw(st.integers(0, 30))
    raw[start : start + length] = data.draw(st.binary(max_size=8))
    path.write_bytes(raw)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        message = refusal(folder)
    assert message is None or str(folder) in message


def refusal(folder):
    """The one line that a user gets, or None where the section is read."""
    try:
        open_volume(folder).section(0)
    except MitosamError as error:
        return str(error)


@pytest.mark.parametrize("cache_bytes", [0, 2000, 2**30])
def test_the_cache_changes_speed_only(tmp_path, caplog, monkeypatch, cache_bytes):
    monkeypatch.setattr(ome_zarr_reader, "SLAB_CACHE_BYTES", cache_bytes)
    with caplog.at_level(logging.WARNING):
        volume = open_volume(plain(tmp_path / "a.zarr", chunks=(3, 8, 16)))
    assert ("decoded for each section anew" in caplog.text) == (cache_bytes < 2**30)
    for z in (0, 2, 6, 1, 5, 3, 4, 0):
        np.testing.assert_array_equal(volume.section(z), STACK[z])


def test_each_chunk_is_read_once_when_sections_come_in_order(tmp_path):
    folder = plain(tmp_path / "a.zarr")
    volume = open_volume(folder)
    volume.section(0)
    for chunk in (folder / "c" / "0").rglob("*"):
        if chunk.is_file():
            chunk.unlink()  # what was decoded needs its file no longer
    np.testing.assert_array_equal(volume.section(2), STACK[2])


def test_the_same_pixels_have_the_same_hash_in_tiff_and_zarr(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", STACK, photometric="minisblack")
    expected = open_volume(tmp_path / "a.tif").sha256()
    assert open_volume(plain(tmp_path / "a.zarr")).sha256() == expected
    assert open_volume(plain(tmp_path / "b.zarr", shards=(6, 32, 48))).sha256() == expected


@pytest.mark.parametrize("module", ["mitosam", "mitosam.cli", "mitosam.io.open"])
def test_what_reads_single_formats_is_imported_only_where_it_is_used(module):
    libraries = {"zarr", "fsspec", "aiohttp", "h5py", "mrcfile", "tifffile"}
    code = f"import sys, {module}; print(sorted({libraries} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_a_box_holds_what_the_whole_volume_holds_there(tmp_path_factory, data):
    orders = {"zyx": (0, 1, 2), "xzy": (2, 0, 1)}
    names = data.draw(st.sampled_from(sorted(orders)))
    folder = tmp_path_factory.mktemp("boxes") / "a.zarr"
    volume = open_volume(image(folder, axes(names), STACK.transpose(orders[names])))
    start = tuple(data.draw(st.integers(0, n - 1)) for n in STACK.shape)
    stop = tuple(data.draw(st.integers(a + 1, n)) for a, n in zip(start, STACK.shape, strict=True))
    box = Box(start, stop)
    np.testing.assert_array_equal(volume.box(box), STACK[box.slices])
