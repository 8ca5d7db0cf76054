"""Which instances are kept: what is too small, too flat or too uncertain is not."""

from __future__ import annotations

import numpy as np
import pytest

from mitosam.inference.blocks import sections_grid
from mitosam.inference.instance_settings import InstanceSettings
from mitosam.inference.instances import label_maps
from mitosam.inference.map_store import MapStore

PLAIN = InstanceSettings(min_area_px=4, min_volume_voxels=8, link_overlap=0.1)


def make_maps(blocks, shape=(6, 24, 30)):
    """Foreground of some grey in some boxes (z, y, x slices), and no boundary."""
    maps = np.zeros((shape[0], 2, *shape[1:]), np.uint8)
    for (z, y, x), grey in blocks:
        maps[z, 0, y, x] = grey
    return list(maps)


def count(tmp_path, maps, settings):
    """How many are kept; by blocks of two sections they are the same."""
    labels = label_maps(maps, settings)
    shape = (len(maps), *maps[0].shape[1:])
    store = MapStore(tmp_path / "maps", shape, label_grid=sections_grid(shape, 2))
    store.fill(lambda z: maps[z], title="")
    np.testing.assert_array_equal(np.stack(list(store.label(settings))), labels)
    return int(labels.max())


INNER = (slice(1, 5), slice(4, 10), slice(4, 10))
AT_EDGE = (slice(1, 5), slice(14, 20), slice(24, 30))
AT_END = (slice(0, 3), slice(14, 20), slice(4, 10))


@pytest.mark.parametrize(("confidence", "kept"), [(0.0, 2), (0.7, 2), (0.75, 1), (0.95, 1), (1, 1)])
def test_an_instance_must_be_sure_in_half_of_its_voxels(tmp_path, confidence, kept):
    unsure = make_maps([(INNER, 180), (AT_EDGE, 255)])  # 180 / 255 is 0.706
    settings = PLAIN.model_copy(update={"min_confidence": confidence})
    assert count(tmp_path, unsure, settings) == kept


@pytest.mark.parametrize(("sure_rows", "kept"), [(2, 0), (3, 1), (4, 1)])
def test_half_of_the_voxels_is_enough_and_less_is_not(tmp_path, sure_rows, kept):
    z, y, x = INNER
    halves = [(INNER, 180), ((z, slice(y.start, y.start + sure_rows), x), 255)]
    settings = PLAIN.model_copy(update={"min_confidence": 0.9})
    assert count(tmp_path, make_maps(halves), settings) == kept


@pytest.mark.parametrize(("place", "kept"), [(INNER, 0), (AT_EDGE, 1), (AT_END, 1)])
def test_only_what_no_face_cuts_must_be_as_large_as_a_whole_one(tmp_path, place, kept):
    settings = PLAIN.model_copy(update={"min_whole_voxels": 1000})
    assert count(tmp_path, make_maps([(place, 255)]), settings) == kept


@pytest.mark.parametrize("place", [INNER, AT_EDGE, AT_END])
def test_what_is_smaller_than_the_smallest_is_dropped_wherever_it_lies(tmp_path, place):
    settings = PLAIN.model_copy(update={"min_volume_voxels": 1000})
    assert count(tmp_path, make_maps([(place, 255)]), settings) == 0


def test_an_area_smaller_than_the_smallest_volume_is_found_in_one_section():
    maps = [make_maps([(INNER, 255)])[1]]
    settings = InstanceSettings(
        min_volume_voxels=5000, min_whole_voxels=9000, min_sections=2, z_radius=2, min_area_px=20
    )
    assert not label_maps(maps, settings).any()
    assert label_maps(maps, settings.for_one_section()).max() == 1
