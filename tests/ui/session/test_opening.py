"""Opening a session on files, with a real (tiny) model."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from mitosam.config import resolve_settings
from mitosam.data.phantom import make_phantom
from mitosam.errors import InputError, OutputExistsError, SettingsError, StorageError
from mitosam.io.place import Url
from mitosam.io.write import write_stack_tiff
from mitosam.models.tuned import read_tuned_info
from mitosam.ui.session.opening import open_session, work_folder
from mitosam.workflows.runs import Run
from tests.models.tiny_detectors import write_owl
from tests.tiny_runs import VOXEL_SIZE_NM, write_phantom
from tests.tiny_segmenter import write_tuned


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_phantom(tmp_path_factory.mktemp("em"), shape_zyx=(3, 64, 80))


@pytest.fixture
def opened(tmp_path, files, tuned):
    """Open sessions in one folder; each is closed at the end."""
    sessions = []

    def make(**given):
        given = {"model": tuned, "out": tmp_path / "work", **given}
        sessions.append(open_session(given.pop("images", files.images), **given))
        return sessions[-1]

    yield make
    for session in sessions:
        session.close()


def test_a_box_gives_the_trained_mask_and_sams_three(opened):
    view = opened().view(1)
    view.set_box(10, 10, 40, 40)
    candidates = view.snapshot().draft.candidates
    assert 1 <= len(candidates) <= 4
    assert all(one.score is not None for one in candidates)


def test_a_volume_of_other_pixels_than_the_model_knows_is_remarked(opened, tmp_path, base_model):
    pixel_nm = VOXEL_SIZE_NM[1]
    other = write_tuned(tmp_path / "model.safetensors", base_model, pixel_nm=2 * pixel_nm)
    said = opened(model=other).view(0).snapshot().message
    assert f"trained on pixels of {2 * pixel_nm:g} nm, and these are of {pixel_nm:g} x" in said
    same = write_tuned(tmp_path / "model.safetensors", base_model, pixel_nm=pixel_nm)
    assert opened(model=same, out=tmp_path / "again").view(0).snapshot().message is None


def test_the_automatic_method_is_shown_the_pixels_the_model_knows(
    opened, files, tmp_path, base_model
):
    z_nm, pixel_nm, _ = VOXEL_SIZE_NM
    model = write_tuned(tmp_path / "model.safetensors", base_model, pixel_nm=pixel_nm)
    finer = tmp_path / "finer.tif"
    stack = tifffile.imread(files.images).repeat(2, axis=1).repeat(2, axis=2)
    write_stack_tiff(finer, stack, (z_nm, pixel_nm / 2, pixel_nm / 2))
    found = []
    for images in (files.images, finer):
        session = opened(images=images, model=model, out=tmp_path / f"{images.stem}.work")
        session.segment(range(0, 3))
        assert session.wait("segment", 60)
        found.append([session.labels(z) for z in range(3)])
    for one, four in zip(*found, strict=True):
        assert one.any()
        assert np.array_equal(one.repeat(2, axis=0).repeat(2, axis=1), four)


def test_the_automatic_method_proposes_what_segment_finds(opened):
    session = opened()
    session.segment(range(0, 3))
    assert session.wait("segment", 60)
    (job,) = session.jobs()
    assert job.error is None
    assert job.done == job.total
    found = {one.id: one.confidence for z in range(3) for one in session.objects(z)}
    assert found
    assert all(0 <= trust <= 1 for trust in found.values())


def test_a_base_model_says_that_it_finds_nothing_by_itself(opened, base_model):
    session = opened(model=base_model)
    session.segment(range(0, 1))
    session.wait("segment", 60)
    assert "has no prompt-free head" in session.jobs()[0].error


def test_the_work_lies_beside_the_images(files, tmp_path):
    assert work_folder(files.images).parent == files.images.resolve().parent
    assert work_folder(tmp_path / "stack.ome.tif").name == "stack.mitosam"
    assert work_folder(tmp_path).name == f"{tmp_path.name}.mitosam"


def test_a_session_goes_on_where_it_was_left(opened):
    session = opened()
    session.add(1, 5, 5, np.ones((4, 4), bool))
    session.close()
    again = opened()
    assert [one.area_px for one in again.objects(1)] == [16]


def test_two_sessions_on_one_folder_are_refused(opened):
    opened()
    # In one process SQLite's lock is as good as between two.
    with pytest.raises(StorageError, match="in use by another mitosam"):
        opened()


def test_the_work_on_another_volume_is_refused(opened, tmp_path, files):
    opened().close()
    other = write_phantom(tmp_path / "other", shape_zyx=(3, 64, 80), seed=5)
    with pytest.raises(InputError, match="holds the work on another volume"):
        opened(images=other.images)


def test_given_labels_keep_their_ids(opened, tmp_path):
    ids = make_phantom((3, 64, 80), 0).labels.astype(np.uint16)
    write_stack_tiff(tmp_path / "ids.tif", ids, None)
    session = opened(labels=tmp_path / "ids.tif")
    np.testing.assert_array_equal(np.stack([session.labels(z) for z in range(3)]), ids)
    assert session.add(0, 0, 0, ids[0] == 0) > ids.max()


def test_a_given_mask_falls_into_objects_through_the_volume(opened, tmp_path):
    mask = np.zeros((3, 64, 80), np.uint8)
    mask[:, 5:15, 5:15] = 255
    mask[1, 40:50, 40:50] = 255
    tifffile.imwrite(tmp_path / "mask.tif", mask, photometric="minisblack")
    session = opened(labels=tmp_path / "mask.tif")
    assert len(session.objects(1)) == 2
    assert {session.sections_of(one.id) for one in session.objects(1)} == {(0, 1, 2), (1,)}


def test_labels_are_taken_by_a_new_session_only(opened, tmp_path, files):
    session = opened()
    session.add(1, 5, 5, np.ones((4, 4), bool))
    session.close()
    with pytest.raises(OutputExistsError, match="holds labels already"):
        opened(labels=files.masks)


def test_labels_of_another_size_are_refused_and_the_folder_is_free_again(opened, tmp_path):
    write_stack_tiff(tmp_path / "small.tif", np.ones((3, 10, 10), np.uint8), None)
    with pytest.raises(InputError, match="must be of the same size"):
        opened(labels=tmp_path / "small.tif")
    assert opened().annotated() == frozenset()


def test_a_voxel_size_that_contradicts_the_file_is_refused(opened):
    with pytest.raises(SettingsError, match="voxel"):
        opened(voxel_size_nm=tuple(2 * size for size in VOXEL_SIZE_NM))


TEACH_QUICKLY = (
    *("teaching.steps=2", "teaching.head_steps=2", "teaching.views=2", "head.crop_px=32"),
    *("model.precision=fp32", "data.patch_px=64", "data.tile_px=96"),
)


def run_weights(folder):
    return Run.open(folder).tuned_weights


def test_teaching_compares_old_and_new_and_switches_only_when_told(opened, files, tuned):
    settings = resolve_settings(overrides=TEACH_QUICKLY)
    session = opened(labels=files.masks, settings=settings)
    with pytest.raises(InputError, match="no section is finished"):
        session.teach(show=0)
    for z in (0, 1):
        session.finish(z, finished=True)
    before = session.model_name
    session.teach(show=0)
    assert session.wait("teach", 600)
    (job,) = session.jobs()
    assert job.error is None
    compared = session.comparison()
    assert compared.z == 2  # the only section that taught nothing
    assert compared.old.shape == compared.new.shape == session.shape_zyx[1:]
    assert session.model_name == before
    taught, begun = (read_tuned_info(path) for path in (run_weights(compared.new_model), tuned))
    assert (taught.tile_px, taught.normalisation) == (begun.tile_px, begun.normalisation)
    session.switch_model()
    assert session.comparison() is None
    assert session.model_name == compared.new_model.name
    session.close()
    assert opened(model=None).model_name == compared.new_model.name
    with pytest.raises(InputError, match="no newly taught model"):
        opened(out=session.folder.parent / "other").keep_model()


def test_teaching_that_is_stopped_leaves_the_model_as_it_was(opened, files):
    session = opened(labels=files.masks, settings=resolve_settings(overrides=TEACH_QUICKLY))
    session.finish(0, finished=True)
    session.teach(show=1)
    session.stop("teach")
    assert session.wait("teach", 600)
    assert session.comparison() is None
    assert session.jobs()[0].error is None


def test_what_goes_wrong_in_teaching_is_said(opened, files, tmp_path):
    (tmp_path / "file").write_text("")
    overrides = [*TEACH_QUICKLY, f"cache.folder={tmp_path / 'file'}"]
    settings = resolve_settings(overrides=overrides)
    session = opened(labels=files.masks, settings=settings)
    session.finish(0, finished=True)
    session.teach(show=1)
    assert session.wait("teach", 600)
    assert "cannot be written" in session.jobs()[0].error


@pytest.mark.parametrize("words", ["mitochondria", "Mitochondries", "alle Mitochondrien"])
def test_a_tuned_model_finds_its_own_class_by_any_of_its_words(opened, words):
    session = opened()
    answer = session.view(1).ask(words)
    assert answer.startswith("all mitochondria, found by method head: ")
    assert session.objects(1)


def test_a_word_that_nothing_understands_is_answered_with_what_would_be(opened):
    with pytest.raises(InputError, match=r"this model knows mitochondria .*--detector"):
        opened().view(0).ask("nuclei")


def test_a_detector_is_asked_for_other_words(opened, tmp_path):
    detector = write_owl(tmp_path / "owl")
    session = opened(detector=detector)
    answer = session.view(0).ask("nuclei")
    assert "found" in answer
    assert "proposed on section 1" in answer


def test_the_work_on_a_dataset_lies_beside_its_file_and_that_at_a_url_needs_a_folder(tmp_path):
    (tmp_path / "a.h5").touch()
    assert work_folder(tmp_path / "a.h5:/b/raw") == tmp_path / "a.mitosam"
    with pytest.raises(SettingsError, match="needs a folder: --out"):
        work_folder(Url("s3://bucket/a.zarr"))
