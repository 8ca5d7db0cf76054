from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance
from scipy import ndimage

from mitosam.errors import InputError
from mitosam.evaluation.surfaces import SurfaceCollector, measure_surfaces

volumes = arrays(np.bool_, (3, 5, 4))
CUBE = (5.0, 5.0, 5.0)
FLAT = (30.0, 4.0, 6.0)


def surface(mask: np.ndarray) -> np.ndarray:
    """The surface, by erosion; what lies beyond the faces of the volume erodes nothing."""
    return mask & ~ndimage.binary_erosion(mask, border_value=1)


@settings(max_examples=30)
@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
@given(volumes, volumes)
def test_monai_agrees_where_nothing_touches_the_faces(predicted, truth):
    assume(predicted.any() and truth.any())
    predicted, truth = (np.pad(mask, 1) for mask in (predicted, truth))
    ours = measure_surfaces(predicted, truth, FLAT)
    both = [torch.from_numpy(mask[None, None].astype(np.uint8)) for mask in (predicted, truth)]
    asd = compute_average_surface_distance(
        *both, include_background=True, symmetric=True, spacing=FLAT
    )
    hd95 = compute_hausdorff_distance(*both, include_background=True, percentile=95, spacing=FLAT)
    assert ours.asd_nm == pytest.approx(float(asd), rel=1e-5)
    assert ours.hd95_nm == pytest.approx(float(hd95), rel=1e-5)


@given(volumes, volumes)
def test_a_distance_transform_agrees_also_at_the_faces(predicted, truth):
    outer, inner = surface(predicted), surface(truth)
    assume(outer.any() and inner.any())
    outward = ndimage.distance_transform_edt(~inner, sampling=FLAT)[outer]
    inward = ndimage.distance_transform_edt(~outer, sampling=FLAT)[inner]
    ours = measure_surfaces(predicted, truth, FLAT)
    assert ours.asd_nm == pytest.approx(np.concatenate([outward, inward]).mean())
    assert ours.hd95_nm == pytest.approx(max(np.percentile(outward, 95), np.percentile(inward, 95)))


@given(volumes)
def test_a_surface_is_no_distance_from_itself(mask):
    assume(surface(mask).any())
    ours = measure_surfaces(mask, mask, CUBE)
    assert (ours.asd_nm, ours.hd95_nm, ours.why_undefined) == (0, 0, "")


@given(volumes, volumes)
def test_distances_are_symmetric(first, second):
    one, other = measure_surfaces(first, second, FLAT), measure_surfaces(second, first, FLAT)
    assert one.asd_nm == pytest.approx(other.asd_nm, nan_ok=True)
    assert one.hd95_nm == pytest.approx(other.hd95_nm, nan_ok=True)


@given(volumes, volumes, st.floats(0.1, 50))
def test_voxels_k_times_as_large_make_distances_k_times_as_long(predicted, truth, k):
    z, y, x = FLAT
    small = measure_surfaces(predicted, truth, FLAT)
    large = measure_surfaces(predicted, truth, (k * z, k * y, k * x))
    assert large.asd_nm == pytest.approx(k * small.asd_nm, nan_ok=True)
    assert large.hd95_nm == pytest.approx(k * small.hd95_nm, nan_ok=True)


def test_a_case_worked_by_hand():
    truth, predicted = np.zeros((2, 1, 4, 4), bool)
    truth[0, 1, 1] = predicted[0, 1, 1] = predicted[0, 1, 3] = True
    ours = measure_surfaces(predicted, truth, CUBE)
    assert ours.asd_nm == pytest.approx((0 + 10 + 0) / 3)
    assert ours.hd95_nm == pytest.approx(0.95 * 10)  # between the distances 0 and 10


def test_the_cut_through_a_mitochondrion_at_a_face_is_no_surface():
    tube = np.zeros((4, 6, 6), bool)
    tube[:, 1:5, 1:5] = True
    thinner = tube.copy()
    thinner[:, 1] = False
    # The walls hold 12 and 10 voxels of a section: 4 of one lie 1 voxel from the other, 4 of the
    # other 1 voxel from the one, less the 2 of these that stand on its side walls.
    expected = (4 + 2) / (12 + 10)
    assert measure_surfaces(thinner, tube, (1, 1, 1)).asd_nm == pytest.approx(expected)


@pytest.mark.parametrize(
    ("predicted", "truth", "reason"),
    [
        (0, 1, "there is no predicted surface"),
        (1, 0, "there is no true surface"),
        (0, 0, "there is no predicted and no true surface"),
    ],
)
def test_without_a_surface_there_is_no_distance_and_a_reason(predicted, truth, reason):
    section = np.zeros((1, 3, 3), bool)
    section[0, 1, 1] = True
    ours = measure_surfaces(section & bool(predicted), section & bool(truth), CUBE)
    assert math.isnan(ours.asd_nm)
    assert math.isnan(ours.hd95_nm)
    assert ours.why_undefined == reason


def test_no_section_at_all_has_no_surface():
    assert math.isnan(SurfaceCollector(CUBE).result().asd_nm)


def test_sections_may_reuse_one_buffer():
    rng = np.random.default_rng(0)
    predicted, truth = rng.random((2, 4, 6, 6)) < 0.8
    collector, buffer = SurfaceCollector(CUBE), np.empty((6, 6), bool)
    for z in range(4):
        buffer[:] = predicted[z]
        collector.add(buffer, truth[z])
    assert collector.result() == measure_surfaces(predicted, truth, CUBE)


def test_a_section_of_another_shape_is_refused():
    collector = SurfaceCollector(CUBE)
    collector.add(np.ones((2, 2), bool), np.ones((2, 2), bool))
    with pytest.raises(InputError, match=r"got \(2, 3\) after \(2, 2\)"):
        collector.add(np.ones((2, 3), bool), np.ones((2, 3), bool))


def test_volumes_of_unequal_depth_are_refused():
    with pytest.raises(InputError, match="one shape"):
        measure_surfaces(np.ones((2, 2, 2), bool), np.ones((1, 2, 2), bool), CUBE)


def test_voxels_without_a_size_are_refused():
    with pytest.raises(InputError, match="above 0"):
        SurfaceCollector((5.0, 0.0, 5.0))
