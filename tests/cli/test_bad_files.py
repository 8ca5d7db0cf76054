"""Bad images and masks end in one line and touch nothing."""

from __future__ import annotations

import h5py
import imageio.v3 as iio
import numpy as np
import pytest
import tifffile

from tests.cli.bad_input import Cases, assert_one_line_and_nothing_touched

CASES = Cases()
case = CASES.case


@case("none.tif does not exist; check the spelling of the path")
def missing_images(place):
    return place.finetune(images=place.folder / "none.tif")


@case("none.tif does not exist; check the spelling of the path")
def missing_masks(place):
    return place.finetune(masks=place.folder / "none.tif")


@case("is damaged or cut short|cut short|copy it again")
def truncated_tiff(place):
    path = place.folder / "cut.tif"
    content = place.sources.images.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return place.finetune(images=path)


@case("is empty \\(0 bytes\\); copy it again")
def empty_file(place):
    (place.folder / "empty.tif").touch()
    return place.finetune(images=place.folder / "empty.tif")


@case("is not an image by its name; give a TIFF stack")
def not_an_image_by_name(place):
    (place.folder / "notes.docx").write_text("meeting")
    return place.finetune(images=place.folder / "notes.docx")


@case("notes.tif .*")
def not_an_image_inside(place):
    (place.folder / "notes.tif").write_text("meeting, but called an image; " * 9)
    return place.finetune(images=place.folder / "notes.tif")


@case("holds no image; give a folder of")
def folder_without_images(place):
    (place.folder / "nothing").mkdir()
    return place.finetune(images=place.folder / "nothing")


@case("images and masks must be equally large.*192 x 192 px.*192 x 100 px")
def masks_of_another_shape(place):
    return place.finetune(masks=place.write("small.tif", place.masks()[:, :100]))


@case("each image needs one mask, got 4 images .* and 3 masks")
def masks_of_another_count(place):
    return place.finetune(masks=place.write("few.tif", place.masks()[:3]))


@case("have no partner by name: .*; rename them, or move them elsewhere")
def names_that_match_in_part(place):
    for kind, numbers, stack in (("i", (1, 2, 3), place.images()), ("m", (1, 2, 4), place.masks())):
        (place.folder / kind).mkdir()
        for number, section in zip(numbers, stack, strict=False):
            iio.imwrite(place.folder / kind / f"{kind}_{number}.png", section.astype(np.uint8))
    return place.finetune(images=place.folder / "i", masks=place.folder / "m")


@case("has 1 pixels that are NaN or infinite; replace them")
def nan_image(place):
    images = place.images().astype(np.float32)
    images[2, 5, 5] = np.nan
    return place.finetune(images=place.write("nan.tif", images))


@case("is constant: every pixel is 7; give the EM images")
def constant_image(place):
    return place.finetune(images=place.write("flat.tif", np.full_like(place.images(), 7)))


@case("no mitochondria in any of 4 masks.*; give masks that mark mitochondria by another value")
def empty_masks_everywhere(place):
    return place.finetune(masks=place.write("none.tif", np.zeros_like(place.masks())))


@case("does not look like masks.*; give masks as PNG or TIFF")
def masks_that_look_like_images(place):
    return place.finetune(masks=place.sources.images)


@case("holds values that are not whole numbers.*; give masks with 0 for background")
def masks_that_are_probabilities(place):
    return place.finetune(masks=place.write("p.tif", place.masks().astype(np.float32) / 3))


@case("channels|axes")
def several_channels(place):
    path = place.folder / "colours.tif"
    stack = np.repeat(place.images()[:, None], 2, axis=1)
    tifffile.imwrite(path, stack, ome=True, metadata={"axes": "ZCYX"}, photometric="minisblack")
    return place.finetune(images=path)


@case("holds 2 datasets; name one of .*two.h5:/a, .*two.h5:/b")
def several_datasets(place):
    with h5py.File(place.folder / "two.h5", "w") as file:
        file["a"], file["b"] = place.images(), place.masks()
    return place.finetune(images=place.folder / "two.h5")


@case("two.h5 has no dataset /c; name one of .*two.h5:/a")
def missing_dataset(place):
    with h5py.File(place.folder / "two.h5", "w") as file:
        file["a"] = place.images()
    return place.finetune(images=f"{place.folder / 'two.h5'}:/c")


@case("is a link to other.h5:/a; name that itself")
def link_out_of_a_file(place):
    with h5py.File(place.folder / "linked.h5", "w") as file:
        file["a"] = h5py.ExternalLink("other.h5", "/a")
    return place.finetune(images=f"{place.folder / 'linked.h5'}:/a")


@case("cut.mrc is no MRC file, or cut short; copy it again")
def truncated_mrc(place):
    (place.folder / "cut.mrc").write_bytes(bytes(500))
    return place.finetune(images=place.folder / "cut.mrc")


@case("packed and cannot be read in parts; unpack it first")
def packed_file(place):
    (place.folder / "a.mrc.gz").write_bytes(bytes(500))
    return place.finetune(images=place.folder / "a.mrc.gz")


@case("carrier://pigeon/a.zarr cannot be opened: protocol not known: carrier")
def unknown_protocol(place):
    return place.finetune(images="carrier://ada:secret@pigeon/a.zarr?sig=1")


@case("memory://nowhere/a.zarr does not exist, or is no zarr: it lacks all of zarr.json")
def nothing_at_a_url(place):
    return place.finetune(masks="memory://nowhere/a.zarr")


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_one_line_and_touches_nothing(name, place, mitosam):
    assert_one_line_and_nothing_touched(CASES[name], place, mitosam)
