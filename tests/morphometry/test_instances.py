from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.measure import regionprops

from mitosam.errors import InputError
from mitosam.morphometry.crofton import boundary_sizes
from mitosam.morphometry.instances import sphericity
from mitosam.morphometry.skeleton import measure_skeleton
from mitosam.morphometry.summary import summarise
from tests.morphometry.measuring import measured
from tests.morphometry.shapes import ANISOTROPIC, ISOTROPIC, ball, capsule

blocks = arrays(np.uint8, (4, 5, 6), elements=st.sampled_from([0, 0, 0, 1, 2, 3]))
SIZE = (30.0, 8.0, 5.0)
IN_NM = ("nearest_neighbour_nm", "length_nm", "skeleton_length_nm")


def some_bodies(size=SIZE):
    rng = np.random.default_rng(0)
    one, other = ball(90, size, rng).mask, capsule(40, 200, size, rng).mask
    labels = np.zeros(np.add(one.shape, other.shape), np.int64)
    labels[tuple(map(slice, one.shape))] = one * 5
    labels[tuple(slice(n, None) for n in one.shape)] += other * 3
    return labels


@pytest.mark.parametrize("size", [ISOTROPIC, ANISOTROPIC])
def test_a_ball_has_its_volume_and_is_as_round_as_can_be(size):
    """A ball of 120 nm has 14,000 voxels of 8 nm; counting them errs by less than 2 %."""
    body = ball(120, size, np.random.default_rng(7))
    (row,), _ = measured(body.mask.astype(np.uint8), size)
    assert row.volume_um3 == pytest.approx(body.volume / 1e9, rel=0.03)
    assert row.surface_area_um2 == pytest.approx(body.area / 1e6, rel=0.05)
    assert row.sphericity == pytest.approx(1, abs=0.05)
    assert not row.touches_border


def test_a_whole_volume_in_one_piece_gives_the_same():
    labels = some_bodies()
    rows, _ = measured(labels)
    assert [row.instance for row in rows] == [3, 5]
    for row in rows:
        mask = labels == row.instance
        at = np.argwhere(mask)
        assert row.num_voxels == len(at)
        assert (row.z0, row.y0, row.x0) == tuple(at.min(0))
        assert (row.z1, row.y1, row.x1) == tuple(at.max(0) + 1)
        centroid_px = (row.centroid_z_px, row.centroid_y_px, row.centroid_x_px)
        assert centroid_px == pytest.approx(tuple(at.mean(0) + 0.5))
        assert row.centroid_z_nm == pytest.approx(30 * row.centroid_z_px)
        assert row.num_sections == mask.any((1, 2)).sum()
        assert row.largest_area_px == mask.sum((1, 2)).max()
        assert row.largest_area_um2 == pytest.approx(row.largest_area_px * 40e-6)
        area = boundary_sizes(mask.astype(np.uint8), SIZE, 1)[0]
        assert row.surface_area_um2 == pytest.approx(area / 1e6)
        crop = mask[row.z0 : row.z1, row.y0 : row.y1, row.x0 : row.x1]
        assert row.skeleton_length_nm == measure_skeleton(crop, SIZE).length_nm
    assert rows[0].nearest_neighbour_nm == rows[1].nearest_neighbour_nm > 0


def test_sections_are_those_of_scikit_image():
    labels = some_bodies((30.0, 8.0, 8.0))
    _, rows = measured(labels, (30.0, 8.0, 8.0))
    expected = [(z, found) for z, plane in enumerate(labels) for found in regionprops(plane)]
    assert len(rows) == len(expected)
    for row, (z, found) in zip(rows, expected, strict=True):
        assert (row.section, row.instance, row.area_px) == (z, found.label, found.area)
        assert (row.y0, row.x0, row.y1, row.x1) == found.bbox
        centroid = (row.centroid_y_px - 0.5, row.centroid_x_px - 0.5)
        assert centroid == pytest.approx(found.centroid)
        assert row.area_um2 == pytest.approx(found.area * 64e-6)
        assert row.major_axis_nm == pytest.approx(8 * row.major_axis_px)
        # scikit-image takes pixels for points: its axes lack 16 / 12 in their squares.
        squared = row.major_axis_px**2 - 16 / 12
        assert squared == pytest.approx(found.axis_major_length**2, abs=1e-6)
        if found.area > 100:
            assert row.perimeter_px == pytest.approx(found.perimeter_crofton, rel=0.01)


@given(blocks, st.permutations([1, 2, 3]))
def test_other_ids_only_reorder_the_rows(labels, order):
    renamed = np.array([0, *(1000 + id_ for id_ in order)])[labels]
    rows, _ = measured(labels)
    others, _ = measured(renamed)
    by_id = {row.instance: row for row in others}
    for row in rows:
        same = dataclasses.replace(by_id[1000 + order[row.instance - 1]], instance=row.instance)
        assert repr(same) == repr(row)


@given(blocks, st.sampled_from([0, 1, 2]))
def test_flipping_an_axis_moves_instances_and_changes_none(labels, axis):
    rows, _ = measured(labels)
    flipped, _ = measured(np.flip(labels, axis).copy())
    for row, other in zip(rows, flipped, strict=True):
        for name in ("num_voxels", "num_sections", "touches_border", "volume_um3"):
            assert getattr(row, name) == getattr(other, name)
        for name in ("nearest_neighbour_nm", "surface_area_um2", "sphericity"):
            assert getattr(row, name) == pytest.approx(getattr(other, name), nan_ok=True)
        centroid = ("centroid_z_nm", "centroid_y_nm", "centroid_x_nm")[axis]
        extent = labels.shape[axis] * SIZE[axis]
        assert getattr(row, centroid) == pytest.approx(extent - getattr(other, centroid))


@pytest.mark.parametrize("k", [0.25, 3.0])
def test_voxels_k_times_as_large_scale_every_value_by_its_dimension(k):
    labels = some_bodies()
    rows, sections = measured(labels)
    larger, larger_sections = measured(labels, tuple(k * side for side in SIZE))
    for one, other in ((rows, larger), (sections, larger_sections)):
        for row, grown in zip(one, other, strict=True):
            for field in dataclasses.fields(row):
                power = {"um3": 3, "um2": 2, "nm": 1}.get(field.name.rpartition("_")[2], 0)
                expected = getattr(row, field.name) * k**power
                assert getattr(grown, field.name) == pytest.approx(expected, nan_ok=True, rel=1e-6)


def test_without_a_voxel_size_only_what_can_be_counted_is_given():
    rows, sections = measured(some_bodies(), None)
    for row in (*rows, *sections):
        for field in dataclasses.fields(row):
            value = getattr(row, field.name)
            if field.name.endswith(("_nm", "_um2", "_um3")) or field.name == "sphericity":
                assert math.isnan(value)
            elif field.name not in ("confidence", "num_branch_points"):
                assert math.isfinite(value)
    assert rows[0].num_branch_points is None


def test_one_voxel_has_finite_values_but_no_surface():
    labels = np.zeros((3, 5, 5), np.uint16)
    labels[1, 2, 3] = 9
    (row,), (section,) = measured(labels, ISOTROPIC)
    assert row.volume_um3 == pytest.approx(512e-9)
    assert (row.skeleton_length_nm, row.num_branch_points) == (0, 0)
    assert math.isnan(row.surface_area_um2)
    assert math.isnan(row.nearest_neighbour_nm)
    assert all(math.isfinite(getattr(section, f.name)) for f in dataclasses.fields(section))


def test_a_single_section_has_no_volume_but_areas():
    labels = np.zeros((1, 9, 9), np.uint8)
    labels[0, 2:5, 2:6] = 1
    (row,), (section,) = measured(labels, ISOTROPIC)
    for name in ("volume_um3", "surface_area_um2", "sphericity", "centroid_z_nm", *IN_NM):
        assert math.isnan(getattr(row, name))
    assert section.area_um2 == pytest.approx(12 * 64e-6)
    assert not row.touches_border
    summary = summarise([row], labels.shape, ISOTROPIC)
    assert summary.imaged_volume_um3 is None
    assert summary.density_per_um2 == pytest.approx(1 / (81 * 64e-6))


def test_an_instance_in_pieces_is_one_row():
    labels = np.zeros((6, 4, 4), np.uint8)
    labels[0, 0, 0] = labels[4, 3, 3] = 2
    (row,), _ = measured(labels)
    assert (row.num_voxels, row.num_sections, row.z1) == (2, 2, 5)
    assert row.touches_border


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_confidence_is_the_mean_probability_inside(dtype):
    labels = np.zeros((2, 3, 3), np.uint8)
    labels[:, 0, 0] = 1
    trust = np.zeros(labels.shape)
    trust[0, 0, 0], trust[1, 0, 0], trust[1, 2, 2] = 1, 0.6, 0.9
    scale = 1 if dtype == np.float32 else np.iinfo(dtype).max
    (row,), _ = measured(labels, None, (trust * scale).astype(dtype))
    assert row.confidence == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize(
    ("probability", "message"),
    [
        (np.full((2, 3, 3), 1.5), "lie in 0 to 1, .* holds 1.5 to 1.5"),
        (np.full((2, 3, 3), np.nan), "lie in 0 to 1"),
        (np.zeros((2, 3, 4)), r"has \(2, 3, 4\) and labels \(2, 3, 3\)"),
    ],
)
def test_probabilities_that_are_none_are_refused(probability, message):
    with pytest.raises(InputError, match=message):
        measured(np.ones((2, 3, 3), np.uint8), None, probability)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.full((2, 3, 3), -4), "holds the id -4"),
        (np.full((2, 3, 3), 0.5), "must be whole numbers"),
    ],
)
def test_labels_that_are_no_ids_are_refused(labels, message):
    with pytest.raises(InputError, match=message):
        measured(labels)


def test_a_summary_worked_by_hand():
    labels = np.zeros((5, 10, 10), np.uint8)
    labels[1:3, 1:3, 1:3] = 1  # 8 voxels
    labels[2:4, 5:7, 5:9] = 2  # 16 voxels
    labels[0, 0, 0] = 3
    rows, _ = measured(labels, (100.0, 100.0, 100.0))
    summary = summarise(rows, labels.shape, (100.0, 100.0, 100.0))
    assert (summary.num_instances, summary.num_touching_border) == (3, 1)
    assert summary.imaged_volume_um3 == pytest.approx(0.5)
    assert summary.density_per_um3 == pytest.approx(6)
    assert summary.volume_fraction == 25 / 500
    assert summary.without_border.mean_volume_um3 == pytest.approx(0.012)
    assert summary.all_instances.median_voxels == 8
    assert summary.all_instances.mean_volume_um3 == pytest.approx(0.025 / 3)


@given(st.floats(1, 1e6))
def test_the_sphericity_of_a_ball_is_one(radius):
    ball_volume, ball_area = 4 / 3 * math.pi * radius**3, 4 * math.pi * radius**2
    assert sphericity(ball_volume, ball_area) == pytest.approx(1)
