from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mitosam.config import resolve_settings
from mitosam.data.resampling import resample_labels
from mitosam.errors import InputError, SettingsError
from mitosam.io.open import open_volume
from mitosam.storage import sha256_of_file
from mitosam.workflows.prepare import Sources, check_sources, prepare
from mitosam.workflows.runs import Run
from tests.tiny_datasets import MANIFEST, write_dataset
from tests.tiny_runs import Remembered, contents, write_stacks

DATA = ("data.patch_px=64", "data.tile_px=96")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("set")).parent


def prepared(folder: Path, out: Path, text: str = MANIFEST, *overrides: str) -> Run:
    path = folder / f"{out.parent.name}.toml"
    path.write_text(text)
    settings = resolve_settings(overrides=[*DATA, *overrides])
    return prepare(Sources.of_manifest(path), out, settings)


def test_each_volume_is_prepared_by_itself_with_its_own_split(folder, tmp_path):
    run = prepared(folder, tmp_path / "run")
    fine, coarse = run.parts()
    assert (fine.volume.name, coarse.volume.name) == ("fine", "coarse")
    assert (fine.volume.shape_zyx, coarse.volume.shape_zyx) == ((4, 192, 192), (3, 160, 224))
    assert (fine.split.train, fine.split.validation, fine.split.test) == ((0, 1), (2,), (3,))
    assert (coarse.split.train, coarse.split.test, coarse.split.unused) == ((0,), (2,), (1,))
    assert fine.split.leaky
    assert not coarse.split.leaky
    assert coarse.volume.voxel_size_nm == (40.0, 15.0, 15.0)
    assert fine.volume.normalisation.kind == "identity"
    assert coarse.volume.normalisation.kind == "percentile"


def test_whose_grey_values_the_model_keeps_is_said(folder, tmp_path):
    progress = Remembered()
    path = folder / "dataset.toml"
    prepare(
        Sources.of_manifest(path),
        tmp_path / "run",
        resolve_settings(overrides=DATA),
        progress=progress,
    )
    assert any("the model keeps those of fine" in line for line in progress.said)


def test_the_run_writes_down_whose_data_it_is(folder, tmp_path):
    facts = prepared(folder, tmp_path / "run").provenance()
    assert facts["data set"]["title"] == "two phantoms"
    assert facts["data set"]["licence of fine"] == "CC0"
    assert facts["data set"]["licence of coarse"] == "CC-BY-4.0"
    assert len(facts["manifest_sha256"]) == 64


def test_a_manifest_of_one_volume_prepares_what_the_files_alone_do(folder, tmp_path):
    """But for the volume's name, and where its file says what is in it."""
    text = '[[volume]]\nname = "images"\nimages = "fine/images.tif"\nmasks = "fine/masks.tif"'
    one = prepared(folder, tmp_path / "one", text)
    files = Sources(images=folder / "fine" / "images.tif", masks=folder / "fine" / "masks.tif")
    alone = prepare(files, tmp_path / "alone", resolve_settings(overrides=DATA))
    assert contents(one.parts()[0].volume.folder) == contents(alone.parts()[0].volume.folder)
    assert one.parts()[0].split == alone.parts()[0].split


def test_volumes_that_are_trained_on_come_first(folder, tmp_path):
    text = MANIFEST.replace('split = { train = "1-2", validation = "3", test = "4" }', 'use="test"')
    first, second = prepared(folder, tmp_path / "run", text).parts()
    assert (first.volume.name, second.volume.name) == ("coarse", "fine")
    assert second.split.test == (0, 1, 2, 3)


def test_where_nothing_validates_the_last_sections_of_whole_volumes_do(folder, tmp_path):
    text = MANIFEST.replace(
        'split = { train = "1-2", validation = "3", test = "4" }', 'use = "train"'
    )
    settings = "split.validation_fraction=0.25"
    fine, coarse = prepared(folder, tmp_path / "run", text, settings).parts()
    assert (fine.split.train, fine.split.validation) == ((0, 1), (3,))
    assert coarse.split.validation == ()


def test_a_volume_without_a_split_is_cut_as_the_run_says(folder, tmp_path):
    text = MANIFEST.replace('split = { train = "1-2", validation = "3", test = "4" }\n', "")
    fine = prepared(folder, tmp_path / "run", text).parts()[0]
    assert (fine.split.train, fine.split.validation, fine.split.test) == ((0, 1), (2,), (3,))


@pytest.mark.parametrize("in_manifest", [True, False])
def test_volumes_are_scaled_to_a_common_pixel_size(folder, tmp_path, in_manifest):
    text = f"common_pixel_nm = {20.0 if in_manifest else 7.0}\n{MANIFEST}"
    override = () if in_manifest else ("data.common_pixel_nm=20",)
    fine, coarse = prepared(folder, tmp_path / "run", text, *override).parts()
    assert (fine.volume.shape_zyx, coarse.volume.shape_zyx) == ((4, 96, 96), (3, 120, 168))
    assert fine.volume.voxel_size_nm == (10.0, 20.0, 20.0)
    assert coarse.volume.voxel_size_nm == (40.0, 20.0, 20.0)
    labels = open_volume(folder / "fine" / "masks.tif").section(2)
    assert np.array_equal(fine.volume.labels[2], resample_labels(labels, (96, 96)))


def test_one_volume_without_a_manifest_is_scaled_too(folder, tmp_path):
    files = Sources(images=folder / "fine" / "images.tif", masks=folder / "fine" / "masks.tif")
    settings = resolve_settings(overrides=[*DATA, "data.common_pixel_nm=20"])
    run = prepare(files, tmp_path / "run", settings)
    assert run.parts()[0].volume.shape_zyx == (4, 96, 96)
    check_sources(run, files)


def test_only_one_value_of_the_masks_can_be_mitochondria(tmp_path):
    labels = np.full((3, 96, 96), 2, np.uint16)
    labels[:, 10:40, 10:40] = 255
    labels[:, 50:60, 50:60] = 0
    images = np.random.default_rng(0).integers(0, 255, labels.shape).astype(np.uint8)
    write_stacks(tmp_path, images, labels)
    text = '[[volume]]\nname = "v"\nimages = "images.tif"\nmasks = "masks.tif"\nmask_value = 255'
    (part,) = prepared(tmp_path, tmp_path / "run", text).parts()
    assert part.volume.info.coding == "binary"
    assert (part.volume.labels > 0).sum() == 3 * 30 * 30


def test_a_checksum_is_compared_before_a_file_is_used(folder, tmp_path):
    sha256 = sha256_of_file(folder / "fine" / "masks.tif")
    line = 'masks = "fine/masks.tif"\n'
    prepared(folder, tmp_path / "a", MANIFEST.replace(line, f'{line}masks_sha256 = "{sha256}"\n'))
    wrong = MANIFEST.replace(line, f'{line}masks_sha256 = "{"0" * 64}"\n')
    with pytest.raises(InputError, match="volume fine is not the file that the manifest's sha256"):
        prepared(folder, tmp_path / "b", wrong)
    assert not (tmp_path / "b").exists()
    line = 'images = "coarse/images"\n'
    wrong = MANIFEST.replace(line, f'{line}images_sha256 = "{sha256}"\n')
    with pytest.raises(InputError, match="is no file, so it has no sha256"):
        prepared(folder, tmp_path / "c", wrong)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('train = "1-2"', 'train = "1-9"'), "split of volume fine: train must lie in 1-4"),
        (('test = "4"', 'test = "2"'), "split of volume fine: train and test must not share"),
        (('name = "coarse"', 'name = "coarse"\nuse = "test"'), "only one of them"),
    ],
)
def test_sections_must_fit_their_volume(folder, tmp_path, change, message):
    with pytest.raises((SettingsError, InputError), match=message):
        prepared(folder, tmp_path / "run", MANIFEST.replace(*change))


def test_a_manifest_that_trains_nothing_is_refused(folder, tmp_path):
    text = '[[volume]]\nname="f"\nimages="fine/images.tif"\nmasks="fine/masks.tif"\nuse="test"'
    with pytest.raises(SettingsError, match="no volume of the manifest trains"):
        prepared(folder, tmp_path / "run", text)


def test_sections_named_on_the_command_line_are_of_no_volume(folder, tmp_path):
    with pytest.raises(SettingsError, match="chosen in the manifest"):
        prepared(folder, tmp_path / "run", MANIFEST, "split.kind=given", "split.train=1-2")


def test_two_sections_need_to_be_told_what_for(tmp_path):
    write_stacks(tmp_path, np.zeros((2, 64, 64), np.uint8), np.ones((2, 64, 64), np.uint8))
    text = '[[volume]]\nname = "v"\nimages = "images.tif"\nmasks = "masks.tif"'
    with pytest.raises(SettingsError, match="volume v has 2 of the 3 sections"):
        prepared(tmp_path, tmp_path / "run", text)


def test_a_run_goes_on_only_with_the_same_volumes_and_splits(folder, tmp_path):
    run = prepared(folder, tmp_path / "run")
    path = folder / f"{tmp_path.name}.toml"
    check_sources(run, Sources.of_manifest(path))
    path.write_text(MANIFEST.replace('test = "3"', 'test = "2-3"'))
    with pytest.raises(SettingsError, match="another split of volume coarse"):
        check_sources(run, Sources.of_manifest(path))
    path.write_text(MANIFEST.replace('name = "coarse"', 'name = "other"'))
    with pytest.raises(SettingsError, match="made from the volumes fine, coarse"):
        check_sources(run, Sources.of_manifest(path))
    path.write_text(MANIFEST.replace('masks = "coarse/masks"', 'masks = "coarse/images"'))
    with pytest.raises((SettingsError, InputError)):
        check_sources(run, Sources.of_manifest(path))


def test_a_voxel_size_of_the_manifest_is_taken_for_the_files(folder, tmp_path):
    text = MANIFEST.replace(
        'masks = "fine/masks.tif"', 'masks = "fine/masks.tif"\nvoxel_size_nm = [30, 8, 8]'
    )
    fine = prepared(folder, tmp_path / "run", text).parts()[0]
    assert fine.volume.voxel_size_nm == (30.0, 8.0, 8.0)
