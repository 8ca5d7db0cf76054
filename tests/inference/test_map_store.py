from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mitosam.errors import StorageError
from mitosam.geometry import Box
from mitosam.inference import cores, map_store
from mitosam.inference.blocks import BlockGrid, sections_grid
from mitosam.inference.instances import label_maps
from mitosam.inference.map_store import MapStore, sections_per_block
from tests.full_disk import no_file_above
from tests.inference.true_maps import KEEP_ALL, MAPS, SETTINGS, random_maps
from tests.tiny_runs import KillAt, Remembered


def make_store(folder, maps, sections_per_block):
    shape = (len(maps), *maps[0].shape[1:])
    grid = sections_grid(shape, sections_per_block)
    return MapStore(folder, shape, grid=grid, label_grid=grid)


def stored(folder, maps, *, sections_per_block=16, name="maps"):
    store = make_store(folder / name, maps, sections_per_block)
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
    store = make_store(tmp_path, maps, 2)
    with pytest.raises(KeyboardInterrupt):
        store.fill(maps.__getitem__, title="computing", progress=KillAt("computing", 5))
    computed = []
    again, progress = make_store(tmp_path, maps, 2), Remembered()

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
    again = make_store(tmp_path / "maps", maps, 2)
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
    assert make_store(tmp_path / "maps", random_maps((2, 90, 90), 0), 16).maps.missing() == [0]


@contextmanager
def reach_of(px):
    before = cores.REACH_PX
    try:
        cores.REACH_PX = map_store.REACH_PX = px
        yield
    finally:
        cores.REACH_PX = map_store.REACH_PX = before


LONG_MAPS = st.builds(
    random_maps,
    st.tuples(st.integers(1, 4), st.integers(20, 48), st.integers(1, 48)),
    st.integers(0, 10**6),
    smoothness=st.sampled_from([0.0, 0.7, 2.0]),
)


@settings(max_examples=40, deadline=None)  # each writes files
@given(
    maps=LONG_MAPS, chosen=SETTINGS, reach_px=st.sampled_from([1, 2, 5]), seed=st.integers(0, 99),
    data=st.data(),
)  # fmt: skip
def test_labels_do_not_depend_on_blocks_smaller_than_what_they_look_at(
    tmp_path_factory, maps, chosen, reach_px, seed, data
):
    shape = (len(maps), *maps[0].shape[1:])
    maps_grid, label_grid = (
        BlockGrid(
            shape,
            tuple(data.draw(st.integers(least, n)) for n, least in zip(shape, leasts, strict=True)),
        )
        for leasts in ((1, 1, 1), (1, min(8, shape[1]), min(8, shape[2])))
    )
    with reach_of(reach_px):
        store = MapStore(tmp_path_factory.mktemp("m"), shape, grid=maps_grid, label_grid=label_grid)
        stack = np.stack(list(maps), axis=1)
        for number in range(len(maps_grid)):
            store.maps.write(number, stack[:, *maps_grid.box(number).slices])
        found = store.find(chosen, in_any_order(seed))
        whole = found.read(Box((0, 0, 0), shape))
        np.testing.assert_array_equal(whole, label_maps(maps, chosen))


def in_any_order(seed):
    def each_block(stage, blocks, title):
        for number in np.random.default_rng(seed).permutation(blocks):
            stage(int(number))

    return each_block


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
@pytest.mark.parametrize("what", ["array.zarr/c", "done", "summaries"])
@pytest.mark.parametrize("stage", ["maps", "cores", "grown"])
def test_a_damaged_block_is_made_anew(tmp_path, stage, what, damage):
    if stage == "maps" and what == "summaries":
        return
    maps = random_maps((6, 20, 20), 1, smoothness=2.0)
    store = stored(tmp_path, maps, sections_per_block=2)
    expected = labels_of(store)
    files = [p for p in (tmp_path / "maps").rglob("*") if p.is_file()]
    chosen = [p for p in files if f"{stage}/{what}" in p.as_posix()]
    assert chosen
    for path in chosen:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 4
        if damage == "remove":
            path.unlink()
        else:
            path.write_bytes(content if damage == "flip" else content[:-3])
    again = make_store(tmp_path / "maps", maps, 2)
    again.check()
    computed = []
    again.fill(lambda z: (computed.append(z), maps[z])[1], title="computing")
    assert bool(computed) == (stage == "maps")
    np.testing.assert_array_equal(labels_of(again), expected)


@given(height=st.integers(1, 10**5), width=st.integers(1, 10**5))
def test_blocks_of_large_sections_hold_fewer(height, width):
    num = sections_per_block((height, width))
    assert 1 <= num <= 16
    assert num == 1 or num * height * width <= 1 << 24
