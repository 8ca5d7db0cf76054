from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from mitosam.geometry import ModelFrame, Window
from mitosam.models.promptable import ModelPrompts
from mitosam.training.examples import KINDS, PROMPTS_AT_ONCE, PromptSampler
from mitosam.training.settings import PromptMix, TrainingSettings
from tests.training.tiny_examples import INPUT_PX, LOW_RES_PX, disc_labels, make_example

SAMPLER = PromptSampler(TrainingSettings(), input_px=INPUT_PX, low_res_px=LOW_RES_PX)


def sampler(**mix):
    only = {"patch_box": 0, "object_box": 0, "object_point": 0} | mix
    training = TrainingSettings(prompt_mix=PromptMix(**only), prompts_per_tile=4)
    return PromptSampler(training, input_px=INPUT_PX, low_res_px=LOW_RES_PX)


def drawn_kinds(some_sampler, example, times=30):
    rng = np.random.default_rng(0)
    return {g.kind for _ in range(times) for g in some_sampler.draw(example, rng)}


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_kinds_of_the_mix_are_drawn(kind):
    example = make_example(disc_labels(0, 32))
    assert drawn_kinds(sampler(**{kind: 1}), example) == {kind}


def test_a_mix_draws_all_its_kinds_and_no_more_prompts_than_asked_for():
    example = make_example(disc_labels(0, 32), patch_px=16)
    assert drawn_kinds(SAMPLER, example) == set(KINDS)
    rng = np.random.default_rng(0)
    for _ in range(20):
        groups = SAMPLER.draw(example, rng)
        assert 0 < sum(len(group.regions) for group in groups) <= 8


def test_an_empty_tile_asks_nothing():
    example = make_example(np.zeros((32, 32), int))
    assert SAMPLER.draw(example, np.random.default_rng(0)) == []
    assert [g for kind in KINDS for g in SAMPLER.every(example, kind)] == []


def test_the_same_generator_draws_the_same_prompts():
    example = make_example(disc_labels(3, 32), patch_px=16)
    first, second = (SAMPLER.draw(example, np.random.default_rng(5)) for _ in range(2))
    assert [g.regions for g in first] == [g.regions for g in second]
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.targets, other.targets)


@pytest.mark.parametrize("tile_px", [16, 32, 64])
def test_the_target_of_a_patch_box_is_the_mask_of_its_patch(tile_px):
    """At one, two and four pixels a low-res pixel, cut from the tile where the patch lies."""
    labels = disc_labels(1, tile_px, num_discs=6)
    patch_px = tile_px // 2
    example = make_example(labels, patch_px=patch_px)
    (group,) = SAMPLER.every(example, "patch_box")
    patches = [w for w in example.patches if w.cut(labels).any()]
    for patch, target in zip(patches, group.targets, strict=True):
        mask = torch.from_numpy(patch.cut(labels) > 0).float()[None]
        assert torch.equal(target, F.avg_pool2d(mask, tile_px // LOW_RES_PX)[0])


def test_a_tile_smaller_than_the_logits_repeats_its_pixels():
    labels = disc_labels(1, LOW_RES_PX // 2, num_discs=6)
    (group,) = SAMPLER.every(make_example(labels), "patch_box")
    assert np.array_equal(group.targets[0], np.kron(labels > 0, np.ones((2, 2))))


@given(
    tile_px=st.integers(8, 70),
    share=st.floats(0.2, 1),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=60)
def test_regions_of_any_tile_and_patch_size_lie_in_the_logits_where_their_patch_lies(
    tile_px, share, seed
):
    patch_px = max(1, round(share * tile_px))
    labels = np.ones((tile_px, tile_px), int)
    example = make_example(labels, patch_px=patch_px)
    rng = np.random.default_rng(seed)
    for group in sampler(patch_box=1).draw(example, rng):
        logits = torch.randn(len(group.regions), LOW_RES_PX, LOW_RES_PX)
        assert group.crop(logits).shape == group.targets.shape
        assert (group.targets == 1).all()
        # Boxes of full patches, moved outward inside them, are the patches themselves.
        pixels = group.prompts.boxes[0].numpy() * LOW_RES_PX / INPUT_PX
        for (x0, y0, x1, _), region in zip(pixels, group.regions, strict=True):
            assert Window(0, 0, LOW_RES_PX, LOW_RES_PX).contains(region)
            assert abs(region.x - x0) <= 0.5
            assert abs(region.y - y0) <= 0.5
            assert abs(region.width - (x1 - x0)) <= 0.5


def test_only_the_region_of_the_logits_is_compared():
    example = make_example(disc_labels(1, 32, num_discs=6), patch_px=16)
    (group,) = SAMPLER.every(example, "patch_box")
    logits = torch.arange(len(group.regions) * LOW_RES_PX**2, dtype=torch.float32)
    logits = logits.view(-1, LOW_RES_PX, LOW_RES_PX)
    for logit, region, cropped in zip(logits, group.regions, group.crop(logits), strict=True):
        assert (region.height, region.width) == (8, 8)
        assert torch.equal(cropped, logit[region.y : region.y + 8, region.x : region.x + 8])


@pytest.mark.parametrize("kind", ["object_box", "object_point"])
def test_the_targets_of_objects_are_their_masks_over_the_whole_tile(kind):
    labels = disc_labels(2, LOW_RES_PX, num_discs=6)
    (group,) = SAMPLER.every(make_example(labels), kind)
    assert np.array_equal(group.targets, [labels == n + 1 for n in range(labels.max())])
    assert set(group.regions) == {Window(0, 0, LOW_RES_PX, LOW_RES_PX)}


def test_prompts_of_the_truth_lie_where_their_object_lies():
    labels = disc_labels(2, 32, num_discs=6)
    example = make_example(labels, patch_px=16)
    frame = ModelFrame((0, 0), 32, INPUT_PX)
    (boxes,) = SAMPLER.every(example, "object_box")
    for number, box in enumerate(frame.to_section_xy(boxes.prompts.boxes[0].numpy()), start=1):
        x0, y0, x1, y1 = box.astype(int)
        inside = np.zeros_like(labels, bool)
        inside[y0:y1, x0:x1] = True
        assert (inside | (labels != number)).all()
        assert (labels[y0] == number).any()
        assert (labels[:, x1 - 1] == number).any()
    (points,) = SAMPLER.every(example, "object_point")
    found = frame.to_section_xy(points.prompts.points[0, :, 0].numpy()).astype(int)
    assert labels[found[:, 1], found[:, 0]].tolist() == list(range(1, labels.max() + 1))
    assert (points.prompts.labels == 1).all()


def test_a_drawn_patch_box_surrounds_the_patchs_mitochondria_within_the_jitter():
    labels = np.zeros((64, 64), int)
    labels[20:30, 24:40] = 1
    example = make_example(labels)
    frame = ModelFrame((0, 0), 64, INPUT_PX)
    some = PromptSampler(
        TrainingSettings(prompt_mix=PromptMix(object_box=0, object_point=0), jitter_px=5),
        input_px=INPUT_PX,
        low_res_px=LOW_RES_PX,
    )
    moves = []
    for seed in range(40):
        (group,) = some.draw(example, np.random.default_rng(seed))
        box = frame.to_section_xy(group.prompts.boxes[0, 0].numpy())
        moves.append((box - [24, 20, 40, 30]) * [-1, -1, 1, 1])
    assert np.min(moves) == 0
    assert np.max(moves) == 4


def test_crowded_tiles_are_validated_a_few_prompts_at_a_time():
    labels = np.arange(1, 1 + 8 * 8).reshape(8, 8).repeat(4, 0).repeat(4, 1)
    sizes = [len(g.regions) for g in SAMPLER.every(make_example(labels), "object_box")]
    assert sizes == [PROMPTS_AT_ONCE] * 4


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("kind", ["patch_box", "object_box", "object_point"])
def test_the_pieces_of_a_group_are_the_group(count, kind):
    labels = np.arange(1, 6).repeat(12)[:, None].repeat(64, 1)
    (group, *_) = SAMPLER.every(make_example(np.pad(labels, ((0, 4), (0, 0)))), kind)
    pieces = list(group.pieces(count))
    sizes = [len(piece.regions) for piece in pieces]
    assert len(pieces) == min(count, len(group.regions))
    assert max(sizes) - min(sizes) <= 1
    assert sum((piece.regions for piece in pieces), ()) == group.regions
    assert torch.equal(torch.cat([piece.targets for piece in pieces]), group.targets)
    for name in ("boxes", "points", "labels"):
        whole = getattr(group.prompts, name)
        parts = [getattr(piece.prompts, name) for piece in pieces]
        assert parts == [None] * len(pieces) if whole is None else True
        assert whole is None or torch.equal(torch.cat(parts, dim=1), whole)


def test_a_mask_for_all_prompts_goes_with_each_of_them():
    points = torch.rand(1, 3, 1, 2)
    labels = torch.ones(1, 3, 1, dtype=torch.int64)
    shared, own = torch.rand(1, 1, 4, 4), torch.rand(1, 3, 4, 4)
    part = slice(1, 3)
    one = ModelPrompts(points=points, labels=labels, masks=shared).part(part)
    assert torch.equal(one.masks, shared)
    each = ModelPrompts(points=points, labels=labels, masks=own).part(part)
    assert torch.equal(each.masks, own[:, part])
