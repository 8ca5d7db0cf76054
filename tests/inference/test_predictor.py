from __future__ import annotations

import numpy as np
import pytest
import torch

from mitosam.data.intensity import Normalisation
from mitosam.errors import InputError, SettingsError
from mitosam.geometry import ModelFrame
from mitosam.inference.decode import Prediction
from mitosam.inference.predictor import Predictor
from mitosam.inference.section_masks import predict_section
from mitosam.models.load import load_model
from mitosam.models.pixels import prepare_tile
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


def assert_same(found: Prediction, expected: Prediction) -> None:
    for name in ("masks", "iou_predictions", "low_res_logits"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


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


def test_many_prompts_give_what_each_gives_alone_to_the_bit(predictor: Predictor):
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
        assert_same(together.of_prompt(index), alone)


def test_grey_and_rgb_of_the_same_values_are_the_same_image(predictor: Predictor):
    colour = Predictor(predictor.model)
    colour.set_image(np.stack([IMAGE] * 3, axis=-1))
    box = np.array([10, 10, 60, 60])
    np.testing.assert_array_equal(
        colour.predict(box=box).low_res_logits, predictor.predict(box=box).low_res_logits
    )


@pytest.mark.parametrize("as_stored", [np.ndarray, torch.Tensor])
def test_an_embedding_made_before_gives_the_same_masks(predictor: Predictor, as_stored):
    embedding = predictor.model.encode(prepare_tile(IMAGE, ModelFrame((0, 0), 120, 128)))
    other = Predictor(predictor.model)
    stored = embedding[0].numpy() if as_stored is np.ndarray else embedding
    other.set_embedding(stored, IMAGE.shape, ModelFrame((40, 7), 120, 128))
    box = np.array([10, 10, 60, 60])
    assert_same(other.predict(box=box), predictor.predict(box=box))


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


PROMPTS = [
    {"box": np.array([5, 5, 40, 40])},
    {"box": np.array([3, 2, 118, 88])},  # larger than a tile
    {"point_coords": np.array([[60, 45]]), "point_labels": np.array([1])},
    {"point_coords": np.array([[10, 10], [115, 80]]), "point_labels": np.array([1, 0])},
    {"box": np.array([70, 40, 110, 80]), "point_coords": [[90, 60]], "point_labels": [0]},
]


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("multimask_output", [False, True])
def test_in_a_larger_image_each_prompt_has_the_masks_of_predict_section(
    predictor: Predictor, prompt, multimask_output: bool
):
    model = predictor.model
    tiled = Predictor(model, tile_px=50)
    tiled.set_image(IMAGE)
    found = tiled.predict(**prompt, multimask_output=multimask_output)
    asked = Prompts(**{NAMES[name]: np.asarray(values)[None] for name, values in prompt.items()})
    (placed,) = predict_section(model, IMAGE, asked, tile_px=50, multimask_output=multimask_output)
    assert found.masks.shape == (3 if multimask_output else 1, 90, 120)
    np.testing.assert_array_equal(found.masks, placed.in_section((90, 120)))
    np.testing.assert_array_equal(found.low_res_logits, placed.prediction.low_res_logits)


NAMES = {"box": "boxes_xyxy", "point_coords": "points_xy", "point_labels": "point_labels"}


def test_each_tile_is_encoded_once_for_an_image_and_anew_for_the_next(predictor: Predictor):
    asked = []

    def encode(pixels: np.ndarray, frame: ModelFrame) -> torch.Tensor:
        asked.append(frame.origin_yx)
        return predictor.model.encode(prepare_tile(pixels, frame))[0]

    tiled = Predictor(predictor.model, tile_px=60, encode=encode)
    tiled.set_image(IMAGE)
    assert asked == []
    for _ in range(2):
        tiled.predict(box=np.array([5, 5, 20, 20]))
        tiled.predict(box=np.array([100, 5, 115, 20]))
    assert asked == [(0, 0), (0, 60)]
    tiled.set_image(IMAGE)
    tiled.predict(box=np.array([5, 5, 20, 20]))
    assert asked == [(0, 0), (0, 60), (0, 0)]


def test_a_mask_is_refined_on_the_tile_that_it_belongs_to(predictor: Predictor):
    tiled = Predictor(predictor.model, tile_px=60)
    tiled.set_image(IMAGE)
    first = tiled.predict(box=np.array([20, 20, 35, 35]), multimask_output=False)
    # Without the mask this point would be decoded on the tile to the right.
    point = {"point_coords": np.array([[50, 30]]), "point_labels": np.array([1])}
    alone = Predictor(predictor.model)
    alone.set_image(IMAGE[:60, :60])
    expected = alone.predict(**point, mask_input=first.low_res_logits)
    found = tiled.predict(**point, mask_input=first.low_res_logits)
    np.testing.assert_array_equal(found.masks[:, :60, :60], expected.masks)
    assert found.masks.sum() == expected.masks.sum()


def test_a_prompt_that_leaves_the_tile_of_its_mask_is_refused(predictor: Predictor):
    tiled = Predictor(predictor.model, tile_px=60)
    tiled.set_image(IMAGE)
    first = tiled.predict(box=np.array([20, 20, 35, 35]), multimask_output=False)
    with pytest.raises(InputError, match="predict without mask_input"):
        tiled.predict(box=np.array([20, 20, 75, 35]), mask_input=first.low_res_logits)


def test_images_of_the_training_are_normalised_and_those_of_8_bits_are_kept(predictor: Predictor):
    wide = IMAGE.astype(np.uint16) * 257
    trained = Normalisation(kind="percentile", low=0, high=65535, dtype="uint16")
    box = np.array([10, 10, 60, 60])
    for image in (wide, IMAGE):
        other = Predictor(predictor.model, normalisation=trained)
        other.set_image(image)
        assert_same(other.predict(box=box), predictor.predict(box=box))
    with pytest.raises(InputError, match="trained on grey uint16, got float32"):
        other.set_image(IMAGE.astype(np.float32))


def test_an_embedding_of_a_smaller_frame_than_the_image_is_refused(predictor: Predictor):
    embedding = np.zeros(predictor.model.embedding_shape)
    with pytest.raises(InputError, match="frame must hold the image"):
        Predictor(predictor.model).set_embedding(embedding, (90, 120), ModelFrame((0, 0), 100, 128))


def test_a_prompt_without_an_image_is_refused(predictor: Predictor):
    with pytest.raises(SettingsError, match="call set_image first"):
        Predictor(predictor.model).predict(box=np.array([1, 1, 5, 5]))


def test_an_embedding_of_another_shape_is_refused(predictor: Predictor):
    with pytest.raises(InputError, match="has shape"):
        Predictor(predictor.model).set_embedding(
            np.zeros((3, 4, 4)), (9, 9), ModelFrame((0, 0), 9, 128)
        )
