from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mitosam.data.phantom import make_phantom
from mitosam.errors import InputError, SettingsError
from mitosam.evaluation.metrics import iou
from mitosam.inference.mask_nms import FoundMask
from mitosam.inference.point_grid import find_masks, grid_points, segment_by_grid
from mitosam.inference.predictor import Predictor
from mitosam.inference.settings import PointGridSettings
from mitosam.models.load import load_model
from mitosam.models.sam import Sam
from tests.inference.disk_model import CountingEncode, DiskModel, draw_disks
from tests.models.tiny_models import make_tiny_vit_sam

SECTION = np.random.default_rng(0).integers(0, 255, (150, 210), np.uint8)
KEEP_ALL = PointGridSettings(
    points_per_side=3,
    pred_iou_thresh=0,
    stability_score_thresh=0,
    box_nms_thresh=1,
    mask_nms_thresh=1,
    min_area_px=1,
)


@pytest.fixture(scope="module")
def model() -> Sam:
    return make_tiny_vit_sam(input_px=128)


def whole(found: FoundMask, shape_yx: tuple[int, int]) -> np.ndarray:
    section = np.zeros(shape_yx, bool)
    window = found.window
    section[window.y : window.y + window.height, window.x : window.x + window.width] = found.crop
    return section


@pytest.mark.parametrize("shape_yx", [(64, 64), (40, 64), (64, 9), (1, 64)])
def test_a_single_point_gives_what_the_predictor_gives(model: Sam, shape_yx):
    section = SECTION[: shape_yx[0], : shape_yx[1]]
    asked = KEEP_ALL.model_copy(update={"points_per_side": 1})
    found = find_masks(model, section, asked, tile_px=64)
    predictor = Predictor(model, tile_px=64)
    predictor.set_image(section)
    expected = predictor.predict(np.array([[shape_yx[1] / 2, shape_yx[0] / 2]]), np.array([1]))
    order = [i for i in np.argsort(-expected.iou_predictions) if expected.masks[i].any()]
    assert [mask.predicted_iou for mask in found] == pytest.approx(
        expected.iou_predictions[order].tolist(), abs=1e-5
    )
    for mask, index in zip(found, order, strict=True):
        assert np.array_equal(whole(mask, shape_yx), expected.masks[index])


@settings(deadline=None, max_examples=25)
@given(
    shape=st.tuples(st.integers(40, 150), st.integers(40, 150)),
    places=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=6),
    tile_overlap=st.sampled_from([0.3, 0.5]),
)
def test_a_perfect_decoder_finds_each_disk_once(shape, places, tile_overlap):
    centres: list[tuple[float, float]] = []
    for y, x in ((y * shape[0], x * shape[1]) for y, x in places):
        inside = 5 < y < shape[0] - 5 and 5 < x < shape[1] - 5
        if inside and all(np.hypot(y - a, x - b) > 16 for a, b in centres):
            centres.append((y, x))
    section = draw_disks(shape, centres, radius=6)
    model = DiskModel()
    grid = PointGridSettings(points_per_side=12, tile_overlap=tile_overlap)
    result = segment_by_grid(model, section, grid, tile_px=64)
    assert result.instances.labels.max() == len(centres)
    assert np.array_equal(result.instances.labels > 0, section > 0)
    for y, x in centres:
        label = result.instances.labels[int(y), int(x)]
        disk = draw_disks(shape, [(y, x)], radius=6) > 0
        assert np.array_equal(result.instances.labels == label, disk)
    assert np.array_equal(result.maps.foreground, section > 0)
    assert result.instances.confidence.tolist() == pytest.approx([0.9] * len(centres))


def test_a_mask_cut_by_a_tile_is_left_to_the_tile_that_sees_it_whole():
    # Tiles begin at x = 0 and 48; the disk spans 46 to 58, so that the second cuts it.
    section = draw_disks((64, 112), [(30, 52)], radius=6)
    (found,) = find_masks(DiskModel(), section, PointGridSettings(points_per_side=16), tile_px=64)
    assert np.array_equal(whole(found, section.shape), section > 0)


def test_an_object_longer_than_a_tile_is_still_covered():
    section = np.zeros((30, 200), np.uint8)
    section[10:20, 5:195] = 200
    result = segment_by_grid(
        DiskModel(), section, PointGridSettings(points_per_side=16), tile_px=64
    )
    assert np.array_equal(result.instances.labels > 0, section > 0)


def test_objects_are_dropped_by_their_size():
    section = draw_disks((64, 64), [(20, 20)], radius=10)
    section[50:52, 50:52] = 200
    grid = PointGridSettings(points_per_side=32, min_area_px=1)

    def areas(**changes: float) -> list[int]:
        asked = grid.model_copy(update=changes)
        return sorted(mask.area for mask in find_masks(DiskModel(), section, asked, tile_px=64))

    disk = int((section[:40] > 0).sum())
    assert areas() == [4, disk]
    assert areas(min_area_px=5) == [disk]
    assert areas(max_area_share=0.05) == [4]


def test_small_holes_are_filled():
    section = draw_disks((64, 64), [(30, 30)], radius=10)
    section[30, 30] = 0
    grid = PointGridSettings(points_per_side=16, min_mask_region_area=4)
    (found,) = find_masks(DiskModel(), section, grid, tile_px=64)
    assert found.area == (section > 0).sum() + 1


def test_each_tile_is_encoded_once_and_each_point_asked_once():
    model = DiskModel()
    encode = CountingEncode(model)
    section = np.zeros((64, 150), np.uint8)
    find_masks(model, section, PointGridSettings(points_per_side=4), tile_px=64, encode=encode)
    assert encode.origins == [(0, 0), (0, 48), (0, 86)]
    assert model.asked == 3 * 16


@pytest.mark.parametrize("shape_yx", [(1, 1), (1, 300), (300, 1), (7, 64)])
def test_a_thin_section_is_searched_too(model: Sam, shape_yx):
    section = np.resize(SECTION, shape_yx)
    result = segment_by_grid(model, section, KEEP_ALL, tile_px=64)
    assert result.instances.labels.shape == shape_yx
    assert result.maps.boundary.shape == shape_yx
    bright = segment_by_grid(DiskModel(), np.full(shape_yx, 200, np.uint8), KEEP_ALL, tile_px=64)
    assert bright.maps.foreground.all()


def test_a_blank_section_has_no_objects():
    result = segment_by_grid(
        DiskModel(), np.zeros((70, 90), np.uint8), PointGridSettings(points_per_side=4), tile_px=64
    )
    assert not result.instances.labels.any()
    assert not result.maps.foreground.any()


def test_how_many_points_are_decoded_at_once_changes_nothing(model: Sam):
    found, again = (
        find_masks(
            model,
            SECTION[:100],
            KEEP_ALL.model_copy(update={"points_per_batch": num, "mask_nms_thresh": 0.6}),
            tile_px=100,
        )
        for num in (1, 7)
    )
    assert len(found) == len(again) > 3
    for a, b in zip(found, again, strict=True):
        assert a.predicted_iou == pytest.approx(b.predicted_iou, abs=1e-4)
        assert iou(whole(a, SECTION.shape), whole(b, SECTION.shape)) > 0.99


def test_no_two_masks_are_alike_and_all_pass_the_filters(model: Sam):
    grid = KEEP_ALL.model_copy(
        update={
            "stability_score_offset": 0.05,
            "stability_score_thresh": 0.3,
            "mask_nms_thresh": 0.5,
        }
    )
    found = find_masks(model, SECTION, grid, tile_px=100)
    masks = [whole(mask, SECTION.shape) for mask in found]
    assert len(masks) > 2
    assert all(iou(a, b) <= 0.5 for a, b in itertools.combinations(masks, 2))
    assert all(0.3 <= mask.stability_score <= 1 for mask in found)
    scores = [mask.predicted_iou for mask in found]
    assert scores == sorted(scores, reverse=True)


def test_the_embedded_model_finds_mitochondria_of_a_phantom():
    phantom = make_phantom((1, 256, 256), seed=2)
    grid = PointGridSettings(points_per_side=8, pred_iou_thresh=0.7, stability_score_thresh=0.8)
    found = find_masks(load_model(), phantom.images[0], grid, tile_px=256)
    masks = np.stack([whole(mask, (256, 256)) for mask in found])
    ids, areas = np.unique(phantom.labels[phantom.labels > 0], return_counts=True)
    largest = phantom.labels[0] == ids[areas.argmax()]
    assert max(iou(mask, largest) for mask in masks) > 0.7


@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    per_side=st.integers(1, 9),
)
def test_grid_points_lie_evenly_inside_the_section(shape, per_side):
    points = grid_points(shape, 40, per_side)
    assert np.all(points > 0)
    assert np.all(points < [shape[1], shape[0]])
    for axis in (0, 1):
        places = np.unique(points[:, axis])
        assert np.diff(places).max(initial=0) <= 40 / per_side + 1e-9
    assert len(grid_points((40, 40), 40, per_side)) == per_side**2


def test_the_grid_of_a_whole_tile_is_that_of_segment_anything():
    offset = 1 / (2 * 4)
    along = np.linspace(offset, 1 - offset, 4) * 40
    xs, ys = np.tile(along[None, :], (4, 1)), np.tile(along[:, None], (1, 4))
    expected = np.stack([xs, ys], axis=-1).reshape(-1, 2)
    np.testing.assert_allclose(grid_points((40, 40), 40, 4), expected)


def test_what_cannot_be_searched_is_refused(model: Sam):
    with pytest.raises(InputError, match="must be uint8"):
        find_masks(model, SECTION.astype(float), KEEP_ALL, tile_px=64)
    with pytest.raises(SettingsError, match="tile_px must be at least 1"):
        find_masks(model, SECTION, KEEP_ALL, tile_px=0)
