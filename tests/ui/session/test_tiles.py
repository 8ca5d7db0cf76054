from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from mitosam.geometry import Window
from mitosam.inference.tiles import encode_tile, overlapping_tiles
from mitosam.ui.session.tiles import TILES_HELD, EncoderTurns, SectionTiles
from tests.ui.session.conftest import SECTIONS, TILE_PX, until

LEFT, RIGHT = Window(0, 0, 100, 100), Window(0, 50, 100, 100)


@pytest.fixture
def tiles(sam, cache) -> SectionTiles:
    return SectionTiles(sam, cache, SECTIONS.__getitem__, SECTIONS.shape, tile_px=TILE_PX)


def test_a_tile_is_what_the_predictor_decodes_on(sam, tiles):
    for window in (LEFT, Window(50, 110, 100, 100), Window(0, 0, 210, 210)):
        for _ in range(2):
            found = tiles.tile(3, window)
            expected = encode_tile(sam, SECTIONS[3], window, None)
            assert torch.equal(found.embedding, expected.embedding)
            assert (found.frame, found.shape_yx) == (expected.frame, expected.shape_yx)


def test_a_tile_is_encoded_once_whoever_asks(tiles, encoder):
    assert tiles.embed(0, LEFT)
    assert not tiles.embed(0, LEFT)
    tiles.tile(0, LEFT)
    tiles.tile(0, RIGHT)
    assert not tiles.embed(0, RIGHT)
    assert encoder.encoded == [(0, (0, 0)), (0, (0, 50))]


def test_what_an_earlier_session_left_in_the_cache_is_not_encoded_again(sam, tiles, cache, encoder):
    tiles.embed(0, LEFT)
    later = SectionTiles(sam, cache, SECTIONS.__getitem__, SECTIONS.shape, tile_px=TILE_PX)
    assert not later.is_embedded(0, LEFT)
    assert not later.embed(0, LEFT)
    assert later.is_embedded(0, LEFT)
    assert len(encoder.encoded) == 1


def test_a_section_is_embedded_when_all_its_tiles_are(tiles):
    assert list(tiles.windows) == overlapping_tiles((150, 210), 100, step_px=50)
    for number, window in enumerate(tiles.windows):
        assert tiles.num_embedded(2) == number
        assert tiles.embedded_sections() == frozenset()
        tiles.embed(2, window)
    assert tiles.is_embedded(2)
    assert tiles.embedded_sections() == {2}


def test_a_tile_that_went_from_the_cache_is_encoded_again(tiles, cache, encoder):
    tiles.embed(0, LEFT)
    for path in cache.folder.rglob("*.safetensors"):
        path.unlink()
    assert tiles.tile(0, LEFT).embedding.dtype == torch.float16
    assert len(encoder.encoded) == 2


def test_the_tiles_of_the_last_clicks_are_held_and_no_others(tiles, cache, encoder):
    places = [(z, window) for z in range(3) for window in tiles.windows]
    assert len(places) > TILES_HELD
    for z, window in places:
        tiles.tile(z, window)
    for path in cache.folder.rglob("*.safetensors"):
        path.unlink()
    encoder.encoded.clear()
    for z, window in places[-TILES_HELD:]:
        tiles.tile(z, window)
    assert encoder.encoded == []
    tiles.tile(*places[0])
    assert len(encoder.encoded) == 1


def test_two_threads_that_want_one_tile_encode_it_once(tiles, encoder):
    encoder.may_go_on.clear()
    found: list[torch.Tensor] = []
    threads = [
        threading.Thread(target=lambda: found.append(tiles.tile(0, LEFT).embedding))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    encoder.may_go_on.set()
    for thread in threads:
        thread.join(60)
    assert len(encoder.encoded) == 1
    assert torch.equal(*found)


def test_who_waits_for_the_encoder_goes_before_who_works_ahead():
    turns, order = EncoderTurns(), []

    def take(name: str, *, urgent: bool) -> threading.Thread:
        def run() -> None:
            with turns.turn(urgent=urgent):
                order.append(name)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    with turns.turn(urgent=False):
        ahead = take("ahead", urgent=False)
        waiting = take("waiting", urgent=True)
        until(lambda: turns._urgent == 1)
    waiting.join(60)
    ahead.join(60)
    assert order == ["waiting", "ahead"]


def test_an_error_hands_the_turn_on():
    turns = EncoderTurns()
    with pytest.raises(ZeroDivisionError), turns.turn(urgent=True):
        raise ZeroDivisionError
    with turns.turn(urgent=False):
        pass


def test_sections_keep_their_own_tiles(tiles):
    first, second = tiles.tile(0, LEFT), tiles.tile(1, LEFT)
    assert not np.array_equal(first.embedding, second.embedding)
