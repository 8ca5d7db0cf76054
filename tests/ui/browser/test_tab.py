"""What messages do, on the session whose model outlines discs."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest

from mitosam.errors import InputError
from mitosam.ui.browser.commands import COMMANDS, IN_THE_BROWSER
from mitosam.ui.browser.messages import read_message
from mitosam.ui.browser.tab import Tab

OF_THE_PAGE = {"segment", "teach", "export", "help", *IN_THE_BROWSER}


@pytest.fixture
def tab(session):
    return Tab(session)


def send(tab, do, **values):
    return tab.perform(read_message({"do": do, **values}))


def click(tab, x, y, **values):
    return send(tab, "point", x=float(x), y=float(y), **values)


def run(tab, *names):
    return [send(tab, "run", name=name) for name in names][-1]


def outline(tab, x, y):
    """Make an object: a disc of 10 px."""
    click(tab, x, y)
    run(tab, "accept")
    return tab.scene().selected[0]


def areas(tab):
    return {one.id: one.area_px for one in tab.scene().snapshot.objects}


def test_every_command_does_something_here_or_on_the_page(tab):
    for name in set(COMMANDS) - OF_THE_PAGE:
        with suppress(InputError):  # nothing is selected
            run(tab, name)
        assert name.startswith(("tool-", "choose-")) or name in tab._doings()
    with pytest.raises(InputError, match="nothing that this page does"):
        run(tab, "help")


def test_a_click_gives_candidates_and_keeping_one_gives_an_object(tab):
    click(tab, 50, 50)
    scene = tab.scene()
    assert [one.score for one in scene.snapshot.draft.candidates] == [0.9, 0.7, 0.4]
    y, x, mask = scene.mask
    assert (y, x, mask.shape) == (40, 40, (20, 20))
    run(tab, "choose-2")
    smaller = tab.scene().mask[2]
    assert smaller.sum() < mask.sum()
    run(tab, "accept")
    scene = tab.scene()
    assert scene.mask is None
    assert areas(tab) == {scene.selected[0]: smaller.sum()}


def test_boxes_and_lassos_are_prompts_too(tab):
    send(tab, "box", x0=10.0, y0=10.0, x1=50.0, y1=50.0)
    assert tab.scene().mask[2].shape == (40, 40)
    run(tab, "clear")
    assert tab.scene().mask is None
    send(tab, "lasso", corners=[[100.0, 20.0], [130.0, 20.0], [130.0, 50.0], [100.0, 50.0]])
    chosen = tab.scene().snapshot.draft.chosen
    assert tab.scene().snapshot.draft.candidates[chosen].kind == "drawn"


def test_outlines_are_added_to_and_cut_from_the_selected_object(tab):
    outline(tab, 50, 50)
    (before,) = areas(tab).values()
    click(tab, 65, 50)
    run(tab, "add")
    (more,) = areas(tab).values()
    click(tab, 35, 50)
    run(tab, "cut")
    (less,) = areas(tab).values()
    assert before < more
    assert less < more


def test_keeping_nothing_says_what_to_do_and_still_counts_as_answered(tab):
    with pytest.raises(InputError, match="point at an object first"):
        send(tab, "run", name="accept", serial=5)
    assert tab.scene().answered == 5


def test_several_objects_are_selected_with_shift_and_merged_into_the_first(tab):
    first, second = outline(tab, 30, 40), outline(tab, 90, 40)
    run(tab, "tool-select")
    send(tab, "select", x=30.0, y=40.0)
    send(tab, "select", x=90.0, y=40.0, more=True)
    assert tab.scene().selected == (first, second)
    send(tab, "select", x=90.0, y=40.0, more=True)
    assert tab.scene().selected == (first,)
    send(tab, "pick", id=second, more=True)
    run(tab, "merge")
    assert set(areas(tab)) == {first}
    assert tab.scene().selected == (first,)


def test_merging_needs_a_selection(tab):
    with pytest.raises(InputError, match="select an object first"):
        run(tab, "merge")


def test_an_object_is_split_where_it_is_clicked(tab):
    send(tab, "box", x0=20.0, y0=20.0, x1=80.0, y1=80.0)
    run(tab, "accept")
    assert "Click into each part" in run(tab, "split")
    send(tab, "select", x=30.0, y=50.0)
    send(tab, "select", x=70.0, y=50.0)
    assert tab.scene().cuts == ((30.0, 50.0), (70.0, 50.0))
    run(tab, "accept")
    scene = tab.scene()
    assert len(scene.snapshot.objects) == 2
    assert scene.cuts == ()
    assert scene.tool == "point"


@pytest.mark.parametrize("leave", ["clear", "tool-box", "next"])
def test_a_split_can_be_left(tab, leave):
    outline(tab, 50, 50)
    run(tab, "split")
    send(tab, "select", x=50.0, y=50.0)
    run(tab, leave)
    assert tab.scene().cuts == ()
    assert tab.scene().tool == ("box" if leave == "tool-box" else "point")


def test_erasing_takes_this_section_or_all(tab):
    object_id = outline(tab, 50, 50)
    run(tab, "carry-next")
    run(tab, "erase")
    assert tab.session.sections_of(object_id) == (0,)
    run(tab, "undo")
    send(tab, "pick", id=object_id)
    run(tab, "erase-all")
    assert tab.session.sections_of(object_id) == ()


def test_carrying_follows_the_object_and_says_why_it_stops(tab):
    object_id = outline(tab, 50, 50)
    tab.carry_count = 9
    said = run(tab, "carry-next")
    assert tab.session.sections_of(object_id) == (0, 1, 2)
    assert tab.view.z == 2
    assert said == "section 4 shows nothing like it"


def test_words_propose_and_review_goes_from_the_uncertain_to_the_certain(tab):
    assert "2 objects proposed" in send(tab, "words", text="mitochondria")
    run(tab, "next-uncertain")
    scene = tab.scene()
    uncertain, certain = scene.snapshot.objects
    assert uncertain.confidence < certain.confidence
    assert scene.selected == (uncertain.id,)
    assert scene.look_at.box_xyxy == uncertain.box_xyxy
    run(tab, "reject-proposed")
    assert tab.scene().selected == (certain.id,)
    assert tab.scene().look_at.number > scene.look_at.number
    assert run(tab, "accept-proposed") == "Nothing is proposed on any section"
    assert [one.state for one in tab.scene().snapshot.objects] == ["accepted"]


def test_review_goes_on_to_other_sections_and_round(tab):
    send(tab, "words", text="mitochondria")
    send(tab, "go", z=2)
    send(tab, "words", text="mitochondria")
    seen = []
    for _ in range(5):
        run(tab, "next-uncertain")
        seen.append((tab.view.z, tab.scene().selected[0]))
    assert [z for z, _ in seen] == [2, 2, 0, 0, 2]
    assert seen[4] == seen[0]


def test_enter_accepts_the_proposal_that_is_selected(tab):
    send(tab, "words", text="mitochondria")
    run(tab, "next-uncertain")
    run(tab, "accept")
    states = sorted(one.state for one in tab.scene().snapshot.objects)
    assert states == ["accepted", "proposed"]


@pytest.mark.parametrize("name", ["accept-proposed", "reject-proposed"])
def test_judging_needs_a_proposal(tab, name):
    outline(tab, 50, 50)
    with pytest.raises(InputError, match="select a proposed object first"):
        run(tab, name)


def test_words_that_say_nothing_are_refused(tab):
    with pytest.raises(InputError, match="type a word"):
        send(tab, "words", text="  ")


def test_sections_are_stepped_through_and_finished(tab):
    run(tab, "next", "next")
    assert tab.view.z == 2
    run(tab, "next-10", "previous")
    assert tab.view.z == 2
    run(tab, "finish")
    assert tab.scene().snapshot.finished == {2}
    run(tab, "finish", "first")
    assert tab.scene().snapshot.finished == set()
    assert tab.view.z == 0
    with pytest.raises(InputError, match="sections must lie in 1 to 4"):
        send(tab, "go", z=4)


def test_what_the_canvas_gets_is_plain_and_its_version_follows_the_labels(tab):
    before = tab.scene().to_json()
    click(tab, 50, 50, serial=3)
    drafted = tab.scene().to_json()
    assert drafted["version"] == before["version"]
    assert drafted["answered"] == 3
    mask = drafted["mask"]
    assert sum(mask["runs"]) == mask["width"] * mask["height"]
    run(tab, "accept")
    kept = tab.scene().to_json()
    assert kept["version"] > before["version"]
    assert kept["objects"] == [[kept["selected"][0], False]]
    assert kept["mask"] is None


def test_two_tabs_share_labels_but_not_drafts_or_selections(session):
    one, other = Tab(session), Tab(session)
    send(other, "go", z=1)
    click(other, 100, 50)
    outline(one, 50, 50)
    assert other.scene().mask is not None
    assert other.scene().selected == ()
    assert np.array_equal(other.session.labels(0) > 0, one.session.labels(0) > 0)
    send(other, "go", z=0)
    assert len(other.scene().snapshot.objects) == 1
