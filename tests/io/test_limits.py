"""Bombs are refused by limits that can be raised; what real data sets ask for is not."""

from __future__ import annotations

import gzip
import json
import struct
import zlib

import fsspec
import h5py
import mrcfile
import numpy as np
import pytest
import tifffile
import zarr

from mitosam.errors import InputError, SettingsError
from mitosam.geometry import Box
from mitosam.io import limits
from mitosam.io.open import open_volume
from mitosam.io.place import Url
from mitosam.io.prompt_files import read_prompts
from mitosam.io.tables import read_csv
from mitosam.io.tiff_limits import embedded_shapes
from mitosam.io.zarr_limits import check_unpacked

CHUNK = 4096


@pytest.mark.parametrize("limit", limits.LIMITS, ids=lambda limit: limit.variable)
def test_each_limit_is_raised_by_its_variable(limit, monkeypatch):
    above = limit.most * 1.5
    with pytest.raises(InputError, match=limit.variable):
        limit.check("a.tif", above)
    monkeypatch.setenv(limit.variable, str(limit.default * 2))
    limit.check("a.tif", above)
    limit.check("a.tif", 0)


@pytest.mark.parametrize("text", ["0", "-1", "many", "nan"])
def test_a_limit_is_a_number_above_0(text, monkeypatch):
    monkeypatch.setenv(limits.TEXT.variable, text)
    with pytest.raises(SettingsError, match="MITOSAM_MAX_TEXT_MB must be a number above 0"):
        limits.TEXT.check("a.json", 1)


def test_an_infinite_limit_lets_everything_through(tmp_path, monkeypatch):
    for limit in limits.LIMITS:
        monkeypatch.setenv(limit.variable, "inf")
        limit.check("a", 1e18)
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((3, 8, 8), np.uint8), photometric="minisblack")
    assert open_volume(tmp_path / "a.tif").section(2).shape == (8, 8)
    array = zarr.create_array("memory://infinite.zarr", shape=(2, 4, 4), dtype="u1")
    array[:] = 7
    assert open_volume(Url("memory://infinite.zarr")).section(1).min() == 7


def png_of(width, height, data):
    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def test_a_png_that_its_bytes_cannot_hold_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(png_of(60_000, 60_000, zlib.compress(bytes(1000))))
    with pytest.raises(InputError, match=r"which its \d+ bytes cannot"):
        open_volume(tmp_path / "a.png").section(0)


def test_a_png_bomb_that_is_whole_is_refused_by_a_limit():
    with pytest.raises(InputError, match="MITOSAM_MAX_EXPANSION"):
        limits.check_image("a.png", 4 * 2**30, 5 * 2**20, 1100)


def test_sections_of_real_data_sets_are_let_through():
    limits.check_image("tile of a large TIFF", 100_000 * 100_000, 3 * 10**9, 1032)
    limits.check_image("an empty mask of 30,000 px", 30_000 * 30_000, 30_000 * 30, 1032)
    limits.CHUNK.check("512 x 512 x 512 voxels of uint64", 8 * 512**3)


def test_a_tiff_says_how_large_it_is_within_what_it_can_hold(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((64, 64), np.uint8), compression="deflate", rowsperstrip=64)
    with tifffile.TiffFile(path, mode="r+b") as file:
        for name in ("ImageWidth", "ImageLength", "RowsPerStrip"):
            file.pages.first.tags[name].overwrite(30_000)
    with pytest.raises(InputError, match="bytes cannot"):
        open_volume(path).section(0)


def test_sections_of_an_ome_tiff_in_other_folders_are_refused(tmp_path):
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, np.zeros((2, 8, 8), np.uint8), ome=True, photometric="minisblack")
    text = tifffile.tiffcomment(path).replace(
        "</TiffData>", '<UUID FileName="../../secret.tif">urn:uuid:1</UUID></TiffData>'
    )
    if "UUID FileName" not in text:
        text = text.replace(
            "/></Pixels>",
            '><UUID FileName="../../secret.tif">urn:uuid:1</UUID></TiffData></Pixels>',
        )
    tifffile.tiffcomment(path, text)
    with pytest.raises(InputError, match="outside of its folder"):
        open_volume(path)


def test_a_description_that_counts_too_many_sections_is_refused(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((2, 8, 8), np.uint8), imagej=True)
    text = tifffile.tiffcomment(path)
    tifffile.tiffcomment(path, text.replace("images=2", "images=2000000000"))
    with pytest.raises(InputError, match="MITOSAM_MAX_PAGES"):
        open_volume(path)


def test_the_sizes_of_images_within_a_tiff_are_read():
    jpeg = bytes.fromhex("ffd8ffc0001108ffffffff0301")
    assert list(embedded_shapes(jpeg)) == [(65535, 65535)]


def test_a_zarr_with_one_gigantic_chunk_is_refused(tmp_path, monkeypatch):
    array = zarr.create_array(
        tmp_path / "a.zarr", shape=(64, 64, 64), chunks=(64, 64, 64), dtype="u1"
    )
    array[:] = 1
    assert open_volume(tmp_path / "a.zarr").section(0).max() == 1
    monkeypatch.setenv("MITOSAM_MAX_CHUNK_GB", "0.0001")
    with pytest.raises(InputError, match="MITOSAM_MAX_CHUNK_GB"):
        open_volume(tmp_path / "a.zarr")


def packed(name, size):
    """So many zeros, by a compressor."""
    import numcodecs

    codecs = {
        "zstd": numcodecs.Zstd(), "blosc": numcodecs.Blosc(), "lz4": numcodecs.LZ4(),
        "gzip": numcodecs.GZip(), "zlib": numcodecs.Zlib(), "bz2": numcodecs.BZ2(),
        "lzma": numcodecs.LZMA(),
    }  # fmt: skip
    return bytes(codecs[name].encode(np.zeros(size, np.uint8)))


@pytest.mark.parametrize("name", ["zstd", "blosc", "lz4", "gzip", "zlib", "bz2", "lzma"])
def test_a_chunk_may_not_unpack_to_more_than_a_chunk(name):
    check_unpacked("c/0", name, packed(name, CHUNK), CHUNK)
    check_unpacked("c/0", name, packed(name, 2**22), 2**22)
    with pytest.raises(EOFError, match="c/0 unpacks to more than a chunk"):
        check_unpacked("c/0", name, packed(name, 2**26), CHUNK)


def test_a_zstd_frame_that_hides_its_size_is_measured_by_its_blocks():
    # no size in the frame; blocks that repeat one byte 2**17 times, 300 of them, 4 bytes each
    block = (2**17 << 3 | 1 << 1).to_bytes(3, "little") + b"\0"
    last = (2**17 << 3 | 1 << 1 | 1).to_bytes(3, "little") + b"\0"
    frame = b"\x28\xb5\x2f\xfd\x00\x58" + block * 299 + last
    with pytest.raises(EOFError):
        check_unpacked("c/0", "zstd", frame, CHUNK)
    check_unpacked("c/0", "zstd", frame, 300 * 2**17)


@pytest.mark.parametrize("is_sharded", [False, True])
def test_a_bomb_in_the_place_of_a_chunk_is_refused(tmp_path, is_sharded):
    how = {"shards": (4, 32, 32)} if is_sharded else {}
    codec = zarr.codecs.GzipCodec(level=1)
    array = zarr.create_array(
        tmp_path / "a.zarr",
        shape=(4, 32, 32),
        chunks=(4, 16, 16),
        dtype="u1",
        compressors=codec,
        **how,
    )
    array[:] = 1
    path = next(p for p in (tmp_path / "a.zarr" / "c").rglob("*") if p.is_file())
    bomb = gzip.compress(bytes(2**26), 9)
    if is_sharded:
        index = np.frombuffer(path.read_bytes()[-68:-4], "<u8").copy()
        index[0::2], index[1::2] = 0, len(bomb)
        import google_crc32c

        raw = index.astype("<u8").tobytes()
        bomb += raw + google_crc32c.value(raw).to_bytes(4, "little")
    path.write_bytes(bomb)
    with pytest.raises(InputError, match="unpacks to more than a chunk"):
        open_volume(tmp_path / "a.zarr").box(Box((0, 0, 0), (1, 8, 8)))


def test_chunks_that_are_compressed_twice_are_refused(tmp_path):
    codecs = [zarr.codecs.GzipCodec(), zarr.codecs.ZstdCodec()]
    zarr.create_array(
        tmp_path / "a.zarr", shape=(8, 8), chunks=(8, 8), dtype="u1", compressors=codecs
    )
    with pytest.raises(InputError, match="bytes, gzip, zstd, which is not read here"):
        open_volume(tmp_path / "a.zarr")


@pytest.mark.parametrize("place", ["../other", "/etc", "a/../../b", "..\\b", "C:b"])
def test_levels_outside_of_their_image_are_refused(tmp_path, place):
    group = tmp_path / "a.zarr"
    group.mkdir()
    image = {"axes": ["y", "x"], "datasets": [{"path": place}]}
    ome = {"ome": {"version": "0.5", "multiscales": [image]}}
    text = json.dumps({"zarr_format": 3, "node_type": "group", "attributes": ome})
    (group / "zarr.json").write_text(text)
    with pytest.raises(InputError, match="outside of it"):
        open_volume(group)


def test_metadata_beyond_some_megabytes_is_refused(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "zarr.json").write_text("[" * (9 * 2**20))
    with pytest.raises(InputError, match="MITOSAM_MAX_TEXT_MB"):
        open_volume(tmp_path / "a.zarr")


@pytest.mark.parametrize("name", ["zarr.json", ".zarray"])
def test_metadata_at_a_url_beyond_some_megabytes_are_refused(name):
    files = fsspec.filesystem("memory")
    files.pipe(f"/large_{name}/a.zarr/{name}", b"[" * (9 * 2**20))
    with pytest.raises(InputError, match="MITOSAM_MAX_TEXT_MB"):
        open_volume(Url(f"memory://large_{name}/a.zarr"))


def test_a_large_chunk_at_a_url_is_refused():
    store = zarr.storage.FsspecStore.from_url("memory://large_chunk/a.zarr")
    zarr.create_array(store, shape=(10, 2**16, 2**16), chunks=(1, 2**16, 2**16), dtype="u1")
    with pytest.raises(InputError, match="MITOSAM_MAX_CHUNK_GB"):
        open_volume(Url("memory://large_chunk/a.zarr"))


@pytest.mark.parametrize(
    ("shape", "chunks", "variable"),
    [
        ((2, 2**17, 2**18), (1, 2**8, 2**8), "MITOSAM_MAX_SECTION_GB"),
        ((2, 2**16, 2**16), (2, 2**15, 2**15), "MITOSAM_MAX_CHUNK_GB"),
        ((2**20, 8, 8), (1, 8, 8), "MITOSAM_MAX_PAGES"),
    ],
)
def test_hdf5_that_declares_too_much_is_refused(tmp_path, shape, chunks, variable):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("raw", shape=shape, dtype="u2", chunks=chunks, compression="gzip")
    with pytest.raises(InputError, match=variable):
        open_volume(tmp_path / "a.h5").section(0)


@pytest.mark.parametrize(
    ("shape", "variable"), [((2**20, 1, 1), "MAX_PAGES"), ((1, 8, 8), "MAX_SECTION_GB")]
)
def test_an_mrc_beyond_the_limits_is_refused(tmp_path, monkeypatch, shape, variable):
    monkeypatch.setenv("MITOSAM_MAX_SECTION_GB", "1e-8")
    with mrcfile.new(tmp_path / "a.mrc", np.zeros(shape, np.int16)):
        pass
    with pytest.raises(InputError, match=variable):
        open_volume(tmp_path / "a.mrc").section(0)


@pytest.mark.parametrize(
    "text", ["section,x,y\n0," + "1" * 200_000 + ",2\n", 'section,x\n0,"' + "a\n" * 99_999]
)
def test_endless_lines_are_no_table(tmp_path, text):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(InputError):
        read_prompts(tmp_path / "a.csv")
    with pytest.raises(InputError, match="damaged or another table"):
        read_csv(tmp_path / "a.csv", lambda row: int(row["x"]))


def test_nested_lists_are_no_prompts(tmp_path):
    (tmp_path / "a.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match="no list of prompts"):
        read_prompts(tmp_path / "a.json")


def test_jpegs_and_pngs_of_usual_sizes_are_read(tmp_path):
    import imageio.v3 as iio

    image = np.zeros((600, 700), np.uint8)
    for name in ("a.png", "a.jpg"):
        iio.imwrite(tmp_path / name, image)
        assert not open_volume(tmp_path / name).section(0).any()
