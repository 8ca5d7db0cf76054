from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mitosam.errors import StorageError
from mitosam.inference.instances import label_maps
from mitosam.inference.map_store import MapStore, sections_per_block
from tests.full_disk import no_file_above
from tests.inference.true_maps import KEEP_ALL, MAPS, SETTINGS, random_maps
from tests.tiny_runs import KillAt, Remembered


def stored(folder, maps, *, sections_per_block=16, name="maps"):
    store = MapStore(folder / name, len(maps), sections_per_block=sections_per_block)
    store.fill(maps.__getitem__, title="computing")
    return store


def labels_of(store, chosen=KEEP_ALL):
    return np.stack(list(store.label(chosen)))


@settings(max_examples=40)  # each writes files
@given(maps=MAPS, chosen=SETTINGS, data=st.data())
def test_labels_do_not_depend_on_the_blocks(tmp_path_factory, maps, chosen, data):
    size = data.draw(st.integers(1, len(maps)))
    labels = labels_of(stored(tmp_path_factory.mktemp("m"), maps, sections_per_block=size), chosen)
    expected = label_maps(maps, chosen)
    assert labels.dtype == expected.dtype
    np.testing.assert_array_equal(labels, expected)


def test_sections_and_their_medians_are_read_back(tmp_path):
    maps = random_maps((7, 9, 11), 0)
    store = stored(tmp_path, maps, sections_per_block=2)
    for z in (0, 6, 3, 1, 5):
        np.testing.assert_array_equal(store.section(z), maps[z])
        near = [min(max(z + step, 0), 6) for step in (-2, -1, 0, 1, 2)]
        np.testing.assert_array_equal(store.foreground(z, 2), np.median(maps[near, 0], axis=0))


def test_a_stopped_fill_computes_only_the_blocks_that_are_missing(tmp_path):
    maps = random_maps((7, 9, 11), 0)
    store = MapStore(tmp_path, 7, sections_per_block=2)
    with pytest.raises(KeyboardInterrupt):
        store.fill(maps.__getitem__, title="computing", progress=KillAt("computing", 5))
    computed = []
    again, progress = MapStore(tmp_path, 7, sections_per_block=2), Remembered()

    def compute(z):
        computed.append(z)
        return maps[z]

    again.fill(compute, title="computing", progress=progress)
    assert computed == [4, 5, 6]
    np.testing.assert_array_equal(labels_of(again), label_maps(maps, KEEP_ALL))
    again.fill(compute, title="computing")
    assert computed == [4, 5, 6]


@pytest.mark.parametrize("stage", ["finding instances", "connecting instances"])
@pytest.mark.parametrize("block", [0, 1, 2])
def test_labelling_that_was_stopped_begins_anew_and_ends_the_same(tmp_path, stage, block):
    maps = random_maps((6, 12, 12), 1)
    store = stored(tmp_path, maps, sections_per_block=2)
    with pytest.raises(KeyboardInterrupt):
        list(store.label(KEEP_ALL, KillAt(stage, block)))
    again = MapStore(tmp_path / "maps", 6, sections_per_block=2)
    np.testing.assert_array_equal(labels_of(again), label_maps(maps, KEEP_ALL))


def test_a_store_is_labelled_by_several_settings_in_turn(tmp_path):
    maps = random_maps((5, 12, 12), 2)
    store = stored(tmp_path, maps, sections_per_block=2)
    for threshold in (0.3, 0.7, 0.3):
        chosen = KEEP_ALL.model_copy(update={"foreground_threshold": threshold})
        np.testing.assert_array_equal(labels_of(store, chosen), label_maps(maps, chosen))


def test_a_cleared_store_leaves_no_file(tmp_path):
    store = stored(tmp_path, random_maps((5, 12, 12), 2), sections_per_block=2)
    labels_of(store)
    store.clear()
    assert not list((tmp_path / "maps").iterdir())


def test_a_full_disk_is_a_storage_error(tmp_path):
    with no_file_above(8192), pytest.raises(StorageError, match="free some space"):
        stored(tmp_path, random_maps((2, 90, 90), 0))
    assert not list((tmp_path / "maps").iterdir())


@given(height=st.integers(1, 10**5), width=st.integers(1, 10**5))
def test_blocks_of_large_sections_hold_fewer(height, width):
    num = sections_per_block((height, width))
    assert 1 <= num <= 16
    assert num == 1 or num * height * width <= 1 << 24
