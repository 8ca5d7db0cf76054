"""Words on whole volumes: the same labels as `segment`, or as the detector's boxes as prompts."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

import mitosam.workflows.predict_words as workflow
from mitosam.errors import InputError, ModelError, ModelNotFoundError, SettingsError
from mitosam.io.open import open_volume
from mitosam.io.prompt_files import read_prompts
from mitosam.workflows.automatic_model import segmenter_of
from mitosam.workflows.predict import predict
from mitosam.workflows.segment import segment
from mitosam.workflows.tuned_model import load_tuned_model
from tests.models.tiny_detectors import write_grounding_dino, write_owl, write_sam3
from tests.segmentations import whole
from tests.tiny_runs import (
    VOXEL_SIZE_NM,
    Remembered,
    contents,
    rows_of,
    short_settings,
    write_phantom,
)
from tests.tiny_segmenter import write_tuned


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_phantom(tmp_path_factory.mktemp("em"), shape_zyx=(3, 64, 80)).images


@pytest.fixture(scope="module")
def model(tmp_path_factory, base_model):
    return write_tuned(tmp_path_factory.mktemp("tuned") / "model.safetensors", base_model)


@pytest.fixture(scope="module")
def owl(tmp_path_factory):
    return write_owl(tmp_path_factory.mktemp("owl"))


def test_own_words_give_the_labels_of_segment(tmp_path, images, model, base_model):
    settings = short_settings(base_model)
    progress = Remembered()
    result = predict(
        images, tmp_path / "out", model=model, text="les mitochondries", settings=settings,
        progress=progress,
    )  # fmt: skip
    expected = segment(images, tmp_path / "segmented", model=model, settings=settings)
    labels = whole(result.labels)
    np.testing.assert_array_equal(labels, whole(expected.labels))
    assert labels.max() > 1
    assert open_volume(result.labels).voxel_size_nm == pytest.approx(VOXEL_SIZE_NM)
    assert "all mitochondria, found by method head" in progress.said
    assert set(contents(tmp_path / "out")) == {"labels.tif", "masks.csv"}
    rows = rows_of(tmp_path / "out" / "masks.csv")
    assert result.num_masks == len(rows)
    for row in rows:
        pixels = labels[int(row["section"])] == int(row["object_id"])
        assert int(row["area_px"]) == pixels.sum() > 0
        assert 0.5 <= float(row["score"]) <= 1
        assert (row["phrase"], row["predicted_iou"]) == ("mitochondria", "")
    assert len(rows) == sum(len(np.unique(section[section > 0])) for section in labels)


def test_one_image_alone_is_segmented_as_segment_does(tmp_path, images, model, base_model):
    settings = short_settings(base_model)
    one = tmp_path / "one.tif"
    tifffile.imwrite(one, tifffile.imread(images)[1], photometric="minisblack")
    result = predict(one, tmp_path / "out", model=model, text="mitos", settings=settings)
    expected = segment(one, tmp_path / "segmented", model=model, settings=settings)
    np.testing.assert_array_equal(whole(result.labels), whole(expected.labels))


@pytest.mark.parametrize("write", [write_owl, write_grounding_dino])
def test_a_detectors_boxes_are_saved_and_give_the_same_labels_as_prompts(
    tmp_path, images, model, base_model, write
):
    settings = short_settings(base_model)
    detector = write(tmp_path / "detector")
    out = tmp_path / "out"
    result = predict(
        images, out, model=model, text="mitochondria, nucleus", detector=detector, min_score=0.0,
        settings=settings,
    )  # fmt: skip
    again = predict(
        images, tmp_path / "again", model=model, prompts=out / "prompts.csv", settings=settings
    )
    np.testing.assert_array_equal(whole(result.labels), whole(again.labels))
    rows = rows_of(out / "masks.csv")
    asked = read_prompts(out / "prompts.csv")
    assert result.num_sections == len(asked) == 3
    assert result.num_masks == len(rows) == sum(map(len, asked.values()))
    assert {row["phrase"] for row in rows} <= {"mitochondria", "nucleus"}
    trusted = [(r["section"], r["object_id"], r["predicted_iou"], r["area_px"]) for r in rows]
    again_rows = rows_of(tmp_path / "again" / "masks.csv")
    assert trusted == [
        (r["section"], r["object_id"], r["predicted_iou"], r["area_px"]) for r in again_rows
    ]
    for z in asked:
        scores = [float(row["score"]) for row in rows if int(row["section"]) == z]
        assert scores == sorted(scores, reverse=True)


def test_the_masks_of_sam_3_are_drawn_as_they_are(tmp_path, images, base_model):
    folder = write_sam3(tmp_path / "sam3")
    out = tmp_path / "out"
    result = predict(
        images, out, model=base_model, text="nucleus", detector=folder, min_score=0.0,
        settings=short_settings(base_model),
    )  # fmt: skip
    assert set(contents(out)) == {"labels.tif", "masks.csv"}
    labels, rows = whole(result.labels), rows_of(out / "masks.csv")
    assert len(rows) == result.num_masks > 3
    grey = tifffile.imread(images)
    detector = workflow.load_detector(folder)
    for z, section in enumerate(grey):
        found = detector.detect(section, ["nucleus"], min_score=0.0)
        surest = found.masks[0]
        y, x = surest.window.y, surest.window.x
        part = labels[z, y : y + surest.window.height, x : x + surest.window.width]
        assert (part[surest.pixels] == 1).all()
        assert [int(row["area_px"]) for row in rows if int(row["section"]) == z] == [
            int(mask.pixels.sum()) for mask in found.masks
        ]


def test_nothing_found_is_an_empty_result(tmp_path, images, base_model, owl):
    out = tmp_path / "out"
    result = predict(
        images, out, model=base_model, text="nucleus", detector=owl, min_score=1.0,
        settings=short_settings(base_model),
    )  # fmt: skip
    assert (result.num_masks, result.num_sections) == (0, 0)
    assert not whole(result.labels).any()
    header = "section,object_id,phrase,score,predicted_iou,area_px"
    assert (out / "masks.csv").read_text().strip() == header


def test_a_detector_that_is_given_is_asked_even_for_own_words(tmp_path, images, model, owl):
    progress = Remembered()
    predict(images, tmp_path / "out", model=model, text="mitos", detector=owl, progress=progress)
    assert any(said.startswith("asking ") and "'mitochondria'" in said for said in progress.said)
    assert not any(loop.startswith("segmenting (head)") for loop in progress.loops)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"text": ""}, InputError, "must name what to find"),
        ({"text": "  \t "}, InputError, "must name what to find"),
        ({"text": "mito " * 99}, InputError, "at most 200 characters"),
        ({"text": "nuclei"}, InputError, "nothing here understands 'nuclei'"),
        ({"text": "mitos", "detector": "nowhere"}, ModelNotFoundError, "no detector nowhere"),
        ({"text": "mitos", "multimask_output": True}, SettingsError, "--multimask goes with"),
        ({"text": "mitos", "min_score": 0.5}, SettingsError, "--min-score needs a --detector"),
        (
            {"text": "mitos", "detector": "d", "min_score": 2},
            SettingsError,
            "a number from 0 to 1, got 2",
        ),
        ({"text": "mitos", "prompts": "p.csv"}, SettingsError, "or --text"),
        ({"prompts": "p.csv", "detector": "d"}, SettingsError, "go with --text"),
        ({}, SettingsError, "either --prompts or --from-masks or --text"),
    ],
)
def test_bad_choices_are_refused_before_anything_is_written(
    tmp_path, images, model, given, error, message
):
    with pytest.raises(error, match=message):
        predict(images, tmp_path / "out", model=model, **given)
    assert not (tmp_path / "out").exists()


def test_a_known_word_needs_a_head(tmp_path, images, base_model):
    headless = write_tuned(tmp_path / "m.safetensors", base_model, with_head=False)
    for name in (headless, base_model):
        with pytest.raises(ModelError, match="has no prompt-free head, which finding all"):
            predict(images, tmp_path / "out", model=name, text="mitochondria")
    usable = load_tuned_model(headless)
    assert segmenter_of(usable, headless, short_settings(base_model)).head is None
    assert not (tmp_path / "out").exists()
