"""The dock widget in a viewer: what is clicked and drawn reaches the session, and is shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("napari", reason="needs napari: make test-napari")

from napari.utils.notifications import notification_manager

from mitosam.ui.napari.dock.canvas import NEGATIVE, OUTLINE, POSITIVE, PROPOSED, SELECTED
from mitosam.ui.napari.dock.commands import COMMANDS
from mitosam.ui.napari.dock.controller import Controller
from mitosam.ui.napari.dock.panel import Panel
from mitosam.ui.napari.dock.widget import SessionWidget
from mitosam.ui.session.snapshot import Comparison
from tests.ui.session.discs import disc


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer()


@pytest.fixture
def widget(viewer, session, qtbot, settle):
    widget = SessionWidget(viewer)
    viewer.window.add_dock_widget(widget)
    widget.take(session)
    widget.controller.canvas.go(0)  # napari begins in the middle
    settle(widget.controller)
    yield widget
    widget.leave()


@pytest.fixture
def controller(widget) -> Controller:
    return widget.controller


@pytest.fixture
def panel(widget) -> Panel:
    return widget.panel


def click(controller, x, y):
    """A click into the middle of pixel x, y with napari's own tool for points."""
    controller.canvas.prompts.add((controller.canvas.z, y, x))


def section(layer, z):
    return np.asarray(layer.data[z])


def test_the_session_is_five_layers_with_the_prompts_on_top(viewer, controller):
    kinds = [type(layer).__name__ for layer in viewer.layers]
    assert kinds == ["Image", "Labels", "Labels", "Shapes", "Points"]
    assert viewer.layers.selection.active == controller.canvas.prompts
    assert controller.canvas.prompts.mode == "add"


def test_a_click_shows_the_outline_and_enter_makes_it_an_object(controller, settle, session):
    click(controller, 100, 60)
    settle(controller)
    assert np.array_equal(
        section(controller.canvas.outline, 0) == OUTLINE, disc(0, 60.5, 100.5, 10)
    )
    press(controller, "Enter")
    settle(controller)
    assert np.array_equal(session.labels(0) == 1, disc(0, 60.5, 100.5, 10))
    assert np.array_equal(section(controller.canvas.labels, 0), session.labels(0))
    assert controller.selected == (1,)
    assert len(controller.canvas.prompts.data) == 0


def press(controller, key):
    """What a key does while the canvas' active layer has the keyboard."""
    layer = controller.canvas.prompts
    layer.keymap[next(k for k in layer.keymap if str(k) == str(_binding(key)))](layer)


def _binding(key):
    from napari.utils.key_bindings import coerce_keybinding

    return coerce_keybinding(key)


def test_every_command_has_a_key_of_its_own_that_napari_understands(controller):
    keys = [command.key for command in COMMANDS.values() if command.key]
    assert len({str(_binding(key)) for key in keys}) == len(keys)
    for layer in controller.canvas.layers:
        assert {str(key) for key in layer.keymap} >= {str(_binding(key)) for key in keys}


def test_shift_makes_a_point_negative_and_it_is_red(controller, settle):
    click(controller, 100, 60)
    controller.canvas._shift = True
    click(controller, 110, 60)
    settle(controller)
    signs = [positive for *_, positive in controller.view.snapshot().draft.points]
    assert signs == [True, False]
    colours = controller.canvas.prompts.face_color
    assert np.allclose(colours, [rgba(POSITIVE), rgba(NEGATIVE)])


def rgba(colour):
    from napari.utils.colormaps.standardize_color import transform_color

    return transform_color(colour)[0]


def test_a_point_that_is_removed_is_removed_from_the_outline(controller, settle):
    for x in (50, 100):
        click(controller, x, 60)
    settle(controller)
    controller.canvas.prompts.remove([0])
    settle(controller)
    assert controller.view.snapshot().draft.points == ((100.5, 60.5, True),)


def test_a_dragged_box_asks_for_what_is_in_it(controller, settle):
    controller.tool_box()
    corners = [(0, 19.5, 79.5), (0, 19.5, 119.5), (0, 59.5, 119.5), (0, 59.5, 79.5)]
    controller.canvas.shapes.add(np.array(corners), shape_type="rectangle")
    settle(controller)
    assert controller.view.snapshot().draft.box_xyxy == (80, 20, 120, 60)
    assert np.array_equal(section(controller.canvas.outline, 0) == OUTLINE, disc(0, 40, 100, 20))
    assert controller.canvas.shapes.mode == "add_rectangle"


def test_a_lasso_is_a_candidate_itself(controller, panel, settle):
    corners = [(0, 9.5, 9.5), (0, 9.5, 29.5), (0, 29.5, 29.5), (0, 29.5, 9.5)]
    controller.canvas.shapes.add(np.array(corners), shape_type="polygon")
    settle(controller)
    last = panel.candidates.item(panel.candidates.count() - 1)
    assert "drawn" in last.text()
    assert panel.candidates.currentRow() == panel.candidates.count() - 1
    assert (section(controller.canvas.outline, 0) == OUTLINE).sum() == 400


def test_candidates_are_listed_with_their_scores_and_chosen_by_number(controller, panel, settle):
    click(controller, 100, 60)
    settle(controller)
    texts = [panel.candidates.item(row).text() for row in range(panel.candidates.count())]
    assert [text.split()[2] for text in texts] == ["0.90", "0.70", "0.40"]
    controller.choose_2()
    settle(controller)
    assert np.array_equal(section(controller.canvas.outline, 0) == OUTLINE, disc(0, 60.5, 100.5, 5))


def test_stepping_through_the_viewer_moves_the_session_and_ends_the_outline(
    controller, viewer, settle
):
    click(controller, 100, 60)
    settle(controller)
    viewer.dims.set_current_step(0, 2)
    settle(controller)
    assert controller.view.z == 2
    assert len(controller.canvas.prompts.data) == 0


def test_undo_takes_back_prompts_then_edits_and_shows_where(controller, viewer, settle, session):
    click(controller, 100, 60)
    settle(controller)
    controller.keep()
    settle(controller)
    viewer.dims.set_current_step(0, 2)
    settle(controller)
    click(controller, 50, 50)
    settle(controller)
    controller.undo()
    settle(controller)
    assert (controller.canvas.z, session.labels(0).max()) == (2, 1)
    controller.undo()
    settle(controller)
    assert (controller.canvas.z, session.labels(0).max()) == (0, 0)
    controller.redo()
    settle(controller)
    assert session.labels(0).max() == 1


def test_objects_are_selected_on_the_canvas_and_merged(controller, panel, settle, session):
    for x in (50, 120):
        session.add(0, 0, 0, disc(0, 60, x, 15))
    controller.picked(50, 60, together=False)
    controller.picked(120, 60, together=True)
    controller.picked(200, 10, together=True)
    settle(controller)
    assert controller.selected == (1, 2)
    assert len(panel.objects.selectedItems()) == 2
    outlines = section(controller.canvas.outline, 0)
    assert np.array_equal(outlines == SELECTED, session.labels(0) > 0)
    controller.merge()
    settle(controller)
    assert set(np.unique(session.labels(0))) == {0, 1}
    assert controller.selected == (1,)


def test_an_object_is_split_by_a_point_in_each_part(controller, settle, session):
    two = disc(0, 60, 50, 15) | disc(0, 60, 78, 15)
    session.add(0, 0, 0, two)
    controller.select([1])
    for x in (50, 78):
        click(controller, x, 60)
    settle(controller)
    controller.split()
    settle(controller)
    assert controller.selected == (1, 2)
    assert np.array_equal(session.labels(0) > 0, two)
    assert session.id_at(0, 50, 60) != session.id_at(0, 78, 60)
    assert not controller.view.snapshot().draft.points


def test_carrying_on_follows_the_object(controller, settle, session):
    session.add(0, 0, 0, disc(0, 60, 100, 15))
    controller.select([1])
    controller.carry_on()
    settle(controller)
    assert controller.canvas.z == 1
    assert session.sections_of(1) == (0, 1)


def test_segmenting_proposes_and_review_goes_from_the_uncertain_on(
    controller, panel, settle, session, qtbot
):
    controller.segment(0, 2)
    settle(controller)
    assert session.wait("segment", 20)
    settle(controller)
    assert (section(controller.canvas.outline, 0) == PROPOSED).any()
    first = panel.objects.topLevelItem(0)
    assert [first.text(column) for column in (1, 2)] == ["proposed", "0.60"]
    controller.next_uncertain()
    settle(controller)
    (uncertain,) = controller.selected
    controller.accept()
    settle(controller)
    states = {one.id: one.state for one in session.objects(0)}
    assert states.pop(uncertain) == "accepted"
    assert set(states.values()) == {"proposed"}
    assert controller.selected == tuple(states)
    controller.reject()
    settle(controller)
    assert [one.id for one in session.objects(0)] == [uncertain]


def test_how_a_job_ended_is_told_however_short_it_was(controller, settle, session, qtbot):
    controller.segment()
    settle(controller)
    qtbot.waitUntil(
        lambda: "segmenting section 1: done" in notification_manager.records[-1].message,
        timeout=20_000,
    )


def test_a_word_proposes_and_an_unknown_word_is_answered(controller, settle, session):
    controller.ask("mitochondria")
    settle(controller)
    assert len(session.objects(0)) == 2
    controller.ask("teapot")
    settle(controller)
    assert "mitochondria is" in notification_manager.records[-1].message


def test_a_section_is_finished_and_reopened(controller, panel, settle, session):
    controller.finish()
    settle(controller)
    assert session.finished() == {0}
    assert panel._finish.isChecked()
    controller.finish()
    settle(controller)
    assert session.finished() == frozenset()


def test_labels_are_exported(controller, settle, session, tmp_path):
    session.add(0, 0, 0, disc(0, 60, 100, 15))
    controller.export(tmp_path / "labels.tif", "tiff", only_accepted=True)
    settle(controller)
    import tifffile

    written = tifffile.imread(tmp_path / "labels.tif")
    assert np.array_equal(written[0], session.labels(0))


def test_old_and_new_model_are_drawn_side_by_side_until_one_is_chosen(
    controller, panel, viewer, settle, session
):
    new = np.zeros(session.shape_zyx[1:], np.int32)
    new[disc(2, 60, 100, 15)] = 5
    session._comparison = Comparison(z=2, old=None, new=new, new_model=Path("run"))
    session.touch()
    settle(controller)
    assert viewer.layers[-1].name == "new model"
    assert controller.canvas.z == 2
    assert panel.buttons["switch_model"].isVisibleTo(panel)
    assert panel.compared.text().startswith("Section 3, which taught neither")
    controller.keep_model()
    settle(controller)
    assert len(viewer.layers) == 5
    assert not panel.buttons["switch_model"].isVisibleTo(panel)


def test_teaching_without_finished_sections_is_refused(controller, settle):
    controller.teach()
    settle(controller)
    assert "finished" in notification_manager.records[-1].message


def test_what_another_tab_does_is_shown(controller, settle, session, qtbot):
    session.add(0, 0, 0, disc(0, 60, 100, 15))
    qtbot.waitUntil(lambda: bool(section(controller.canvas.labels, 0).any()))
    qtbot.waitUntil(lambda: controller.canvas._shown[0] == session.revision)


def test_closing_the_session_takes_its_layers_and_brings_the_form_back(
    widget, viewer, open_session, session
):
    session.add(0, 0, 0, disc(0, 60, 100, 15))
    widget.leave()
    assert not viewer.layers
    assert widget._stack.currentWidget() is widget.opening
    assert open_session().labels(0).any()
