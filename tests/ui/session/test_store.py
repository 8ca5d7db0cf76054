"""Laws of the label store: an edit is whole, kept, and undone to what was there before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mitosam.errors import InputError, StorageError
from mitosam.ui.session.snapshot import ObjectInfo
from mitosam.ui.session.store import AnnotationStore
from mitosam.ui.session.tables import ObjectFacts

SHAPE = (3, 300, 520)  # 2 x 3 blocks, those at the edges smaller


@pytest.fixture
def store(tmp_path):
    store = AnnotationStore(tmp_path / "annotations.sqlite", SHAPE)
    yield store
    store.close()


def paint(store, z, y, x, height, width, value, title="paint"):
    with store.edit(title) as edit:
        edit.paint(z, y, x, np.full((height, width), value, np.uint32))


def all_sections(store):
    return np.stack([store.section(z) for z in range(SHAPE[0])])


def test_a_new_store_is_empty(store):
    assert not all_sections(store).any()
    assert store.undo() is None
    assert store.redo() is None
    assert store.annotated() == frozenset()


def test_what_was_painted_across_blocks_is_there_and_nothing_else(store):
    paint(store, 1, 250, 240, 20, 40, 7)
    expected = np.zeros(SHAPE, np.uint32)
    expected[1, 250:270, 240:280] = 7
    np.testing.assert_array_equal(all_sections(store), expected)
    np.testing.assert_array_equal(
        store.region(1, 245, 235, (30, 60)), expected[1, 245:275, 235:295]
    )


def test_an_object_is_listed_with_its_area_and_box_across_blocks(store):
    with store.edit("new object") as edit:
        edit.paint(1, 250, 240, np.full((20, 40), 7, np.uint32))
        edit.describe(7, ObjectFacts(state="proposed", confidence=0.25))
    assert store.objects(1) == (
        ObjectInfo(
            id=7,
            z=1,
            area_px=800,
            box_xyxy=(240, 250, 280, 270),
            state="proposed",
            confidence=0.25,
        ),
    )
    assert store.objects(0) == ()
    assert store.sections_of(7) == (1,)
    assert store.annotated() == {1}


def test_an_edit_that_fails_leaves_nothing_behind(store):
    paint(store, 0, 0, 0, 5, 5, 1)
    before = all_sections(store)

    def edit_that_fails():
        with store.edit("fails") as edit:
            edit.paint(0, 0, 0, np.full((300, 520), 9, np.uint32))
            edit.describe(9, ObjectFacts())
            edit.finish(2, finished=True)
            raise RuntimeError("on the way")

    with pytest.raises(RuntimeError, match="on the way"):
        edit_that_fails()
    np.testing.assert_array_equal(all_sections(store), before)
    assert store.finished() == frozenset()
    assert store.undo_title() == "paint"


def test_an_edit_that_changes_nothing_is_not_in_the_history(store):
    paint(store, 0, 0, 0, 5, 5, 0)
    assert store.undo_title() is None


def test_ids_are_never_used_again(store):
    with store.edit("new") as edit:
        first = edit.new_id()
        edit.paint(0, 0, 0, np.full((2, 2), first, np.uint32))
    store.undo()
    with store.edit("new") as edit:
        assert edit.new_id() == first + 1
        edit.keep_above(50)
        assert edit.new_id() == 51


def test_a_new_edit_makes_what_was_undone_unreachable(store):
    paint(store, 0, 0, 0, 5, 5, 1, "first")
    paint(store, 0, 0, 0, 5, 5, 2, "second")
    store.undo()
    paint(store, 2, 0, 0, 5, 5, 3, "third")
    assert store.redo() is None
    assert store.undo().title == "third"
    assert store.undo().title == "first"


def test_finishing_a_section_is_undone_too(store):
    with store.edit("finish") as edit:
        edit.finish(1, finished=True)
    assert store.finished() == {1}
    assert store.undo().sections == {1}
    assert store.finished() == frozenset()


regions = st.tuples(
    st.integers(0, 2), st.integers(0, 299), st.integers(0, 519), st.integers(1, 300),
    st.integers(1, 520), st.integers(0, 3),
)  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(st.lists(st.one_of(regions, st.sampled_from(["undo", "redo"])), max_size=12))
def test_any_sequence_of_edits_agrees_with_a_list_of_whole_volumes(tmp_path_factory, actions):
    path = tmp_path_factory.mktemp("store") / "annotations.sqlite"
    store = AnnotationStore(path, SHAPE)
    history, place = [np.zeros(SHAPE, np.uint32)], 0
    for action in actions:
        if action == "undo":
            assert (store.undo() is None) == (place == 0)
            place = max(0, place - 1)
        elif action == "redo":
            assert (store.redo() is None) == (place == len(history) - 1)
            place = min(len(history) - 1, place + 1)
        else:
            z, y, x, height, width, value = action
            height, width = min(height, 300 - y), min(width, 520 - x)
            after = history[place].copy()
            after[z, y : y + height, x : x + width] = value
            paint(store, z, y, x, height, width, value)
            if not np.array_equal(after, history[place]):
                history, place = [*history[: place + 1], after], place + 1
        np.testing.assert_array_equal(all_sections(store), history[place])
    store.close()
    store = AnnotationStore(path, SHAPE)  # and all of it is kept
    np.testing.assert_array_equal(all_sections(store), history[place])
    for _ in range(place):
        store.undo()
    assert not all_sections(store).any()
    store.close()


def test_a_second_process_is_told_that_the_file_is_in_use(store, tmp_path):
    paint(store, 0, 0, 0, 5, 5, 1)
    code = (
        "import sys; from pathlib import Path; from mitosam.ui.session.store import *\n"
        "from mitosam.errors import StorageError\n"
        f"try: AnnotationStore(Path({str(tmp_path / 'annotations.sqlite')!r}), {SHAPE})\n"
        "except StorageError as error: sys.exit(str(error))"
    )
    second = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "is in use by another mitosam" in second.stderr
    assert "Traceback" not in second.stderr


def test_what_was_committed_survives_a_kill(tmp_path):
    path = tmp_path / "annotations.sqlite"
    code = (
        "import os, signal; from pathlib import Path; import numpy as np\n"
        "from mitosam.ui.session.store import *\n"
        f"store = AnnotationStore(Path({str(path)!r}), {SHAPE})\n"
        "with store.edit('kept') as edit: edit.paint(0, 0, 0, np.full((5, 5), 4, np.uint32))\n"
        "with store.edit('lost') as edit:\n"
        "    edit.paint(0, 0, 0, np.full((9, 9), 5, np.uint32))\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code])
    store = AnnotationStore(path, SHAPE)
    assert store.undo_title() == "kept"
    assert store.section(0).sum() == 25 * 4
    store.close()


def test_a_file_of_another_volume_is_refused(store, tmp_path):
    store.close()
    with pytest.raises(InputError, match=r"3 x 300 x 520 .* 3 x 300 x 521"):
        AnnotationStore(tmp_path / "annotations.sqlite", (3, 300, 521))


@pytest.mark.parametrize(
    "content", [b"no database at all" * 100, b"SQLite format 3\0" + b"x" * 999]
)
def test_a_damaged_file_is_refused(tmp_path, content):
    path = tmp_path / "annotations.sqlite"
    path.write_bytes(content)
    with pytest.raises(StorageError, match="is damaged"):
        AnnotationStore(path, SHAPE)


def test_a_folder_that_cannot_be_made_is_an_error_that_names_the_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"annotations\.sqlite"):
        AnnotationStore(tmp_path / "file" / "annotations.sqlite", SHAPE)
    with pytest.raises(StorageError):
        AnnotationStore(Path("/proc/nowhere/annotations.sqlite"), SHAPE)
