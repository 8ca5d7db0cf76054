from __future__ import annotations

import dataclasses
import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mitosam.io.volume import volume_of_array
from mitosam.morphometry.block_counts import count_block, read_block
from mitosam.morphometry.block_grid import BlockGrid
from mitosam.morphometry.crofton import boundary_sizes, sizes_of_crossings
from mitosam.morphometry.sums import Extents, Gathered, InstanceSums, SectionSums
from tests.morphometry.measuring import SIZE, grid_of

SHAPES = st.tuples(*[st.integers(1, 6)] * 3)
IDS = np.array([0, 0, 0, 1, 2, 9, 2**40])
labels_with_cuts = st.tuples(
    arrays(np.int64, SHAPES, elements=st.sampled_from(IDS.tolist())),
    st.tuples(*[st.sets(st.integers(1, 5))] * 3),
)


def counts_of(labels, grid=None, probability=None):
    """What each block tells, the volume's name being of no account."""
    volume = volume_of_array("labels", labels)
    trust = None if probability is None else volume_of_array("trust", probability)
    grid = grid or BlockGrid.regular(labels.shape, labels.shape)
    return [
        count_block(read_block(volume, trust, grid.box(n)), volume, trust, binary=False)
        for n in range(len(grid))
    ]


def assert_same(one, other, rtol=0.0):
    for field in dataclasses.fields(one):
        found, expected = getattr(one, field.name), getattr(other, field.name)
        np.testing.assert_allclose(found, expected, rtol=rtol, err_msg=field.name)
        assert found.dtype == expected.dtype


def sum_in_any_grouping(parts, rng):
    """Neighbours in a shuffled row are added until one is left."""
    parts = list(parts)
    rng.shuffle(parts)
    while len(parts) > 1:
        at = rng.randrange(len(parts) - 1)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts[0]


@given(labels_with_cuts, st.randoms(use_true_random=False))
def test_any_cut_in_any_order_and_grouping_adds_up_to_the_whole_volume(drawn, rng):
    labels, cuts = drawn
    probability = np.linspace(0, 1, labels.size).reshape(labels.shape)
    (whole,) = counts_of(labels, probability=probability)
    parts = counts_of(labels, grid_of(labels.shape, cuts), probability)
    assert_same(sum_in_any_grouping([part.sections for part in parts], rng), whole.sections)
    instances = sum_in_any_grouping([part.instances for part in parts], rng)
    assert_same(instances, whole.instances, rtol=1e-12)


@given(labels_with_cuts)
def test_probabilities_of_whole_numbers_add_up_exactly(drawn):
    labels, cuts = drawn
    probability = (np.arange(labels.size) % 251).astype(np.uint8).reshape(labels.shape)
    (whole,) = counts_of(labels, probability=probability)
    parts = counts_of(labels, grid_of(labels.shape, cuts), probability)
    assert_same(InstanceSums.joined(part.instances for part in parts), whole.instances)


@given(labels_with_cuts)
def test_each_run_of_the_volume_is_in_one_piece_for_each_block_it_crosses(drawn):
    labels, cuts = drawn
    rebuilt = np.zeros_like(labels)
    for part in counts_of(labels, grid_of(labels.shape, cuts)):
        columns = (getattr(part.runs, f.name) for f in dataclasses.fields(part.runs))
        for instance, z, y, x0, x1 in zip(*columns, strict=True):
            assert not rebuilt[z, y, x0:x1].any()
            rebuilt[z, y, x0:x1] = instance
    np.testing.assert_array_equal(rebuilt, labels)


@given(labels_with_cuts, st.randoms(use_true_random=False))
def test_extents_are_those_that_numpy_finds(drawn, rng):
    labels, cuts = drawn
    parts = [part.sections for part in counts_of(labels, grid_of(labels.shape, cuts))]
    whole = SectionSums.joined(parts)
    depth = labels.shape[0]
    stretches = [Extents.of_sections(whole.between(z, z + 1)) for z in range(depth)]
    extents = sum_in_any_grouping(stretches, rng)
    assert extents.instance.tolist() == np.unique(labels[labels > 0]).tolist()
    for row, instance in enumerate(extents.instance):
        mask = labels == instance
        at = np.argwhere(mask)
        assert extents.num_voxels[row] == len(at)
        assert extents.num_sections[row] == mask.any((1, 2)).sum()
        assert extents.largest_area[row] == mask.sum((1, 2)).max()
        assert extents.start_zyx[row].tolist() == at.min(0).tolist()
        assert extents.stop_zyx[row].tolist() == (at.max(0) + 1).tolist()
        assert extents.sum_zyx[row].tolist() == at.sum(0).tolist()


@given(labels_with_cuts)
def test_surfaces_and_perimeters_are_those_of_the_whole_array(drawn):
    labels, cuts = drawn
    ids, ranked = np.unique(labels, return_inverse=True)
    ranked = ranked.reshape(labels.shape) + (ids[0] != 0)
    gathered, parts = Gathered(), counts_of(labels, grid_of(labels.shape, cuts))
    whole = SectionSums.joined(part.sections for part in parts)
    gathered.add_sections(whole)
    for part in parts:
        gathered.add_instances(part.instances)
    crossings = np.concatenate([gathered.extents.crossings, gathered.instances.crossings], axis=1)
    surfaces = sizes_of_crossings(crossings, SIZE)
    assert surfaces.tolist() == boundary_sizes(ranked, SIZE, int(ranked.max())).tolist()
    perimeters = sizes_of_crossings(whole.crossings, SIZE[1:])
    for section, instance, perimeter in zip(whole.section, whole.instance, perimeters, strict=True):
        assert [perimeter] == boundary_sizes(labels[section] == instance, SIZE[1:], 1).tolist()


@given(labels_with_cuts)
def test_moments_are_those_that_numpy_finds(drawn):
    labels, cuts = drawn
    parts = counts_of(labels, grid_of(labels.shape, cuts))
    rows = SectionSums.joined(part.sections for part in parts)
    for n, (section, instance) in enumerate(zip(rows.section, rows.instance, strict=True)):
        y, x = np.nonzero(labels[section] == instance)
        assert (rows.y0[n], rows.x0[n]) == (y.min(), x.min())
        y, x = y - y.min(), x - x.min()
        expected = [y.sum(), x.sum(), (y * y).sum(), (y * x).sum(), (x * x).sum()]
        assert rows.moments[n].tolist() == expected


def test_gathering_joins_parts_as_they_come():
    labels = np.arange(1, 41).reshape(40, 1, 1)
    grid = BlockGrid.regular(labels.shape, (1, 1, 1))
    parts = counts_of(labels, grid)
    random.Random(0).shuffle(parts)
    gathered = Gathered()
    for part in parts:
        gathered.add_instances(part.instances)
    assert_same(gathered.instances, InstanceSums.joined(part.instances for part in parts))
