from __future__ import annotations

import numpy as np
import pytest
import torch

from mitosam.errors import InputError, SettingsError
from mitosam.geometry import ModelFrame
from mitosam.inference import decode
from mitosam.inference.predictor import Predictor
from mitosam.models.load import load_model
from mitosam.models.sam import Sam
from mitosam.prompts import PADDING_LABEL, Prompts
from tests.models.parity_cases import make_tile
from tests.models.tiny_models import make_tiny_vit_sam

BOX = np.array([78, 88, 222, 192])
RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 255, (90, 120), np.uint8)


@pytest.fixture(scope="module")
def vit_t() -> Sam:
    return load_model()


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    predictor = Predictor(make_tiny_vit_sam(input_px=128))
    predictor.set_image(IMAGE)
    return predictor


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def ellipse(shape_yx=(512, 512)) -> np.ndarray:
    """The blob of the parity image that BOX goes round."""
    ys, xs = np.mgrid[: shape_yx[0], : shape_yx[1]]
    return np.hypot((ys - 140) / 54, (xs - 150) / 75.6) < 1


def test_the_embedded_model_finds_a_blob_from_its_box_and_from_a_point(vit_t: Sam):
    predictor = Predictor(vit_t)
    predictor.set_image(make_tile())
    by_box = predictor.predict(box=BOX, multimask_output=False)
    assert by_box.masks.shape == (1, 512, 512)
    assert overlap(by_box.masks[0], ellipse()) > 0.9
    by_point = predictor.predict(np.array([[150, 140]]), np.array([1]))
    assert by_point.masks.shape == (3, 512, 512)
    best = by_point.iou_predictions.argmax()
    assert overlap(by_point.masks[best], ellipse()) > 0.85


def test_an_image_that_is_not_square_has_masks_of_its_own_shape(vit_t: Sam):
    predictor = Predictor(vit_t)
    predictor.set_image(make_tile()[:300])
    prediction = predictor.predict(box=BOX, multimask_output=False)
    assert prediction.masks.shape == (1, 300, 512)
    assert overlap(prediction.masks[0], ellipse((300, 512))) > 0.9


def test_low_res_logits_may_be_given_back_as_a_mask(predictor: Predictor):
    first = predictor.predict(box=np.array([10, 10, 60, 60]), multimask_output=False)
    assert first.low_res_logits.shape == (1, 32, 32)
    second = predictor.predict(
        box=np.array([10, 10, 60, 60]), mask_input=first.low_res_logits, multimask_output=False
    )
    assert not np.array_equal(second.low_res_logits, first.low_res_logits)


def test_many_prompts_give_what_each_gives_alone(predictor: Predictor, monkeypatch):
    monkeypatch.setattr(decode, "PROMPTS_AT_ONCE", 2)
    corners = RNG.uniform(0, 40, (5, 2))
    boxes = np.concatenate([corners, corners + RNG.uniform(5, 45, (5, 2))], axis=1)
    points = RNG.uniform(0, 80, (5, 3, 2))
    labels = np.array([[1, 1, 0], [1, -10, -10], [-10, -10, -10], [1, -10, -10], [1, 0, 1]])
    together = predictor.predict_prompts(
        Prompts(boxes_xyxy=boxes, points_xy=points, point_labels=labels)
    )
    for index in range(5):
        given = labels[index] != PADDING_LABEL
        alone = predictor.predict(
            points[index][given] if given.any() else None,
            labels[index][given] if given.any() else None,
            boxes[index],
        )
        np.testing.assert_allclose(
            together.of_prompt(index).low_res_logits, alone.low_res_logits, atol=1e-3, rtol=1e-3
        )
        assert (together.masks[index] == alone.masks).mean() > 0.999


def test_grey_and_rgb_of_the_same_values_are_the_same_image(predictor: Predictor):
    colour = Predictor(predictor.model)
    colour.set_image(np.stack([IMAGE] * 3, axis=-1))
    box = np.array([10, 10, 60, 60])
    np.testing.assert_array_equal(
        colour.predict(box=box).low_res_logits, predictor.predict(box=box).low_res_logits
    )


@pytest.mark.parametrize("as_stored", [np.ndarray, torch.Tensor])
def test_an_embedding_made_before_gives_the_same_masks(predictor: Predictor, as_stored):
    embedding = predictor._embedding[0].numpy()
    other = Predictor(predictor.model)
    stored = embedding if as_stored is np.ndarray else torch.from_numpy(embedding)[None]
    other.set_embedding(stored, IMAGE.shape, ModelFrame((40, 7), 120, 128))
    box = np.array([10, 10, 60, 60])
    np.testing.assert_array_equal(other.predict(box=box).masks, predictor.predict(box=box).masks)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ({}, "needs a box or a point"),
        ({"box": [10, 10, 121, 60]}, "inside the 120 x 90 px section"),
        ({"box": [10, 10, 10, 60]}, "x0 < x1"),
        ({"box": [10, 10, 60]}, "box must hold 4 numbers"),
        ({"box": [[10, 10, 60, 60]]}, "box must hold 4 numbers"),
        ({"box": [10, 10, np.nan, 60]}, "box must hold 4 numbers"),
        ({"point_coords": [[10, 91]], "point_labels": [1]}, "points must lie inside"),
        ({"point_coords": [[10, 10]]}, "points and their labels go together"),
        ({"point_coords": [[10, 10]], "point_labels": [1, 0]}, "0 or 1 for each point"),
        ({"point_coords": [[10, 10]], "point_labels": [-1]}, "0 or 1 for each point"),
        ({"box": [10, 10, 60, 60], "mask_input": np.zeros((8, 8))}, r"shape \(1, 32, 32\)"),
    ],
)
def test_a_prompt_that_cannot_be_used_says_why(predictor: Predictor, prompt, message: str):
    with pytest.raises(InputError, match=message):
        predictor.predict(**prompt)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((9, 9), np.uint16), "must be uint8"),
        (np.zeros((9, 9, 5), np.uint8), "grey, RGB or RGBA"),
        (np.zeros((0, 9), np.uint8), "has shape"),
        (np.zeros((9,), np.uint8), "has shape"),
    ],
)
def test_an_image_that_cannot_be_used_says_why(predictor: Predictor, image, message: str):
    with pytest.raises(InputError, match=message):
        Predictor(predictor.model).set_image(image)


def test_an_image_larger_than_the_tile_is_refused(predictor: Predictor):
    with pytest.raises(InputError, match="longest side is 120"):
        Predictor(predictor.model, tile_px=100).set_image(IMAGE)


def test_a_prompt_without_an_image_is_refused(predictor: Predictor):
    with pytest.raises(SettingsError, match="call set_image first"):
        Predictor(predictor.model).predict(box=np.array([1, 1, 5, 5]))


def test_an_embedding_of_another_shape_is_refused(predictor: Predictor):
    with pytest.raises(InputError, match="has shape"):
        Predictor(predictor.model).set_embedding(
            np.zeros((3, 4, 4)), (9, 9), ModelFrame((0, 0), 9, 128)
        )
