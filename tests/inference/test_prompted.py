from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, special

from mitosam.data.phantom import make_phantom
from mitosam.errors import InputError, SettingsError
from mitosam.evaluation.metrics import iou
from mitosam.inference.predictor import Predictor
from mitosam.inference.prompted import Candidates, segment_candidates
from mitosam.inference.settings import PromptedSettings
from mitosam.models.load import load_model
from mitosam.models.pixels import upsample_logits
from mitosam.models.sam import Sam
from tests.inference.disk_model import CountingEncode, DiskModel, draw_disks
from tests.models.tiny_models import make_tiny_vit_sam

SECTION = np.random.default_rng(0).integers(0, 255, (150, 210), np.uint8)
FUSES = ("replace", "average", "union")
PROMPTS = ("box", "point", "box+point")
# What DiskModel's logits of 8 and -8 mean.
SURE, NOT = special.expit(8), special.expit(-8)


@pytest.fixture(scope="module")
def model() -> Sam:
    return make_tiny_vit_sam(input_px=128)


def candidates_of(mask: np.ndarray, probability: float = 0.8) -> Candidates:
    labels, _ = ndimage.label(mask)
    return Candidates(labels=labels, foreground=np.where(labels > 0, probability, 0.1))


def eroded(section: np.ndarray) -> np.ndarray:
    return ndimage.binary_erosion(section > 0, iterations=1)


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("fuse", FUSES)
def test_a_perfect_decoder_completes_what_the_head_found(fuse, prompt):
    section = draw_disks((100, 130), [(20, 20), (50, 64), (80, 110)])
    result = segment_candidates(
        DiskModel(),
        section,
        candidates_of(eroded(section)),
        PromptedSettings(fuse=fuse, prompt=prompt, box_padding=0.1),
        tile_px=64,
    )
    # Every pixel that the head missed has probability 0.1, which the mean with 1 lifts above 0.5.
    assert np.array_equal(result.instances.labels > 0, section > 0)
    assert result.instances.labels.max() == 3
    assert result.instances.confidence.tolist() == pytest.approx([0.9] * 3)
    assert np.all(result.maps.foreground[section > 0] > 0.5)
    assert np.all(result.maps.foreground[section == 0] < 0.5)


def test_the_foreground_of_each_way_of_fusing_by_hand():
    section = np.zeros((5, 64), np.uint8)
    section[:, 4:8] = 200
    labels = np.zeros((5, 64), np.int64)
    labels[:, 5:9] = 70
    head = np.where(labels > 0, 0.6, 0.2).astype(np.float32)
    expected = {
        "replace": [SURE, SURE, NOT, 0],
        "average": [(0.2 + SURE) / 2, (0.6 + SURE) / 2, (0.6 + NOT) / 2, 0.2],
        "union": [SURE, SURE, 0.6, 0.2],
    }
    columns = {"replace": [4, 5, 6, 7], "average": [4, 5, 6, 7], "union": [4, 5, 6, 7, 8]}
    for fuse in FUSES:
        result = segment_candidates(
            DiskModel(),
            section,
            Candidates(labels=labels, foreground=head),
            PromptedSettings(fuse=fuse, box_padding=0, min_area_px=1),
            tile_px=64,
        )
        # Column 4 is of the mask but outside the box; column 8 in the box but not of the mask.
        row = result.maps.foreground[2, [4, 6, 8, 20]]
        assert row.tolist() == pytest.approx(expected[fuse], abs=1e-6)
        assert np.flatnonzero(result.instances.labels[2]).tolist() == columns[fuse]


def test_a_candidate_that_the_decoder_sees_nothing_in_is_halved_or_dropped():
    section = np.zeros((40, 40), np.uint8)
    mask = np.zeros((40, 40), bool)
    mask[10:20, 10:20] = True
    for fuse, foreground, count in (("replace", NOT, 0), ("average", 0.4, 0), ("union", 0.8, 1)):
        result = segment_candidates(
            DiskModel(), section, candidates_of(mask), PromptedSettings(fuse=fuse), tile_px=64
        )
        assert result.maps.foreground[15, 15] == pytest.approx(foreground, abs=1e-3)
        assert result.instances.labels.max() == count


def test_two_pieces_of_one_object_become_one():
    section = draw_disks((64, 64), [(30, 30)], radius=12)
    pieces = section > 0
    pieces[:, 30] = False
    result = segment_candidates(
        DiskModel(),
        section,
        candidates_of(pieces),
        PromptedSettings(fuse="replace"),
        tile_px=64,
    )
    assert np.array_equal(result.instances.labels, section > 0)


def test_a_box_prompt_gives_what_the_predictor_gives(model: Sam):
    labels = np.zeros(SECTION.shape, np.int32)
    labels[60:80, 70:100] = 3
    result = segment_candidates(
        model,
        SECTION,
        Candidates(labels=labels, foreground=(labels > 0).astype(np.float32)),
        PromptedSettings(fuse="replace", box_padding=0, min_area_px=1),
        tile_px=210,
    )
    predictor = Predictor(model)
    predictor.set_image(SECTION)
    expected = predictor.predict(box=np.array([70, 60, 100, 80]), multimask_output=False)
    assert expected.masks.any()
    # Only a window is brought to pixels here, so that logits of 0 may be rounded to either side.
    upsampled = upsample_logits(torch.from_numpy(expected.low_res_logits), 210)[0, :150].numpy()
    sure = np.abs(upsampled) > 1e-4
    assert sure.mean() > 0.999
    assert np.array_equal((result.instances.labels > 0)[sure], expected.masks[0][sure])
    assert np.array_equal((result.maps.foreground > 0.5)[sure], expected.masks[0][sure])
    elsewhere = (labels == 0) & ~expected.masks[0] & sure
    assert not result.maps.foreground[elsewhere].any()
    assert result.instances.confidence.tolist() == pytest.approx(
        expected.iou_predictions.tolist(), abs=1e-5
    )


def test_the_most_interior_point_is_inside_where_the_middle_is_not():
    ring = draw_disks((64, 64), [(30, 30)], radius=20)
    ring[draw_disks((64, 64), [(30, 30)], radius=10) > 0] = 0
    result = segment_candidates(
        DiskModel(),
        ring,
        candidates_of(ring > 0),
        PromptedSettings(fuse="replace", prompt="point"),
        tile_px=64,
    )
    assert np.array_equal(result.instances.labels > 0, ring > 0)


def test_each_tile_is_encoded_once_and_a_large_candidate_is_asked_of_the_whole_section():
    section = draw_disks((64, 150), [(20, 20), (40, 40), (30, 120)])
    mask = section > 0
    mask[60:62, 10:140] = True
    model = DiskModel()
    encode = CountingEncode(model)
    segment_candidates(
        model, section, candidates_of(mask), PromptedSettings(), tile_px=64, encode=encode
    )
    assert len(encode.origins) == 3
    assert encode.origins.count((0, 0)) == 2
    assert (0, 86) in encode.origins


def test_ids_may_be_any_numbers_and_small_candidates_get_no_prompt():
    section = draw_disks((64, 64), [(20, 20), (45, 45)])
    labels = ndimage.label(section)[0].astype(np.int64)
    labels[labels == 2] = 2**40
    labels[0, 0] = 5
    labels[63] = -1
    model = DiskModel()
    result = segment_candidates(
        model,
        section,
        Candidates(labels=labels, foreground=(section > 0).astype(np.float32)),
        PromptedSettings(),
        tile_px=64,
    )
    assert model.asked == 2
    assert np.array_equal(result.instances.labels > 0, section > 0)


@pytest.mark.parametrize("fuse", FUSES)
@pytest.mark.parametrize("shape_yx", [(1, 1), (1, 200), (9, 64)])
def test_nothing_and_everything_can_be_a_candidate(model: Sam, fuse, shape_yx):
    section = np.resize(SECTION, shape_yx)
    asked = PromptedSettings(fuse=fuse, min_area_px=1)
    none = Candidates(labels=np.zeros(shape_yx, np.uint16), foreground=np.full(shape_yx, 0.3))
    result = segment_candidates(model, section, none, asked, tile_px=64)
    assert not result.instances.labels.any()
    assert np.allclose(result.maps.foreground, 0 if fuse == "replace" else 0.3)
    everything = Candidates(labels=np.ones(shape_yx, np.uint16), foreground=np.ones(shape_yx))
    result = segment_candidates(model, section, everything, asked, tile_px=64)
    assert result.instances.labels.shape == shape_yx
    assert 0 <= result.maps.foreground.min() <= result.maps.foreground.max() <= 1


@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 99),
    fuse=st.sampled_from(FUSES),
    prompt=st.sampled_from(PROMPTS),
)
def test_maps_are_probabilities_and_the_order_of_ids_does_not_matter(model, seed, fuse, prompt):
    rng = np.random.default_rng(seed)
    labels = ndimage.zoom(rng.integers(0, 5, (5, 7)), 16, order=0)
    head = rng.random(labels.shape)
    asked = PromptedSettings(fuse=fuse, prompt=prompt, mask_nms_thresh=0.3, prompts_at_once=3)
    section = SECTION[: labels.shape[0], : labels.shape[1]]
    results = [
        segment_candidates(
            model, section, Candidates(labels=ids, foreground=head), asked, tile_px=64
        )
        for ids in (labels, np.array([0, 4, 3, 1, 2])[labels])
    ]
    for result in results:
        assert result.maps.foreground.dtype == np.float32
        assert 0 <= result.maps.foreground.min() <= result.maps.foreground.max() <= 1
        assert not result.maps.boundary[result.instances.labels == 0].any()
    np.testing.assert_allclose(results[0].maps.foreground, results[1].maps.foreground, atol=1e-3)


def test_the_embedded_model_keeps_what_is_right_already():
    phantom = make_phantom((1, 256, 256), seed=2)
    truth = phantom.labels[0]
    head = Candidates(labels=truth, foreground=np.where(truth > 0, 0.9, 0.1))
    result = segment_candidates(
        load_model(), phantom.images[0], head, PromptedSettings(min_area_px=50), tile_px=256
    )
    assert iou(result.instances.labels > 0, truth > 0) > 0.8
    found = [result.instances.labels == i for i in range(1, result.instances.labels.max() + 1)]
    assert all(iou(a, b) == 0 for a, b in itertools.combinations(found, 2))


def test_what_cannot_be_used_says_why(model: Sam):
    labels = np.zeros((4, 5), np.int32)
    with pytest.raises(InputError, match="one shape"):
        Candidates(labels=labels, foreground=np.zeros((5, 4)))
    with pytest.raises(InputError, match="integer ids, got float64"):
        Candidates(labels=labels.astype(float), foreground=np.zeros((4, 5)))
    with pytest.raises(InputError, match="not logits"):
        Candidates(labels=labels, foreground=np.full((4, 5), -3.0))
    with pytest.raises(InputError, match="not logits"):
        Candidates(labels=labels, foreground=np.full((4, 5), np.nan))
    right = Candidates(labels=labels, foreground=np.zeros((4, 5)))
    with pytest.raises(InputError, match="must have the section's shape"):
        segment_candidates(model, SECTION, right, PromptedSettings(), tile_px=64)
    with pytest.raises(SettingsError, match="tile_px must be at least 1"):
        segment_candidates(model, SECTION[:4, :5], right, PromptedSettings(), tile_px=0)
