"""The store of a segmentation that is gone on with in other memory than it was begun in."""

from __future__ import annotations

import numpy as np
import pytest

from mitosam.inference.panes import PANE_PX
from mitosam.workflows.segment_volumes import open_store

SHAPE_ZYX = (12, 1200, 1100)


@pytest.fixture
def begun(tmp_path):
    store = open_store(tmp_path, SHAPE_ZYX, 1.25, PANE_PX)
    assert store.grid.block_zyx == (4, 1200, 1100)
    store.maps.write(2, np.ones((2, *store.grid.box(2).shape_zyx), np.uint8))
    return store


@pytest.mark.parametrize("memory_gb", [1.25, 8.0])
def test_what_was_done_in_less_memory_is_kept(begun, memory_gb):
    later = open_store(begun.folder, SHAPE_ZYX, memory_gb, PANE_PX)
    assert later.maps.missing() == [0, 1]
    assert later.maps.check(2)


def test_less_memory_begins_anew(begun):
    assert open_store(begun.folder, SHAPE_ZYX, 1.2, PANE_PX).maps.missing() == list(range(12))


@pytest.mark.parametrize("shape_zyx", [(12, 1100, 1200), (16, 1200, 1100)])
def test_maps_of_another_volume_are_not_kept(begun, shape_zyx):
    assert open_store(begun.folder, shape_zyx, 1.25, PANE_PX).maps.missing() == list(
        range(shape_zyx[0] // 4)
    )
