from __future__ import annotations

import shutil

import numpy as np
import pytest

from mitosam.config import resolve_settings
from mitosam.errors import InputError, SettingsError, StorageError
from mitosam.workflows.prepare import Sources, describe_split, prepare, prepare_run
from mitosam.workflows.runs import Run
from tests.tiny_runs import Remembered, contents, write_phantom, write_stacks

DATA = ("data.patch_px=64", "data.tile_px=64")


def test_the_paper_preset_cuts_twelve_patches_a_section_and_drops_the_empty_ones(tmp_path):
    """768 x 1024 in patches of 256, at a quarter of the scale."""
    labels = np.zeros((3, 192, 256), np.uint16)
    labels[0, 10:20, 10:20] = 1  # one patch
    labels[1, 60:70, 60:70] = 1  # four patches
    images = np.random.default_rng(0).integers(0, 255, labels.shape).astype(np.uint8)
    sources = write_stacks(tmp_path / "data", images, labels)
    settings = resolve_settings(preset="paper", overrides=DATA)
    run = prepare(sources, tmp_path / "run", settings)
    facts = run.provenance()["volume volume"]
    assert (facts["patches"], facts["patches_with_mitochondria"]) == (3 * 12, 5)
    assert facts["patches_without"] == 31
    assert facts["pixels_lost_per_section"] == 0


def test_what_patches_do_not_cover_is_counted_when_it_is_cropped(tmp_path):
    sources = write_phantom(tmp_path / "data", shape_zyx=(3, 100, 130))
    settings = resolve_settings(overrides=[*DATA, "data.edge=crop"])
    facts = prepare(sources, tmp_path / "run", settings).provenance()["volume volume"]
    assert facts["patches"] == 3 * 2
    assert facts["pixels_lost_per_section"] == 100 * 130 - 2 * 64 * 64


def test_the_pairing_and_the_split_are_said(tmp_path, sources):
    progress = Remembered()
    prepare(sources, tmp_path / "run", resolve_settings(overrides=DATA), progress=progress)
    assert progress.said[0].startswith("paired 4 sections by order")
    assert "train on sections 1-2, validate on sections 3, report on sections 4" in progress.said[1]


def test_a_prepared_run_opens_as_it_was_made(tmp_path, sources):
    settings = resolve_settings(overrides=[*DATA, "seed=3"])
    run = prepare(sources, tmp_path / "run", settings)
    again = Run.open(tmp_path / "run")
    assert again == run
    (part,), (expected,) = again.parts(), run.parts()
    assert part.split == expected.split
    assert np.array_equal(part.volume.images, expected.volume.images)
    assert "train on sections 1-2" in describe_split(part.split)


def test_a_voxel_size_that_is_given_wins(tmp_path, sources):
    given = Sources(images=sources.images, masks=sources.masks, voxel_size_nm=(30, 8, 8))
    run = prepare(given, tmp_path / "run", resolve_settings(overrides=DATA))
    assert run.parts()[0].volume.voxel_size_nm == (30, 8, 8)


@pytest.mark.parametrize("kind", ["random", "given"])
def test_test_images_and_a_split_that_chooses_test_sections_exclude_each_other(
    tmp_path, sources, kind
):
    both = Sources(
        images=sources.images,
        masks=sources.masks,
        test_images=sources.images,
        test_masks=sources.masks,
    )
    split = {"kind": "given", "train": "1-2", "test": "4"} if kind == "given" else {"kind": kind}
    settings = resolve_settings(values={"split": split}, overrides=DATA)
    with pytest.raises(SettingsError, match="give only one of them"):
        prepare(both, tmp_path / "run", settings)
    assert not (tmp_path / "run").exists()


def test_the_test_volume_is_stretched_as_the_training_volume_was(tmp_path):
    train = write_phantom(tmp_path / "train", dtype="uint16")
    test = write_phantom(tmp_path / "test", seed=8, dtype="uint16")
    both = Sources(
        images=train.images, masks=train.masks, test_images=test.images, test_masks=test.masks
    )
    run = prepare(both, tmp_path / "run", resolve_settings(overrides=DATA))
    first, second = (part.volume.normalisation for part in run.parts())
    assert first.kind == "percentile"
    assert first == second


def test_a_test_volume_of_other_numbers_is_stretched_on_its_own_and_said(tmp_path, caplog):
    train = write_phantom(tmp_path / "train", dtype="uint16")
    test = write_phantom(tmp_path / "test", seed=8)
    both = Sources(
        images=train.images, masks=train.masks, test_images=test.images, test_masks=test.masks
    )
    run = prepare(both, tmp_path / "run", resolve_settings(overrides=DATA))
    assert run.parts()[1].volume.normalisation.kind == "identity"
    assert "holds uint8 and the model was trained on uint16 images" in caplog.text


def test_damaged_records_are_errors_with_a_way_out(tmp_path, sources):
    run = prepare(sources, tmp_path / "run", resolve_settings(overrides=DATA))
    for path, read in (
        (run.folder / "run.json", run.provenance),
        (run.prepared_folder / "parts.json", run.parts),
    ):
        path.write_text(path.read_text()[:-9])
        with pytest.raises(InputError, match=r"is damaged .*; make the run anew"):
            read()


def test_a_preparation_that_failed_can_be_tried_again_in_the_same_place(tmp_path, sources):
    settings = resolve_settings(overrides=[*DATA, "split.kind=given"], values=TOO_FEW)
    with pytest.raises(SettingsError, match="test must lie in 1-4"):
        prepare(sources, tmp_path / "run", settings)
    prepare(sources, tmp_path / "run", resolve_settings(overrides=DATA))
    assert contents(tmp_path / "run")


TOO_FEW = {"split": {"train": "1-2", "test": "9"}}


@pytest.mark.parametrize("lost", ["settings.toml", "run.json", "prepared/parts.json", "prepared"])
def test_files_that_went_away_while_others_were_written_are_missed(
    tmp_path, sources, monkeypatch, lost
):
    settings = resolve_settings(overrides=DATA)

    def prepare_and_lose(run, *_, **__):
        prepared = prepare_run(run, sources)
        place = run.folder / lost
        shutil.rmtree(place) if place.is_dir() else place.unlink()
        return prepared

    with monkeypatch.context() as patched:
        patched.setattr("mitosam.workflows.prepare.prepare_run", prepare_and_lose)
        with pytest.raises(StorageError, match="went away while it was written; see whether"):
            prepare(sources, tmp_path / "run", settings)
    assert prepare(sources, tmp_path / "run", settings).is_prepared
