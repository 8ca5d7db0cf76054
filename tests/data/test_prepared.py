from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from mitosam.data.intensity import Normalisation
from mitosam.data.phantom import make_phantom
from mitosam.data.prepared import PreparedVolume, prepare_halves, prepare_volume
from mitosam.errors import DamagedFileError, InputError, InputNotFoundError
from mitosam.io.volume import volume_of_array

PHANTOM = make_phantom((4, 96, 128), 1)
IMAGES = volume_of_array("em", PHANTOM.images, voxel_size_nm=(5, 5, 5))
MASKS = volume_of_array("masks", PHANTOM.labels)


def test_a_prepared_volume_holds_the_images_and_ids(tmp_path):
    volume = prepare_volume(IMAGES, MASKS, tmp_path / "p")
    np.testing.assert_array_equal(volume.images, PHANTOM.images)
    np.testing.assert_array_equal(volume.labels, PHANTOM.labels)
    assert isinstance(volume.images, np.memmap)
    assert not volume.images.flags.writeable
    assert volume.name == "em"
    assert volume.voxel_size_nm == (5, 5, 5)
    assert volume.images_sha256 == IMAGES.sha256()
    assert volume.masks_sha256 == MASKS.sha256()
    assert volume.info.foreground_px == np.count_nonzero(PHANTOM.labels)
    assert volume.info.pairing.startswith("paired 4 sections by order")


def test_opened_again_it_is_the_same(tmp_path):
    made = prepare_volume(IMAGES, MASKS, tmp_path / "p")
    opened = PreparedVolume.open(tmp_path / "p")
    assert opened.info == made.info
    np.testing.assert_array_equal(opened.labels, made.labels)


def test_sixteen_bit_images_are_normalised_and_the_normalisation_saved(tmp_path):
    wide = volume_of_array("em", PHANTOM.images.astype(np.uint16) * 200)
    volume = prepare_volume(wide, MASKS, tmp_path / "p")
    assert volume.images.dtype == np.uint8
    assert volume.normalisation.kind == "percentile"
    np.testing.assert_array_equal(volume.images[1], volume.normalisation.apply(wide.section(1)))


def test_a_given_normalisation_is_used(tmp_path):
    given = Normalisation(kind="percentile", low=0, high=510)
    volume = prepare_volume(IMAGES, MASKS, tmp_path / "p", normalisation=given)
    assert volume.normalisation == given
    assert volume.images.max() <= 128


def test_masks_come_in_the_order_of_their_images(tmp_path):
    names = ("a1.png", "a2.png", "a3.png", "a4.png")
    images = dataclasses.replace(IMAGES, section_names=names, named=True)
    masks = volume_of_array("masks", PHANTOM.labels[::-1])
    masks = dataclasses.replace(masks, section_names=names[::-1], named=True)
    volume = prepare_volume(images, masks, tmp_path / "p")
    np.testing.assert_array_equal(volume.labels, PHANTOM.labels)


def test_halves_share_no_column(tmp_path):
    masks = np.zeros((1, 40, 200), np.uint8)
    masks[:, 10:20, ::20] = 1
    images = volume_of_array("em", np.arange(8000, dtype=np.uint16).reshape(1, 40, 200))
    left, right = prepare_halves(images, volume_of_array("m", masks), tmp_path)
    assert left.info.columns == (0, 126)
    assert right.info.columns == (146, 200)
    assert right.shape_zyx == (1, 40, 54)
    assert (left.name, right.name) == ("em left", "em right")
    np.testing.assert_array_equal(right.labels > 0, masks[:, :, 146:] > 0)


def test_nan_in_any_section_leaves_nothing_that_is_later_trusted(tmp_path):
    images = np.tile(PHANTOM.images.astype(np.float32), (10, 1, 1))
    images[1, 3, 3] = np.nan  # not among the sections the normalisation looks at
    masks = volume_of_array("m", np.tile(PHANTOM.labels, (10, 1, 1)))
    with pytest.raises(InputError, match="page 2 has 1 pixels that are NaN"):
        prepare_volume(volume_of_array("em", images), masks, tmp_path / "p")
    with pytest.raises(InputNotFoundError, match="no prepared volume"):
        PreparedVolume.open(tmp_path / "p")


def test_preparing_again_takes_the_old_seal_away_first(tmp_path):
    prepare_volume(IMAGES, MASKS, tmp_path / "p")
    bad = volume_of_array("em", np.full(IMAGES.shape_zyx, np.nan, np.float32))
    with pytest.raises(InputError):
        prepare_volume(bad, MASKS, tmp_path / "p", normalisation=Normalisation())
    with pytest.raises(InputNotFoundError):
        PreparedVolume.open(tmp_path / "p")


def test_a_damaged_folder_is_refused(tmp_path):
    folder = prepare_volume(IMAGES, MASKS, tmp_path / "p").folder
    raw = (folder / "labels.npy").read_bytes()
    (folder / "labels.npy").write_bytes(raw[:-10])
    with pytest.raises(InputError, match=r"labels.npy is damaged"):
        PreparedVolume.open(folder)
    (folder / "labels.npy").write_bytes(raw)
    np.save(folder / "images.npy", np.zeros((2, 2, 2), np.uint8))
    with pytest.raises(InputError, match=r"has shape \(2, 2, 2\), but prepared.json says"):
        PreparedVolume.open(folder)


@pytest.mark.parametrize("name", ["images.npy", "labels.npy"])
def test_a_flipped_bit_is_found_and_folders_of_old_are_taken(tmp_path, name):
    folder = prepare_volume(IMAGES, MASKS, tmp_path / "p").folder
    content = bytearray((folder / name).read_bytes())
    content[-5] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(DamagedFileError, match=rf"{name} is damaged .*mitosam prepare"):
        PreparedVolume.open(folder)
    info = json.loads((folder / "prepared.json").read_text())
    old = {key: value for key, value in info.items() if not key.endswith("checksum")}
    (folder / "prepared.json").write_text(json.dumps(old))
    assert PreparedVolume.open(folder).shape_zyx == tuple(info["shape_zyx"])


def test_pickles_are_never_loaded(tmp_path):
    folder = prepare_volume(IMAGES, MASKS, tmp_path / "p").folder
    np.save(folder / "images.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="damaged"):
        PreparedVolume.open(folder)


def test_a_damaged_description_is_refused_by_field(tmp_path):
    folder = prepare_volume(IMAGES, MASKS, tmp_path / "p").folder
    info = json.loads((folder / "prepared.json").read_text())
    (folder / "prepared.json").write_text(json.dumps(info | {"coding": "binary" * 2}))
    with pytest.raises(InputError, match=r"prepared.json is damaged \(its checksum does not fit"):
        PreparedVolume.open(folder)
    del info["checksum"]
    (folder / "prepared.json").write_text(json.dumps(info | {"coding": "colours"}))
    with pytest.raises(InputError, match=r"damaged \(at coding"):
        PreparedVolume.open(folder)
    (folder / "prepared.json").write_text("{")
    with pytest.raises(InputError, match=r"damaged \(at its start"):
        PreparedVolume.open(folder)
