from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitosam.errors import InputError
from mitosam.geometry import ModelFrame, Window
from mitosam.inference.predictor import Predictor
from mitosam.inference.section_masks import predict_section
from mitosam.inference.tiles import choose_windows
from mitosam.models.pixels import prepare_tile
from mitosam.models.sam import Sam
from mitosam.prompts import Prompts
from tests.models.tiny_models import make_tiny_vit_sam

SECTION = np.random.default_rng(0).integers(0, 255, (150, 210), np.uint8)


@pytest.fixture(scope="module")
def model() -> Sam:
    return make_tiny_vit_sam(input_px=128)


def boxes(*rows: tuple[float, float, float, float]) -> Prompts:
    return Prompts(boxes_xyxy=np.array(rows, np.float64))


@given(
    shape=st.tuples(st.integers(20, 300), st.integers(20, 300)),
    tile_px=st.integers(10, 320),
    fractions=st.tuples(*[st.floats(0, 1)] * 4),
)
def test_a_prompt_lies_on_its_tile_and_the_tile_in_the_section(shape, tile_px, fractions):
    height, width = shape
    x0, x1 = sorted(round(fraction * width, 2) for fraction in fractions[:2])
    y0, y1 = sorted(round(fraction * height, 2) for fraction in fractions[2:])
    point = Prompts(points_xy=np.array([[[x0, y0], [x1, y1]]]), point_labels=np.array([[1, 0]]))
    (window,) = choose_windows(point, shape, tile_px)
    assert window.y <= y0 <= y1 <= window.y + window.height
    assert window.x <= x0 <= x1 <= window.x + window.width
    assert window.y + window.height <= max(height, window.height)
    assert window.x + window.width <= max(width, window.width)
    assert window.height in (tile_px, max(shape))


def test_a_small_prompt_gets_the_tile_where_it_is_most_central():
    prompts = boxes((95, 45, 105, 55), (2, 2, 8, 8), (190, 130, 209, 149))
    assert choose_windows(prompts, (150, 210), 100) == [
        Window(0, 50, 100, 100),
        Window(0, 0, 100, 100),
        Window(50, 110, 100, 100),
    ]


def test_a_prompt_larger_than_a_tile_is_asked_on_the_whole_section():
    assert choose_windows(boxes((5, 5, 150, 50)), (150, 210), 100) == [Window(0, 0, 210, 210)]


def test_a_prompt_almost_as_large_as_a_tile_gets_a_tile_round_it():
    (window,) = choose_windows(boxes((30, 30, 125, 125)), (150, 210), 100)
    assert window == Window(27, 27, 100, 100)


def test_masks_are_those_of_the_tile_put_back_in_its_place(model: Sam):
    prompts = boxes((95, 45, 135, 75), (5, 90, 45, 140))
    placed = predict_section(model, SECTION, prompts, tile_px=100)
    for box, found in zip(prompts.boxes_xyxy, placed, strict=True):
        y, x = found.window.y, found.window.x
        predictor = Predictor(model)
        predictor.set_image(SECTION[y : y + 100, x : x + 100])
        expected = predictor.predict(box=box - [x, y, x, y])
        whole = found.in_section(SECTION.shape)
        assert whole.shape == (3, *SECTION.shape)
        assert np.array_equal(whole[:, y : y + 100, x : x + 100], expected.masks)
        assert whole.sum() == expected.masks.sum()


def test_a_prompt_on_the_whole_section_is_that_of_the_predictor(model: Sam):
    box = np.array([5.0, 5, 150, 140])
    (found,) = predict_section(
        model, SECTION, boxes(tuple(box)), tile_px=100, multimask_output=False
    )
    predictor = Predictor(model)
    predictor.set_image(SECTION)
    expected = predictor.predict(box=box, multimask_output=False)
    assert np.array_equal(found.in_section(SECTION.shape), expected.masks)


def test_each_tile_is_encoded_once_and_through_the_callers_function(model: Sam):
    asked = []

    def encode(pixels: np.ndarray, frame: ModelFrame) -> np.ndarray:
        asked.append((frame.origin_yx, pixels.shape))
        return model.encode(prepare_tile(pixels, frame))[0].numpy()

    prompts = boxes((95, 45, 105, 55), (2, 2, 8, 8), (96, 46, 106, 56))
    placed = predict_section(model, SECTION, prompts, tile_px=100, encode=encode)
    assert asked == [((0, 0), (100, 100)), ((0, 50), (100, 100))]
    direct = predict_section(model, SECTION, prompts, tile_px=100)
    assert all(
        np.array_equal(a.prediction.masks, b.prediction.masks)
        for a, b in zip(placed, direct, strict=True)
    )


def test_a_prompt_outside_the_section_is_refused(model: Sam):
    with pytest.raises(InputError, match="inside the 210 x 150 px section"):
        predict_section(model, SECTION, boxes((5, 5, 211, 50)), tile_px=100)


def test_a_prompt_of_padding_alone_is_refused(model: Sam):
    padding = Prompts(points_xy=np.zeros((1, 1, 2)), point_labels=np.full((1, 1), -10))
    with pytest.raises(InputError, match="only padding"):
        predict_section(model, SECTION, padding, tile_px=100)
