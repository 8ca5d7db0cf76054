"""What a user does in a session, without a window."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mitosam.errors import InputError, MitosamError, OutputExistsError, SettingsError
from mitosam.io.open import open_volume
from tests.ui.session.discs import SHAPE, disc


def add_disc(session, z, y, x, radius):
    return session.add(z, 0, 0, disc(z, y, x, radius))


def everything(session):
    """All that undoing has to bring back."""
    return (
        np.stack([session.labels(z) for z in range(SHAPE[0])]).tobytes(),
        tuple(session.objects(z) for z in range(SHAPE[0])),
        session.finished(),
    )


def test_a_click_gives_candidates_and_accepting_makes_an_object(session):
    view = session.view(1)
    view.add_point(100, 60)
    shown = view.snapshot()
    assert [one.score for one in shown.draft.candidates] == [0.9, 0.7, 0.4]
    assert shown.draft.chosen == 0
    object_id = view.accept()
    np.testing.assert_array_equal(session.labels(1) == object_id, disc(1, 60, 100, 10))
    assert view.snapshot().draft.points == ()
    assert view.snapshot().selected == object_id


def test_another_candidate_can_be_chosen(session):
    view = session.view(0)
    view.set_box(80, 40, 120, 80)
    view.choose(1)
    object_id = view.accept()
    np.testing.assert_array_equal(session.labels(0) == object_id, disc(0, 60, 100, 10))
    with pytest.raises(InputError, match="there are 0 candidates"):
        view.choose(0)


def test_a_lasso_is_a_candidate_as_it_was_drawn(session):
    view = session.view(0)
    view.set_lasso([(10, 10), (30, 10), (30, 50), (10, 50)])
    draft = view.snapshot().draft
    assert [one.kind for one in draft.candidates] == ["sam", "sam", "sam", "drawn"]
    assert draft.chosen == 3
    object_id = view.accept()
    drawn = np.zeros(SHAPE[1:], bool)
    drawn[10:50, 10:30] = True
    np.testing.assert_array_equal(session.labels(0) == object_id, drawn)


def test_only_negative_points_ask_nothing_yet(session):
    view = session.view(0)
    view.add_point(5, 5, positive=False)
    assert view.snapshot().draft.candidates == ()
    with pytest.raises(InputError, match="nothing to accept"):
        view.accept()


def test_a_new_object_leaves_others_their_pixels(session):
    first = add_disc(session, 0, 60, 100, 20)
    second = add_disc(session, 0, 60, 115, 20)
    labels = session.labels(0)
    np.testing.assert_array_equal(labels == first, disc(0, 60, 100, 20))
    np.testing.assert_array_equal(labels == second, disc(0, 60, 115, 20) & ~disc(0, 60, 100, 20))
    with pytest.raises(InputError, match="other objects have these pixels"):
        add_disc(session, 0, 60, 100, 5)
    assert session.undo_title() == "new object"
    session.undo()
    session.undo()
    assert session.undo() is None


def test_adding_to_and_cutting_from_the_selected_object(session):
    view = session.view(0)
    object_id = add_disc(session, 0, 60, 100, 20)
    assert view.select(100, 60) == object_id
    view.set_lasso([(110, 50), (140, 50), (140, 70), (110, 70)])
    view.accept("add")
    assert session.id_at(0, 135, 60) == object_id
    view.set_lasso([(90, 50), (100, 50), (100, 70), (90, 70)])
    view.accept("cut")
    assert session.id_at(0, 95, 60) == 0
    assert session.id_at(0, 105, 60) == object_id
    view.set_lasso([(200, 50), (210, 50), (210, 70)])
    with pytest.raises(InputError, match="does not touch"):
        view.accept("cut")
    view.select_id(None)
    with pytest.raises(InputError, match="select the object first"):
        view.accept("add")


def test_an_object_is_erased_here_or_everywhere(session):
    object_id = add_disc(session, 0, 60, 100, 20)
    for z in (1, 2):
        session.add_to(object_id, z, 0, 0, disc(z, 60, 100, 20))
    assert session.erase(object_id, z=1) == {1}
    assert session.sections_of(object_id) == (0, 2)
    assert session.erase(object_id) == {0, 2}
    assert session.annotated() == frozenset()
    with pytest.raises(InputError, match="there is no object"):
        session.erase(object_id)


def test_merging_keeps_the_first_id_on_all_sections(session):
    first, second = add_disc(session, 0, 60, 100, 20), add_disc(session, 1, 60, 130, 20)
    session.merge([first, second])
    assert session.sections_of(first) == (0, 1)
    assert session.sections_of(second) == ()
    with pytest.raises(InputError, match="two objects or more"):
        session.merge([first, first])


def test_splitting_cuts_at_the_neck_on_all_sections(session):
    both = disc(0, 60, 100, 20) | disc(0, 60, 136, 20)
    object_id = session.add(0, 0, 0, both)
    session.add_to(object_id, 1, 0, 0, both)
    left, right = session.split(object_id, [(0, 60, 100), (0, 60, 136)])
    assert left == object_id
    for z in (0, 1):
        labels = session.labels(z)
        np.testing.assert_array_equal(np.isin(labels, (left, right)), both)
        assert (labels[:, :117] == right).sum() == 0
        assert (labels[:, 120:] == left).sum() == 0
    session.undo()
    assert session.sections_of(right) == ()


@pytest.mark.parametrize(
    ("points", "says"),
    [([(0, 60, 100)], "two points"), ([(0, 60, 100), (0, 5, 5)], "must lie on object")],
)
def test_splitting_needs_a_point_in_each_part(session, points, says):
    object_id = add_disc(session, 0, 60, 100, 20)
    with pytest.raises(InputError, match=says):
        session.split(object_id, points)


def test_carrying_goes_on_until_the_model_sees_nothing_like_it(session):
    object_id = add_disc(session, 0, 60, 100, 20)
    carried = session.carry(object_id, 0, step=1, count=9)
    assert carried.sections == (1, 2)
    assert carried.stopped == "section 4 shows nothing like it"
    np.testing.assert_array_equal(session.labels(2) == object_id, disc(2, 60, 100, 20))
    assert session.carry(object_id, 0, step=-1).stopped == "section 1 is the last one"
    assert "already" in session.carry(object_id, 0, step=1).stopped


def test_carrying_stops_where_another_object_is(session):
    object_id = add_disc(session, 0, 60, 100, 20)
    other = add_disc(session, 1, 60, 100, 22)
    assert f"object {other} there" in session.carry(object_id, 0, step=1).stopped


def test_segmenting_proposes_the_uncertain_first_and_one_id_on_all_sections(session):
    session.segment(range(0, 2))
    assert session.wait("segment", 10)
    found = session.objects(0)
    assert [(one.state, one.confidence) for one in found] == [("proposed", 0.6), ("proposed", 0.9)]
    assert session.sections_of(found[0].id) == (0, 1)
    session.accept([found[0].id])
    assert [one.state for one in session.objects(1)] == ["proposed", "accepted"]
    session.reject([found[1].id])
    assert len(session.objects(1)) == 1


def test_segmenting_again_replaces_proposals_and_leaves_what_was_accepted(session):
    session.segment(range(0, 1))
    session.wait("segment", 10)
    kept, dropped = (one.id for one in session.objects(0))
    session.accept([kept])
    session.segment(range(0, 1))
    session.wait("segment", 10)
    assert {one.id: one.state for one in session.objects(0)}[kept] == "accepted"
    assert dropped not in {one.id for one in session.objects(0)}
    assert len(session.objects(0)) == 2


def test_two_jobs_of_a_kind_are_refused_and_an_error_is_shown(session):
    def fail(work):
        raise InputError("no such thing")

    session._jobs.start("teach", "teaching", fail)
    session.wait("teach", 10)
    (job,) = session.jobs()
    assert (job.running, job.error) == (False, "no such thing")
    with session._lock:  # the job's proposal waits for this
        session.segment(range(0, 1))
        with pytest.raises(SettingsError, match="segmenting section 1 goes on"):
            session.segment(range(1, 2))
    session.wait("segment", 10)


def test_words_propose_objects_and_others_are_refused(session):
    view = session.view(2)
    assert view.ask(" mitochondria ") == "“mitochondria”: 2 objects proposed on section 3"
    with pytest.raises(InputError, match="is not understood"):
        view.ask("cheese")


def test_finishing_a_section_accepts_what_is_proposed_there(session):
    session.segment(range(0, 1))
    session.wait("segment", 10)
    session.finish(0, finished=True)
    assert session.finished() == {0}
    assert {one.state for one in session.objects(0)} == {"accepted"}
    session.undo()
    assert session.finished() == frozenset()
    assert {one.state for one in session.objects(0)} == {"proposed"}


def test_undo_takes_back_prompts_before_edits(session):
    view = session.view(0)
    add_disc(session, 0, 60, 100, 20)
    view.add_point(200, 60)
    view.add_point(210, 60, positive=False)
    view.undo()
    assert len(view.snapshot().draft.points) == 1
    view.undo()
    assert view.snapshot().undo_title == "new object"
    view.undo()
    assert session.annotated() == frozenset()
    view.redo()
    assert session.annotated() == {0}


def test_undo_shows_the_section_that_it_changed(session):
    view = session.view(3)
    add_disc(session, 1, 60, 100, 20)
    view.undo()
    assert view.z == 1


def test_two_tabs_share_labels_and_keep_their_own_outline(session):
    one, other = session.view(0), session.view(0)
    one.add_point(100, 60)
    assert other.snapshot().draft.points == ()
    before = other.snapshot().revision
    one.accept()
    assert other.snapshot().revision > before
    assert len(other.snapshot().objects) == 1


def test_everybody_is_told_of_changes_until_they_leave(session):
    told = []
    leave = session.subscribe(lambda: told.append(session.revision))
    add_disc(session, 0, 60, 100, 20)
    leave()
    leave()
    add_disc(session, 0, 60, 200, 20)
    assert len(told) == 1


def test_the_work_is_there_when_the_session_is_opened_again(session, open_session):
    session.segment(range(0, 2))
    session.wait("segment", 10)
    session.finish(1, finished=True)
    before = everything(session)
    session.close()
    again = open_session()
    assert everything(again) == before
    again.undo()
    assert again.finished() == frozenset()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda view: view.go(4),
        lambda view: view.add_point(-1, 5),
        lambda view: view.add_point(float("nan"), 5),
        lambda view: view.set_box(5, 5, 5, 9),
        lambda view: view.set_box(float("nan"), 5, 7, 9),
        lambda view: view.set_box(400, 5, 500, 9),
        lambda view: view.set_lasso([(1, 1), (2, 2)]),
        lambda view: view.set_lasso([(1, 1), (2, 2), (3, 3)]),
        lambda view: view.session.accept([99]),
        lambda view: view.session.segment(range(2, 9)),
        lambda view: view.session.carry(1, 0, step=2),
        lambda view: view.session.carry(1, 0, step=1),
        lambda view: view.session.image(-1),
    ],
)
def test_a_wrong_request_is_refused_and_changes_nothing(session, wrong):
    view = session.view(0)
    view.add_point(50, 50)
    before, shown = everything(session), view.snapshot()
    with pytest.raises(MitosamError):
        wrong(view)
    assert everything(session) == before
    assert view.snapshot() == shown


@pytest.mark.parametrize(
    ("export_format", "name"), [("tiff", "labels.tif"), ("ome-zarr", "labels.ome.zarr")]
)
def test_exported_labels_are_read_back_as_they_are(session, tmp_path, export_format, name):
    kept = add_disc(session, 1, 60, 100, 20)
    session.segment(range(2, 3))
    session.wait("segment", 10)
    whole = open_volume(session.export(tmp_path / "all" / name, export_format))
    for z in range(SHAPE[0]):
        np.testing.assert_array_equal(whole.section(z), session.labels(z))
    part = session.export(tmp_path / "part" / name, export_format, only_accepted=True)
    assert np.unique(np.stack(list(open_volume(part).sections()))).tolist() == [0, kept]
    with pytest.raises(OutputExistsError):
        session.export(tmp_path / "all" / name, export_format)


def test_measurements_and_coco_hold_every_object(session, tmp_path):
    add_disc(session, 1, 60, 100, 20)
    session.segment(range(2, 3))
    session.wait("segment", 10)
    measured = session.export(tmp_path / "measured", "measurements")
    assert len((measured / "mitochondria.csv").read_text().splitlines()) == 1 + 3
    coco = json.loads(session.export(tmp_path / "labels.json", "coco").read_text())
    assert [row["image_id"] for row in coco["annotations"]] == [2, 3, 3]
    with pytest.raises(SettingsError, match="format must be"):
        session.export(tmp_path / "x", "pdf")


z_of, id_of = st.integers(0, SHAPE[0] - 1), st.integers(1, 6)
ACTIONS = st.one_of(
    st.tuples(st.just("add"), z_of, st.integers(0, 119), st.integers(0, 299)),
    st.tuples(st.just("erase"), id_of),
    st.tuples(st.just("merge"), st.tuples(id_of, id_of)),
    st.tuples(st.just("split"), id_of),
    st.tuples(st.just("carry"), id_of, z_of),
    st.tuples(st.just("accept"), id_of),
    st.tuples(st.just("finish"), z_of, st.booleans()),
    st.tuples(st.just("segment"), z_of),
)


def act(session, action):
    match action:
        case "add", z, y, x:
            add_disc(session, z, y, x, 25)
        case "erase", object_id:
            session.erase(object_id)
        case "merge", ids:
            session.merge(ids)
        case "split", object_id:
            z = session.sections_of(object_id)[0]
            y, x, mask = session.mask_of(object_id, z)
            inside = np.argwhere(mask)
            session.split(object_id, [(z, *(inside[i] + (y, x))) for i in (0, -1)])
        case "carry", object_id, z:
            session.carry(object_id, z, step=1)
        case "accept", object_id:
            session.accept([object_id])
        case "finish", z, finished:
            session.finish(z, finished=finished)
        case "segment", z:
            session.segment(range(z, z + 1))
            session.wait("segment", 10)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(ACTIONS, max_size=8))
def test_undo_brings_back_every_state_and_redo_goes_forward_again(open_session, actions):
    session = open_session()
    try:
        while session.undo():  # what an earlier example left behind
            pass
        states = [everything(session)]
        for action in actions:
            try:
                act(session, action)
            except (InputError, IndexError):
                continue
            if everything(session) != states[-1]:
                states.append(everything(session))
        for state in reversed(states[:-1]):
            session.undo()
            assert everything(session) == state
        for state in states[1:]:
            session.redo()
            assert everything(session) == state
    finally:
        session.close()
