from __future__ import annotations

import numpy as np
import pytest

from mitosam.data.augmentation import AugmentationSettings
from mitosam.data.settings import DataSettings
from mitosam.data.views import AS_IT_IS
from mitosam.workflows.prepare import prepare
from mitosam.workflows.tiles import draw_view, draw_views, encode_tiles, tiles_of
from tests.tiny_runs import short_settings

DATA = DataSettings(patch_px=64, tile_px=96)
FIXED = AugmentationSettings(places="tiles", gamma=0, gain=0)


@pytest.fixture(scope="module")
def volume(tmp_path_factory, sources, base_model):
    run = prepare(sources, tmp_path_factory.mktemp("run") / "run", short_settings(base_model))
    return run.parts()[0].volume


def draw(volume, count, settings, seed=0):
    rng = np.random.default_rng(seed)
    return draw_views(volume, (0, 1), DATA, count, rng, settings)


def test_views_anywhere_are_drawn_one_by_one(volume):
    rng, again = (np.random.default_rng(7) for _ in range(2))
    drawn = draw_views(volume, (0, 1), DATA, 4, rng)
    settings = AugmentationSettings()
    assert drawn == [draw_view(volume, z, DATA, settings, again) for z in (0, 0, 1, 1)]


def test_artefacts_leave_places_where_they_were(volume):
    plain = draw(volume, 20, AugmentationSettings())
    changed = draw(volume, 20, AugmentationSettings(noise=20, artefact_share=1))
    assert [tile.window for tile in plain] == [tile.window for tile in changed]
    for before, after in zip(plain, changed, strict=True):
        assert np.array_equal(before.labels(20), after.labels(20))
        assert not np.array_equal(before.pixels(), after.pixels())


def test_fixed_views_are_the_tiles_and_then_the_tiles_turned(volume):
    tiles = tiles_of(volume, (0, 1), DATA)
    views = draw(volume, 2 * len(tiles) + 3, FIXED)
    assert views[: len(tiles)] == tiles
    assert all(tile.view == AS_IT_IS for tile in tiles)
    assert [view.window for view in views[len(tiles) : 2 * len(tiles)]] == [t.window for t in tiles]
    assert [view.view.symmetry for view in views[len(tiles) :]] == [1] * len(tiles) + [2] * 3


def test_fewer_fixed_views_than_tiles_are_spread_over_the_sections(volume):
    assert [view.section for view in draw(volume, 4, FIXED)] == [0, 0, 1, 1]


def test_the_ninth_round_begins_anew(volume):
    count = len(tiles_of(volume, (0,), DATA))
    views = draw_views(volume, (0,), DATA, 9 * count, np.random.default_rng(0), FIXED)
    assert len({view.pixels().tobytes() for view in views}) == 8 * count
    assert views[8 * count :] == views[:count]


def test_fixed_views_are_encoded_once_for_all_seeds(volume):
    class Keys:
        def fill(self, tiles, *, progress):
            return [tile.read().tobytes() for tile in tiles]

    one, other = (encode_tiles(draw(volume, 30, FIXED, seed), Keys(), 128) for seed in (0, 1))
    assert one == other
