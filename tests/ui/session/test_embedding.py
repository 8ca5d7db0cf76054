from __future__ import annotations

import threading
from contextlib import closing

import numpy as np
import pytest

from mitosam.errors import InputError
from mitosam.inference.predictor import Predictor
from mitosam.prompts import Prompts
from mitosam.ui.session.assistant import FoundMask
from mitosam.ui.session.embedding import Embedder, SectionPrompter, _distinct
from mitosam.ui.session.tiles import SectionTiles
from tests.ui.session.conftest import SECTIONS, TILE_PX, until

SHAPE_YX = SECTIONS.shape[1:]
PROMPTS = {
    "a box": {"boxes_xyxy": [[20.5, 30, 70, 80]]},
    "a box larger than a tile": {"boxes_xyxy": [[5, 5, 190, 140]]},
    "a box that only a tile round it holds": {"boxes_xyxy": [[30, 30, 125, 125]]},
    "a point": {"points_xy": [[[130, 60]]], "point_labels": [[1]]},
    "points, some of them negative": {
        "points_xy": [[[130, 60], [140.5, 70], [90, 100]]],
        "point_labels": [[1, 1, 0]],
    },
    "a box and a point": {
        "boxes_xyxy": [[20, 30, 70, 80]],
        "points_xy": [[[40, 50]]],
        "point_labels": [[0]],
    },
}


@pytest.fixture
def tiles(sam, cache) -> SectionTiles:
    return SectionTiles(sam, cache, SECTIONS.__getitem__, SECTIONS.shape, tile_px=TILE_PX)


@pytest.fixture
def prompter(sam, tiles) -> SectionPrompter:
    return SectionPrompter(sam, tiles)


def whole(found: FoundMask) -> np.ndarray:
    section = np.zeros(SHAPE_YX, bool)
    height, width = found.mask.shape
    section[found.window.y : found.window.y + height, found.window.x : found.window.x + width] = (
        found.mask
    )
    return section


def make_prompt(name: str) -> Prompts:
    return Prompts(**{key: np.asarray(values) for key, values in PROMPTS[name].items()})


@pytest.mark.parametrize("name", PROMPTS)
def test_candidates_are_the_predictors_single_mask_and_then_its_three(sam, prompter, name: str):
    prompt = make_prompt(name)
    predictor = Predictor(sam, tile_px=TILE_PX)
    predictor.set_image(SECTIONS[1])
    expected = [
        (mask, score)
        for multimask_output in (False, True)
        for answer in [predictor.predict_prompts(prompt, multimask_output=multimask_output)]
        for mask, score in zip(answer.masks[0], answer.iou_predictions[0], strict=True)
    ]
    kept = [expected[number] for number in _distinct(np.stack([mask for mask, _ in expected]))]
    kept = [(mask, score) for mask, score in kept if mask.any()]
    found = prompter.candidates(1, prompt)
    assert len(found) == len(kept) > 0
    for candidate, (mask, score) in zip(found, kept, strict=True):
        assert np.array_equal(whole(candidate), mask)
        assert candidate.score == score


def test_a_candidate_is_cropped_to_its_own_box(prompter):
    for candidate in prompter.candidates(1, make_prompt("a box")):
        mask = candidate.mask
        assert all(edge.any() for edge in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))
        assert mask.base is None


def test_many_boxes_have_the_first_candidate_of_each(prompter):
    rng = np.random.default_rng(1)
    corners = rng.uniform(0, 100, (7, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(5, 49, (7, 2))], axis=1)
    found = prompter.batch(4, boxes)
    for box, one in zip(boxes, found, strict=True):
        alone = prompter.candidates(4, Prompts(boxes_xyxy=box[None]))[0]
        assert one is not None
        assert (one.window, one.score) == (alone.window, alone.score)
        assert np.array_equal(one.mask, alone.mask)
    assert prompter.batch(4, np.empty((0, 4))) == []


def test_of_two_candidates_that_are_almost_the_same_the_first_stays():
    masks = np.zeros((4, 10, 10), bool)
    masks[0] = True
    masks[1, :, :9] = True  # IoU 0.9
    masks[2] = True
    masks[2, 0, :4] = False  # IoU 0.96 with the first
    assert _distinct(masks) == [0, 1, 3]
    assert _distinct(masks[[3, 3]]) == [0, 1]  # empty ones are left to the caller


def test_a_prompt_outside_the_section_is_refused(prompter, encoder):
    with pytest.raises(InputError, match="inside the 210 x 150 px section"):
        prompter.candidates(0, Prompts(boxes_xyxy=np.array([[0, 0, 211, 10]])))
    assert encoder.encoded == []


def test_a_click_waits_for_one_tile_only(prompter, encoder):
    prompter.candidates(2, make_prompt("a point"))
    assert encoder.encoded == [(2, (0, 100))]


def test_the_section_looked_at_comes_first_and_then_its_neighbours(tiles, encoder):
    embedder = Embedder(tiles, reach=1)
    assert embedder.wait(2, 60)
    embedder.close()
    assert encoder.encoded[: len(tiles.windows)] == [(2, (w.y, w.x)) for w in tiles.windows]


def test_after_a_move_the_direction_of_the_move_comes_first(tiles, encoder):
    encoder.may_go_on.clear()
    with closing(Embedder(tiles, reach=2)) as embedder:
        embedder.focus(4)
        until(lambda: encoder.encoded)
        embedder.focus(3)
        encoder.may_go_on.set()
        until_idle(embedder)
        assert encoder.sections == [4, 3, 2, 1, 5]
        assert encoder.encoded[-2 * len(tiles.windows)][0] == 1, "the rest of 4 came before"
        assert embedder.embedded_sections() == {1, 2, 3, 4, 5}


def test_a_new_focus_goes_before_what_was_planned(tiles, encoder):
    encoder.may_go_on.clear()
    with closing(Embedder(tiles, reach=5)) as embedder:
        embedder.focus(0)
        until(lambda: encoder.encoded)
        embedder.focus(5)
        encoder.may_go_on.set()
        assert embedder.wait(5, 60)
        encoded = encoder.encoded[: 1 + len(tiles.windows)]
        assert [z for z, _ in encoded] == [0] + [5] * len(tiles.windows)


def test_a_click_goes_before_what_is_embedded_ahead(sam, cache, encoder):
    turns_tiles = SectionTiles(sam, cache, SECTIONS.__getitem__, SECTIONS.shape, tile_px=TILE_PX)
    prompter = SectionPrompter(sam, turns_tiles)
    encoder.may_go_on.clear()
    with closing(Embedder(turns_tiles, reach=5)) as embedder:
        embedder.focus(0)
        until(lambda: encoder.encoded)
        click = threading.Thread(target=prompter.candidates, args=(5, make_prompt("a point")))
        click.start()
        until(lambda: turns_tiles._turns._urgent)
        encoder.may_go_on.set()
        click.join(60)
        assert encoder.encoded[1] == (5, (0, 100))


def test_it_says_how_far_it_is_and_calls_back_after_each_tile(tiles, encoder):
    calls = []
    embedder = Embedder(tiles, reach=0, changed=lambda: calls.append(embedder.state()))
    with closing(embedder):
        assert embedder.state() is None
        assert embedder.wait(1, 60)
        until(lambda: len(calls) == len(tiles.windows))
    assert [(state.z, state.done) for state in calls] == [
        (1, done + 1) for done in range(len(tiles.windows))
    ]
    last = calls[-1]
    assert (last.total, last.running, last.eta_s, last.error) == (8, False, 0, None)
    assert all(state.running and state.eta_s > 0 for state in calls[:-1])


def test_an_error_is_kept_for_its_section_and_the_others_go_on(sam, cache, caplog):
    damaged = {3}

    def read(z: int) -> np.ndarray:
        if z in damaged:
            raise InputError(f"section {z} is damaged")
        return SECTIONS[z]

    tiles = SectionTiles(sam, cache, read, SECTIONS.shape, tile_px=TILE_PX)
    with closing(Embedder(tiles, reach=1)) as embedder:
        with pytest.raises(InputError, match="section 3 is damaged"):
            embedder.wait(3, 60)
        until_idle(embedder)
        assert embedder.embedded_sections() == {2, 4}
        state = embedder.state()
        assert (state.error, state.done) == ("section 3 is damaged", 0)
        assert "section 3 is not embedded" in caplog.text
        damaged.clear()
        assert embedder.wait(3, 60)
        assert embedder.state().error is None


def test_closing_stops_after_the_tile_in_work(tiles, encoder):
    encoder.may_go_on.clear()
    embedder = Embedder(tiles)
    embedder.focus(0)
    until(lambda: encoder.encoded)
    closing = threading.Thread(target=embedder.close)
    closing.start()
    until(lambda: embedder._closed)
    encoder.may_go_on.set()
    closing.join(60)
    assert len(encoder.encoded) == 1
    assert not embedder.wait(0, 60)


def until_idle(embedder: Embedder) -> None:
    until(lambda: not embedder.state().running)
