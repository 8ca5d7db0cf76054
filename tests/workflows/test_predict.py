from __future__ import annotations

import csv
import logging

import numpy as np
import pytest
import tifffile
import torch

from mitosam.config import resolve_settings
from mitosam.errors import InputError, OutputExistsError, SettingsError, StorageError
from mitosam.geometry import ModelFrame
from mitosam.inference.predictor import Predictor
from mitosam.io.prompt_files import read_prompts, write_prompts
from mitosam.models.pixels import prepare_tile
from mitosam.prompts import PADDING_LABEL, Prompts
from mitosam.workflows.models import load_base
from mitosam.workflows.predict import predict
from mitosam.workflows.prepare import prepare
from mitosam.workflows.train import train
from mitosam.workflows.tuned_model import load_predictor, load_tuned_model
from tests.full_disk import no_file_above
from tests.tiny_runs import contents, short_settings, write_phantom, write_stacks

BOXES = np.array([[10, 12, 60, 50], [40.5, 30, 90, 80]], np.float64)


@pytest.fixture
def tile(tmp_path):
    """A volume of two sections, each as large as the tiny run's tile."""
    return write_phantom(tmp_path / "data", shape_zyx=(2, 96, 96))


def table(out):
    with (out / "masks.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def predictor_on(usable, image):
    """The Python predictor on the same tile, with the embedding in half precision as cached."""
    frame = ModelFrame((0, 0), len(image), usable.sam.input_px)
    embedding = usable.sam.encode(prepare_tile(image, frame)).half()
    predictor = Predictor(usable.sam)
    predictor.set_embedding(embedding, image.shape, frame)
    return predictor


@pytest.mark.parametrize("suffix", [".csv", ".json"])
@pytest.mark.parametrize("multimask", [False, True])
def test_a_prompt_file_gives_the_masks_of_the_python_predictor(
    tmp_path, finished, tile, suffix, multimask
):
    prompts = Prompts(boxes_xyxy=BOXES)
    write_prompts(tmp_path / f"prompts{suffix}", {1: prompts})
    result = predict(
        tile.images,
        tmp_path / "out",
        model=finished.run.folder,
        prompts=tmp_path / f"prompts{suffix}",
        multimask_output=multimask,
        settings=finished.run.settings,
    )
    usable = load_tuned_model(finished.run.folder, finished.run.settings.model)
    image = tifffile.imread(tile.images)[1]
    expected = predictor_on(usable, image).predict_prompts(prompts, multimask_output=multimask)
    best = expected.iou_predictions.argmax(axis=1)
    drawn = np.zeros(image.shape, np.uint16)
    for index in np.argsort(expected.iou_predictions.max(axis=1), kind="stable"):
        drawn[expected.masks[index, best[index]]] = index + 1
    labels = tifffile.imread(result.labels)
    assert np.array_equal(labels[1], drawn)
    assert not labels[0].any()
    rows = table(tmp_path / "out")
    assert [int(row["area_px"]) for row in rows] == expected.masks.sum((2, 3)).ravel().tolist()
    assert [row["chosen"] == "True" for row in rows].count(True) == result.num_masks == 2
    assert [float(row["predicted_iou"]) for row in rows] == pytest.approx(
        expected.iou_predictions.ravel().tolist(), abs=1e-6
    )


NONE = [[0, 0], [0, 0]]
MIXED = Prompts(
    boxes_xyxy=np.array(
        [[10, 12, 60, 50], [100.5, 130, 160, 180], [5, 5, 180, 170], [70, 70, 99, 99]]
    ),
    points_xy=np.array([[[30, 30], [0, 0]], [[120, 150], [70, 140]], [[9, 9], [0, 0]], NONE]),
    point_labels=np.array([[1, -10], [1, 0], [1, -10], [-10, -10]]),
)
POINTS = Prompts(
    points_xy=np.array([[[30, 30], [0, 0]], [[120, 150], [70, 140]], [[20, 20], [180, 180]]]),
    point_labels=np.array([[1, -10], [1, 0], [1, 0]]),
)


@pytest.mark.parametrize("prompts", [MIXED, POINTS], ids=["boxes and points", "points"])
def test_the_command_and_the_predictor_give_the_same_masks_on_sections_larger_than_a_tile(
    tmp_path, finished, sources, prompts
):
    write_prompts(tmp_path / "p.csv", {2: prompts})
    model = finished.run.folder
    result = predict(sources.images, tmp_path / "out", model=model, prompts=tmp_path / "p.csv")
    predictor = load_predictor(model)
    assert predictor.tile_px == 96
    predictor.set_image(tifffile.imread(sources.images)[2])
    found = [ask_alone(predictor, prompts, index) for index in range(len(prompts))]
    drawn = np.zeros((192, 192), np.uint16)
    for index in np.argsort([one.iou_predictions.max() for one in found], kind="stable"):
        drawn[found[index].masks[0]] = index + 1
    assert np.array_equal(tifffile.imread(result.labels)[2], drawn)
    rows = table(tmp_path / "out")
    assert [int(row["area_px"]) for row in rows] == [int(one.masks.sum()) for one in found]


def ask_alone(predictor, prompts, index):
    """One of the prompts, as a user would ask it."""
    points, labels = prompts.points_xy[index], prompts.point_labels[index]
    given = labels != PADDING_LABEL
    return predictor.predict(
        points[given] if given.any() else None,
        labels[given] if given.any() else None,
        None if prompts.boxes_xyxy is None else prompts.boxes_xyxy[index],
        multimask_output=False,
    )


def test_all_candidates_are_kept_when_asked_for(tmp_path, base_model, tile):
    write_prompts(tmp_path / "p.csv", {0: Prompts(boxes_xyxy=BOXES)})
    predict(
        tile.images,
        tmp_path / "out",
        model=base_model,
        prompts=tmp_path / "p.csv",
        multimask_output=True,
    )
    assert set(contents(tmp_path / "out")) == {
        "labels.tif",
        "masks.csv",
        *(f"candidate_{n}.tif" for n in (1, 2, 3)),
    }
    assert [row["candidate"] for row in table(tmp_path / "out")] == ["1", "2", "3"] * 2


def test_masks_give_a_box_for_each_object_and_the_prompts_are_saved(tmp_path, base_model):
    labels = np.zeros((3, 64, 64), np.uint16)
    labels[0, 5:20, 8:30] = 4
    labels[2, 30:50, 30:60] = 4
    labels[2, 5:15, 5:15] = 9
    images = np.random.default_rng(0).integers(0, 255, labels.shape).astype(np.uint8)
    sources = write_stacks(tmp_path / "data", images, labels)
    out = tmp_path / "out"
    result = predict(sources.images, out, model=base_model, from_masks=sources.masks)
    assert (result.num_masks, result.num_sections) == (3, 2)
    prompts = read_prompts(out / "prompts.csv")
    assert prompts[0].boxes_xyxy.tolist() == [[8, 5, 30, 20]]
    assert sorted(prompts[2].boxes_xyxy.tolist()) == [[5, 5, 15, 15], [30, 30, 60, 50]]
    again = tmp_path / "again"
    predict(sources.images, again, model=base_model, prompts=out / "prompts.csv")
    assert (again / "masks.csv").read_bytes() == (out / "masks.csv").read_bytes()
    for name in (out, again):
        assert tifffile.imread(name / "labels.tif").shape == labels.shape


def test_the_normalisation_of_the_training_is_used_again(tmp_path, base_model):
    """Images of half the contrast: measured on their own they would look like the others."""
    train_on = write_phantom(tmp_path / "train", dtype="uint16")
    run = prepare(train_on, tmp_path / "run", short_settings(base_model))
    train(run)
    normalisation = load_tuned_model(run.folder).normalisation
    assert (normalisation.kind, normalisation.dtype) == ("percentile", "uint16")
    dim = tifffile.imread(train_on.images)[:1, :96, :96] // 2
    tifffile.imwrite(tmp_path / "dim.tif", dim, photometric="minisblack")
    write_prompts(tmp_path / "p.csv", {0: Prompts(boxes_xyxy=BOXES)})
    result = predict(
        tmp_path / "dim.tif", tmp_path / "out", model=run.folder, prompts=tmp_path / "p.csv"
    )
    usable = load_tuned_model(run.folder)
    predictor = predictor_on(usable, normalisation.apply(dim[0]))
    expected = predictor.predict_prompts(Prompts(boxes_xyxy=BOXES), multimask_output=False)
    found = tifffile.imread(result.labels)
    assert np.array_equal(found.reshape(96, 96) > 0, expected.masks.any((0, 1)))


@pytest.mark.parametrize(
    ("trained", "given"), [("uint16", "uint8"), ("uint8", "uint16"), ("uint16", "float32")]
)
def test_images_of_other_numbers_than_the_training_are_measured_anew_and_it_is_said(
    tmp_path, base_model, caplog, trained, given
):
    run = prepare(
        write_phantom(tmp_path / "train", dtype=trained),
        tmp_path / "run",
        short_settings(base_model),
    )
    train(run)
    same_cells = write_phantom(tmp_path / "other", shape_zyx=(1, 96, 96))
    pixels = tifffile.imread(same_cells.images).astype(given)
    tifffile.imwrite(tmp_path / "given.tif", pixels, photometric="minisblack")
    write_prompts(tmp_path / "p.csv", {0: Prompts(boxes_xyxy=BOXES)})
    with caplog.at_level(logging.WARNING):
        result = predict(
            tmp_path / "given.tif", tmp_path / "out", model=run.folder, prompts=tmp_path / "p.csv"
        )
    assert f"holds {given} and the model was trained on {trained} images" in caplog.text
    assert result.num_masks == 2


def test_prompts_outside_the_images_are_refused_before_anything_is_written(
    tmp_path, base_model, tile
):
    for z, boxes, message in (
        (0, [[10, 10, 97, 50]], "section 0: boxes must lie inside the 96 x 96 px section"),
        (2, [[10, 10, 50, 50]], "prompts must lie on sections 0 to 1 of images, got section 2"),
    ):
        write_prompts(tmp_path / "p.csv", {z: Prompts(boxes_xyxy=np.array(boxes, np.float64))})
        with pytest.raises(InputError, match=message):
            predict(tile.images, tmp_path / "out", model=base_model, prompts=tmp_path / "p.csv")
    assert not (tmp_path / "out").exists()


def test_an_existing_result_is_refused_and_untouched(tmp_path, base_model, tile):
    out = tmp_path / "out"
    out.mkdir()
    (out / "labels.tif").write_bytes(b"corrected by hand")
    with pytest.raises(OutputExistsError):
        predict(tile.images, out, model=base_model, from_masks=tile.masks)
    assert contents(out) == {"labels.tif": b"corrected by hand"}


def test_a_full_disk_leaves_no_half_result(tmp_path, base_model, tile):
    with no_file_above(30_000), pytest.raises(StorageError, match="free some space"):
        predict(tile.images, tmp_path / "out", model=base_model, from_masks=tile.masks)
    assert contents(tmp_path / "out") == {}
    assert {path.name for path in tmp_path.iterdir()} == {"data", "out"}


@pytest.mark.parametrize("both", [False, True])
def test_prompts_come_from_a_file_or_from_masks_but_not_from_both(tmp_path, base_model, tile, both):
    chosen = {"prompts": tmp_path / "p.csv", "from_masks": tile.masks} if both else {}
    with pytest.raises(SettingsError, match="either --prompts or --from-masks or --text"):
        predict(tile.images, tmp_path / "out", model=base_model, **chosen)


def test_predicting_keeps_the_cache_within_its_limit(tmp_path, base_model, tile):
    settings = resolve_settings(
        values={"cache": {"folder": tmp_path / "cache", "limit_gb": 1e-9}},
        overrides=[f"model.name={base_model}"],
    )
    cache = load_base(settings).cache
    frame = ModelFrame((0, 0), 96, 128)
    earlier = cache.fill_one(np.zeros((96, 96), np.uint8), frame)
    predict(
        tile.images,
        tmp_path / "out",
        model=base_model,
        from_masks=tile.masks,
        settings=settings,
    )
    assert cache.get(earlier) is None


def test_predicting_needs_a_trained_run(tmp_path, base_model, sources):
    run = prepare(sources, tmp_path / "run", short_settings(base_model))
    with pytest.raises(FileNotFoundError, match="is not trained yet; run `mitosam train"):
        predict(sources.images, tmp_path / "out", model=run.folder, from_masks=sources.masks)


def test_nothing_is_left_trainable(finished):
    usable = load_tuned_model(finished.run.folder)
    assert not any(p.requires_grad for p in usable.sam.parameters())
    assert torch.is_inference_mode_enabled() is False
