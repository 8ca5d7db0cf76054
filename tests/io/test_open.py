from __future__ import annotations

import gc
import logging
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from PIL import Image

from mitosam.errors import InputError, InputNotFoundError
from mitosam.geometry import Box
from mitosam.io.open import open_volume

DTYPES = [np.uint8, np.uint16, np.int16, np.uint32, np.float32, np.float64, np.bool_]


def some_stack(shape=(5, 12, 17), dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, 250, shape).astype(dtype)


def whole(volume):
    return np.stack(list(volume.sections()))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"byteorder": ">"}])
def test_a_tiff_stack_is_read_as_it_was_written(tmp_path, dtype, options):
    stack = some_stack(dtype=dtype)
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack", **options)
    volume = open_volume(tmp_path / "a.tif")
    assert volume.shape_zyx == stack.shape
    assert volume.name == "a"
    assert volume.section_names[2] == "page 3"
    assert volume.section(0).dtype == volume.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(whole(volume), stack)


def test_one_page_that_stands_for_a_whole_stack_is_read(tmp_path):
    stack = some_stack(dtype=np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack", truncate=True)
    np.testing.assert_array_equal(whole(open_volume(tmp_path / "a.tif")), stack)


def test_a_single_section_has_its_file_s_name(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", some_stack()[0])
    volume = open_volume(tmp_path / "a.tif")
    assert volume.shape_zyx == (1, 12, 17)
    assert volume.section_names == ("a.tif",)


@pytest.mark.parametrize(
    ("axes", "shape"), [("CZYX", (1, 5, 12, 17)), ("TZCYX", (1, 5, 1, 12, 17))]
)
def test_ome_axes_of_length_one_fall_away(tmp_path, axes, shape):
    stack = some_stack()
    tifffile.imwrite(tmp_path / "a.ome.tif", stack.reshape(shape), metadata={"axes": axes})
    volume = open_volume(tmp_path / "a.ome.tif")
    assert volume.name == "a"
    np.testing.assert_array_equal(whole(volume), stack)


@pytest.mark.parametrize(("axes", "word"), [("CYX", "5 channels"), ("TYX", "5 timepoints")])
def test_channels_and_timepoints_are_refused_with_a_way_out(tmp_path, axes, word):
    tifffile.imwrite(tmp_path / "a.ome.tif", some_stack(), metadata={"axes": axes})
    with pytest.raises(InputError, match=f"{word}.*Fiji"):
        open_volume(tmp_path / "a.ome.tif")


def test_more_than_one_long_axis_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", some_stack((2, 3, 12, 17)), photometric="minisblack")
    with pytest.raises(InputError, match="one z stack a file"):
        open_volume(tmp_path / "a.tif")


@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.8, 0.97])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"imagej": True}, {"ome": True}])
def test_a_truncated_tiff_is_never_read_as_a_shorter_one(tmp_path, share, options):
    stack = some_stack((5, 60, 80), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", stack, metadata={"axes": "ZYX"}, **options)
    raw = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(raw[: int(len(raw) * share)])
    with pytest.raises(InputError, match=r"cut short|not a whole TIFF"):
        whole(open_volume(tmp_path / "a.tif"))


@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.jpg"])
@pytest.mark.parametrize(
    "content", [b"", b"hello, this is no image", b"\x89PNG\r\n\x1a\n", b"II*\0"]
)
def test_files_that_are_no_images_are_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=r"copy it again"):
        open_volume(tmp_path / name)


def test_a_truncated_png_is_refused(tmp_path):
    iio.imwrite(tmp_path / "a.png", some_stack((100, 100)))
    raw = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(raw[: len(raw) // 2])
    with pytest.raises(InputError, match="not a whole PNG"):
        open_volume(tmp_path / "a.png").section(0)


def test_a_missing_path_and_an_unknown_kind_of_file_are_refused(tmp_path):
    with pytest.raises(InputNotFoundError, match="does not exist"):
        open_volume(tmp_path / "nowhere.tif")
    (tmp_path / "a.npy").write_bytes(b"x")
    with pytest.raises(InputError, match=r"give a TIFF stack"):
        open_volume(tmp_path / "a.npy")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_png_keeps_its_depth(tmp_path, dtype):
    image = (some_stack((12, 17)).astype(dtype)) * (1 if dtype == np.uint8 else 250)
    iio.imwrite(tmp_path / "a.png", image)
    volume = open_volume(tmp_path / "a.png")
    assert volume.dtype == dtype
    np.testing.assert_array_equal(volume.section(0), image)


def test_a_palette_png_gives_its_indices(tmp_path):
    indices = some_stack((12, 17)) % 3
    image = Image.fromarray(indices, mode=None).convert("P")
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(open_volume(tmp_path / "a.png").section(0), indices)


def test_a_one_bit_png_gives_truth_values(tmp_path):
    mask = some_stack((12, 17)) > 100
    Image.fromarray(mask).save(tmp_path / "a.png")
    volume = open_volume(tmp_path / "a.png")
    assert volume.dtype == np.bool_
    np.testing.assert_array_equal(volume.section(0), mask)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("num_channels", [3, 4])
def test_grey_saved_as_colour_keeps_its_values_and_says_so(tmp_path, caplog, suffix, num_channels):
    grey = some_stack((12, 17))
    colour = np.stack([grey, grey, grey, np.full_like(grey, 77)], axis=-1)[..., :num_channels]
    iio.imwrite(tmp_path / f"a.{suffix}", colour)
    with caplog.at_level(logging.WARNING):
        volume = open_volume(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(volume.section(0), grey)
    assert sum("turned to grey" in record.message for record in caplog.records) == 1


def test_colour_becomes_luminance(tmp_path):
    colour = np.zeros((4, 4, 3), np.uint8)
    colour[..., 1] = 200
    iio.imwrite(tmp_path / "a.png", colour)
    assert (open_volume(tmp_path / "a.png").section(0) == round(0.7152 * 200)).all()


def test_three_sections_that_pose_as_colours_are_refused(tmp_path):
    planes = some_stack((3, 12, 17))
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate")
    with pytest.raises(InputError, match=r"3 planes as colours; if they are sections"):
        open_volume(tmp_path / "a.tif")


def test_a_folder_is_read_in_natural_order_and_says_what_it_skips(tmp_path, caplog):
    for number in (10, 2, 1):
        iio.imwrite(tmp_path / f"s{number}.png", np.full((4, 5), number, np.uint8))
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / ".hidden.png").write_text("x")
    with caplog.at_level(logging.WARNING):
        volume = open_volume(tmp_path)
    assert volume.section_names == ("s1.png", "s2.png", "s10.png")
    assert [int(section[0, 0]) for section in volume.sections()] == [1, 2, 10]
    assert "skipped 1 that are no images: notes.txt" in caplog.text


def test_a_folder_of_tiff_sections_is_read(tmp_path):
    stack = some_stack(dtype=np.uint16)
    for z, section in enumerate(stack):
        tifffile.imwrite(tmp_path / f"{z}.tif", section)
    np.testing.assert_array_equal(whole(open_volume(tmp_path)), stack)


def test_folders_without_images_or_with_unlike_ones_are_refused(tmp_path):
    with pytest.raises(InputError, match="holds no image"):
        open_volume(tmp_path)
    iio.imwrite(tmp_path / "1.png", np.zeros((4, 5), np.uint8))
    iio.imwrite(tmp_path / "2.png", np.zeros((4, 6), np.uint8))
    with pytest.raises(InputError, match=r"2.png is 6 x 4 px of uint8 and 1.png is 5 x 4 px"):
        open_volume(tmp_path)
    iio.imwrite(tmp_path / "2.png", np.zeros((4, 5), np.uint16))
    with pytest.raises(InputError, match="5 x 4 px of uint16"):
        open_volume(tmp_path)


def test_a_stack_in_a_folder_of_sections_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "1.tif", some_stack(), photometric="minisblack")
    with pytest.raises(InputError, match="holds 5 sections itself"):
        open_volume(tmp_path)


def test_sections_one_pixel_high_are_read(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", some_stack((3, 1, 9)), photometric="minisblack")
    assert open_volume(tmp_path / "a.tif").shape_zyx == (3, 1, 9)


def test_complex_values_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 5), np.complex64))
    with pytest.raises(InputError, match="complex64"):
        open_volume(tmp_path / "a.tif")


def test_files_are_closed_once_nobody_reads_them(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", some_stack())
    volume = open_volume(tmp_path / "a.tif")
    volume.section(0)
    del volume
    gc.collect()  # an unclosed file would warn, and warnings are errors
    open_files = Path("/proc/self/fd")
    if open_files.exists():
        targets = [str(link.readlink()) for link in open_files.iterdir() if link.is_symlink()]
        assert str(tmp_path / "a.tif") not in targets


def test_the_content_hash_ignores_the_file_format_and_sees_every_pixel(tmp_path):
    stack = some_stack()
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack")
    (tmp_path / "b").mkdir()
    for z, section in enumerate(stack):
        iio.imwrite(tmp_path / "b" / f"{z}.png", section)
    expected = open_volume(tmp_path / "a.tif").sha256()
    assert open_volume(tmp_path / "b").sha256() == expected
    stack[-1, -1, -1] ^= 1
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack")
    assert open_volume(tmp_path / "a.tif").sha256() != expected


def test_a_file_that_changes_while_in_use_is_noticed(tmp_path):
    iio.imwrite(tmp_path / "a.png", some_stack((4, 5)))
    volume = open_volume(tmp_path / "a.png")
    iio.imwrite(tmp_path / "a.png", some_stack((4, 6)))
    with pytest.raises(InputError, match="changed while it was in use"):
        volume.section(0)


def test_a_box_of_a_format_without_boxes_is_cut_from_its_sections(tmp_path):
    stack = some_stack()
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack")
    box = Box((1, 2, 3), (4, 12, 5))
    np.testing.assert_array_equal(open_volume(tmp_path / "a.tif").box(box), stack[box.slices])
