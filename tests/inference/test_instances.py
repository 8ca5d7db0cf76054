from __future__ import annotations

from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from mitosam.data.phantom import make_phantom
from mitosam.evaluation.contingency import count_overlaps
from mitosam.evaluation.instances import score_instances
from mitosam.inference.blocks import BlockGrid, sections_grid
from mitosam.inference.cores import (
    grow_section,
    median_of_sections,
    number_cores,
    section_cores,
    summarise_cores,
)
from mitosam.inference.instance_settings import InstanceSettings
from mitosam.inference.instances import label_maps
from mitosam.inference.joining import join_cores
from tests.inference.true_maps import KEEP_ALL, MAPS, SETTINGS, SHAPES, maps_of, same_partition


def label_truth(labels, *, boundary_px=1, **chosen):
    """The instances found on the maps that a perfect head would draw of these."""
    settings = InstanceSettings(**{"min_area_px": 4, "min_volume_voxels": 4, **chosen})
    return label_maps(maps_of(np.asarray(labels), boundary_px), settings)


def volume_with(*boxes, shape=(6, 20, 24)):
    """Boxes of (z0, z1, y0, y1, x0, x1), numbered from 1."""
    labels = np.zeros(shape, int)
    for number, (z0, z1, y0, y1, x0, x1) in enumerate(boxes, start=1):
        labels[z0:z1, y0:y1, x0:x1] = number
    return labels


def joined_cores(cores, grid, overlap):
    """Each voxel's instance, by blocks that see one pixel of their neighbours."""
    numbered, summaries = [], []
    for number in range(len(grid)):
        box = grid.box(number)
        (z0, y0, x0), (z1, y1, x1) = box.start_zyx, box.stop_zyx
        labels = number_cores(cores[z0:z1, y0 : y1 + 1, x0 : x1 + 1])
        summaries.append(summarise_cores(labels, box, grid.shape_zyx, overlap))
        numbered.append(labels[:, : y1 - y0, : x1 - x0])
    joined = join_cores(grid, summaries.__getitem__, overlap)
    found = np.zeros(grid.shape_zyx, np.uint32)
    for number, labels in enumerate(numbered):
        found[grid.box(number).slices] = joined.of_block(number)[labels]
    return found


def draw_grid(data, shape):
    return BlockGrid(shape, tuple(data.draw(st.integers(1, n)) for n in shape))


@given(shape=SHAPES, seed=st.integers(0, 10**6), share=st.floats(0, 1), data=st.data())
def test_cores_connected_block_by_block_are_those_of_the_whole_stack(shape, seed, share, data):
    cores = np.random.default_rng(seed).random(shape) < share
    expected, _ = ndimage.label(cores, np.ones((3, 3, 3)))
    np.testing.assert_array_equal(joined_cores(cores, draw_grid(data, shape), 0), expected)


@given(shape=SHAPES, seed=st.integers(0, 10**6), share=st.floats(0.3, 0.9), data=st.data())
def test_cores_that_share_pixels_are_linked_alike_whatever_the_blocks(shape, seed, share, data):
    rng = np.random.default_rng(seed)
    cores = ndimage.gaussian_filter(rng.random(shape), 0.8) < np.quantile(rng.random(99), share)
    overlap = data.draw(st.sampled_from([0.2, 0.5, 1.0]))
    whole = joined_cores(cores, sections_grid(shape, shape[0]), overlap)
    np.testing.assert_array_equal(joined_cores(cores, draw_grid(data, shape), overlap), whole)


def steps_from(start_yx, mask):
    """Steps over eight neighbours within the mask from one pixel, -1 where none lead."""
    steps = np.full(mask.shape, -1)
    steps[start_yx] = 0
    waiting = deque([start_yx])
    while waiting:
        y, x = waiting.popleft()
        for dy, dx in ((a, b) for a in (-1, 0, 1) for b in (-1, 0, 1)):
            beside = y + dy, x + dx
            inside = 0 <= beside[0] < mask.shape[0] and 0 <= beside[1] < mask.shape[1]
            if inside and mask[beside] and steps[beside] < 0:
                steps[beside] = steps[y, x] + 1
                waiting.append(beside)
    return steps


@settings(max_examples=50)
@given(
    shape=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    seed=st.integers(0, 10**6),
    share=st.floats(0.2, 1),
)
def test_each_pixel_goes_to_one_of_the_cores_fewest_steps_away(shape, seed, share):
    rng = np.random.default_rng(seed)
    mask = rng.random(shape) < share
    places = [tuple(place) for place in rng.integers(0, shape, (4, 2))]
    cores = np.zeros(shape, int)
    for number, place in enumerate(places, start=3):
        cores[place] = number
    grown = grow_section(cores, mask)
    reach = {cores[p]: steps_from(p, mask) for p in places if mask[p]}
    for pixel in np.ndindex(shape):
        steps = {label: from_it[pixel] for label, from_it in reach.items() if from_it[pixel] >= 0}
        nearest = {label for label in steps if steps[label] == min(steps.values())}
        assert grown[pixel] in (nearest if steps and mask[pixel] else {0})


def test_of_two_cores_equally_near_the_upper_one_wins_then_the_left_one():
    cores = np.zeros((3, 3), int)
    cores[0, 1], cores[2, 1], cores[1, 0], cores[1, 2] = 9, 8, 7, 6
    mask = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], bool)
    assert grow_section(cores, mask)[1, 1] == 9
    mask[0, 1] = False
    assert grow_section(cores, mask)[1, 1] == 7


def test_what_lies_between_the_arms_of_another_instance_does_not_change_it():
    mask = np.zeros((7, 40), bool)
    mask[0], mask[:, 0], mask[6] = True, True, True
    alone = np.where(mask, 0, 0)
    alone[0, 39], alone[6, 39] = 1, 2
    expected = grow_section(alone, mask)
    crowded, cores = mask.copy(), alone.copy()
    crowded[2:5, 3:38] = True
    cores[3, 20] = 5
    grown = grow_section(cores, crowded)
    np.testing.assert_array_equal(np.where(mask, grown, 0), expected)
    assert (grown[2:5, 3:38] == 5).all()


@given(num=st.sampled_from([1, 3, 5, 7]), seed=st.integers(0, 10**6))
def test_the_median_of_sections_is_numpys(num, seed):
    stack = np.random.default_rng(seed).integers(0, 256, (num, 2, 3, 4)).astype(np.uint8)
    before = stack.copy()
    np.testing.assert_array_equal(median_of_sections(list(stack)), np.median(stack, axis=0))
    np.testing.assert_array_equal(stack, before)


@given(maps=MAPS, chosen=SETTINGS)
def test_a_stack_turned_upside_down_has_the_same_instances(maps, chosen):
    assert same_partition(label_maps(maps[::-1], chosen)[::-1], label_maps(maps, chosen))


@given(maps=MAPS, chosen=SETTINGS, axis=st.sampled_from([2, 3]))
def test_a_mirrored_stack_has_as_many_instances_on_the_same_pixels(maps, chosen, axis):
    # Not the very same ones: of two cores equally near, the upper and the left one wins.
    chosen = chosen.model_copy(update={"min_volume_voxels": 1, "min_sections": 1})
    labels, mirrored = label_maps(maps, chosen), label_maps(np.flip(maps, axis), chosen)
    np.testing.assert_array_equal(np.flip(mirrored, axis - 1) > 0, labels > 0)
    assert mirrored.max() == labels.max()


@given(maps=MAPS, chosen=SETTINGS)
def test_instances_are_numbered_without_gaps_lie_in_the_foreground_and_are_large_enough(
    maps, chosen
):
    labels = label_maps(maps, chosen)
    ids, sizes = np.unique(labels[labels > 0], return_counts=True)
    np.testing.assert_array_equal(ids, np.arange(1, len(ids) + 1))
    assert (sizes >= chosen.min_volume_voxels).all()
    if chosen.z_radius == 0:
        assert (maps[:, 0][labels > 0] >= 255 * chosen.foreground_threshold).all()
    for number in ids:
        z = np.flatnonzero((labels == number).any(axis=(1, 2)))
        at_end = z[0] == 0 or z[-1] == len(labels) - 1
        assert at_end or z[-1] - z[0] + 1 >= chosen.min_sections


@given(maps=MAPS, chosen=SETTINGS)
def test_where_no_boundary_parts_anything_instances_are_the_pieces_of_the_foreground(maps, chosen):
    threshold = chosen.foreground_threshold
    chosen = KEEP_ALL.model_copy(
        update={"boundary_threshold": 1, "foreground_threshold": threshold, "link_overlap": 0}
    )
    expected, _ = ndimage.label(maps[:, 0] >= 255 * threshold, np.ones((3, 3, 3)))
    np.testing.assert_array_equal(label_maps(maps, chosen), expected)


@pytest.mark.parametrize("num_sections", [1, 5])
def test_touching_instances_with_a_boundary_between_them_stay_apart(num_sections):
    truth = volume_with(
        (0, num_sections, 3, 12, 2, 11), (0, num_sections, 3, 12, 11, 21),
        shape=(num_sections, 15, 24),
    )  # fmt: skip
    np.testing.assert_array_equal(label_truth(truth), truth)
    assert label_truth(truth, boundary_threshold=1).max() == 1


def test_instances_that_touch_across_sections_only_are_one():
    # No boundary within a section tells of the one between sections.
    truth = volume_with((0, 3, 3, 12, 3, 12), (3, 6, 3, 12, 3, 12))
    np.testing.assert_array_equal(label_truth(truth), truth > 0)


@pytest.mark.parametrize(
    ("shared_px", "overlap", "num"),
    [(0, 0, 1), (0, 0.01, 2), (2, 0.5, 2), (2, 0.4, 1), (3, 0.5, 1), (5, 1, 1), (4, 1, 2)],
)
def test_cores_are_linked_where_the_smaller_is_covered_far_enough(shared_px, overlap, num):
    cores = np.zeros((2, 4, 16), bool)
    cores[0, :2, :10] = True
    cores[1, 1:2, 10 - shared_px : 15 - shared_px] = True  # 5 px, and 20 above
    assert joined_cores(cores, sections_grid(cores.shape, 2), overlap).max() == num


def test_what_lies_one_above_the_other_without_a_boundary_stays_apart_if_it_is_shifted():
    truth = volume_with((0, 3, 3, 13, 2, 12), (3, 6, 12, 20, 10, 20))
    np.testing.assert_array_equal(label_truth(truth, boundary_threshold=1), truth)
    assert label_truth(truth, boundary_threshold=1, link_overlap=0).max() == 1


def test_an_instance_too_thin_to_have_an_inside_survives():
    truth = volume_with((0, 6, 4, 6, 2, 20))
    np.testing.assert_array_equal(label_truth(truth, boundary_px=3, min_area_px=36), truth)
    assert not label_truth(truth, boundary_px=3, min_area_px=37).any()


def test_a_thin_end_is_joined_to_the_thick_rest_by_the_section_between():
    truth = volume_with((0, 3, 5, 15, 5, 15))
    truth[3:, 9:11, 6:14] = 1
    np.testing.assert_array_equal(label_truth(truth, boundary_px=2, min_area_px=16), truth)


def test_specks_that_a_ragged_boundary_leaves_are_no_cores():
    truth = volume_with((0, 1, 2, 18, 2, 22), shape=(1, 20, 24))
    maps = maps_of(truth)
    maps[0, 1, :, 11:14] = 255 * (truth[0, :, 11:14] > 0)
    maps[0, 1, 8:10, 12] = 0  # a speck of two pixels within the boundary
    _, cores = section_cores(*maps[0], InstanceSettings(min_area_px=24))
    assert not cores[8:10, 12].any()
    assert label_maps(maps, InstanceSettings(min_area_px=24, min_volume_voxels=1)).max() == 2
    assert label_maps(maps, InstanceSettings(min_area_px=16, min_volume_voxels=1)).max() == 3


@pytest.mark.parametrize("radius", [1, 2])
def test_a_drop_out_of_one_section_is_filled(radius):
    truth = volume_with((0, 6, 4, 14, 4, 14))
    maps = maps_of(truth)
    maps[3] = 0
    found = label_maps(maps, InstanceSettings(z_radius=radius))
    np.testing.assert_array_equal(found, truth)
    assert label_maps(maps, InstanceSettings(z_radius=0)).max() == 2


def test_what_is_in_one_section_only_goes_by_the_median_or_by_its_span():
    truth = volume_with((0, 6, 2, 9, 2, 9), (3, 4, 11, 18, 12, 20))
    for chosen in ({"z_radius": 1}, {"min_sections": 2}, {"min_volume_voxels": 57}):
        np.testing.assert_array_equal(label_truth(truth, **chosen), truth == 1)
    np.testing.assert_array_equal(label_truth(truth), truth)


def test_what_the_first_or_the_last_section_cuts_may_be_short():
    truth = volume_with((0, 1, 2, 9, 2, 9), (2, 4, 11, 18, 12, 20), (5, 6, 2, 9, 2, 9))
    np.testing.assert_array_equal(label_truth(truth, min_sections=2), truth)
    np.testing.assert_array_equal(label_truth(truth, min_sections=3) > 0, truth % 2 == 1)


def test_an_empty_section_parts_what_is_above_it_from_what_is_below():
    truth = volume_with((0, 2, 4, 14, 4, 14), (3, 6, 4, 14, 4, 14))
    np.testing.assert_array_equal(label_truth(truth), truth)


@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 1, 1), (1, 1, 9), (1, 9, 1), (4, 8, 8)])
def test_black_and_full_maps_of_any_shape_have_no_and_one_instance(shape):
    black = np.zeros((shape[0], 2, *shape[1:]), np.uint8)
    assert not label_maps(black, KEEP_ALL).any()
    full = black.copy()
    full[:, 0] = 255
    assert (label_maps(full, KEEP_ALL) == 1).all()


@pytest.mark.parametrize("shape", [(5, 1, 1), (1, 1, 9), (1, 9, 1), (7, 1, 9)])
def test_volumes_of_a_single_row_keep_their_instances_apart(shape):
    truth = np.zeros(shape, int)
    flat = truth.reshape(-1)
    flat[: flat.size // 3], flat[flat.size // 3 + 1 :] = 1, 1
    expected, _ = ndimage.label(truth, np.ones((3, 3, 3)))
    np.testing.assert_array_equal(label_maps(maps_of(truth), KEEP_ALL), expected)


def test_true_maps_of_the_phantom_give_back_its_instances():
    truth = make_phantom((48, 128, 128), 5, (10.0, 10.0, 10.0)).labels
    found = label_truth(truth, boundary_px=3, min_area_px=8, min_volume_voxels=100)
    scores = score_instances(count_overlaps(found, truth))
    assert scores.num_true > 4
    assert scores.ap50 == 1


@pytest.mark.parametrize("seed", [5, 6, 7])
def test_true_maps_of_far_sections_give_back_most_instances_by_their_overlap(seed):
    truth = make_phantom((20, 160, 160), seed, (40.0, 8.0, 8.0)).labels
    chosen = {"boundary_px": 3, "min_area_px": 8, "min_volume_voxels": 100}
    found, touching = label_truth(truth, **chosen), label_truth(truth, link_overlap=0, **chosen)
    scores = [score_instances(count_overlaps(labels, truth)).ap50 for labels in (found, touching)]
    assert scores[0] >= max(scores[1], 0.7)
