from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitosam.errors import InputError
from mitosam.ui.browser.commands import COMMANDS, IN_THE_BROWSER, groups, key_map, label
from mitosam.ui.browser.messages import MAX_CORNERS, PointMessage, read_message

JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
DO = st.sampled_from(["point", "box", "lasso", "select", "pick", "go", "words", "run", "", None])


def test_a_click_is_read():
    sent = {"do": "point", "x": 3, "y": 4.5, "positive": False, "serial": 7}
    message = PointMessage(do="point", x=3.0, y=4.5, positive=False, serial=7)
    assert read_message(sent) == message


@pytest.mark.parametrize(
    "sent",
    [
        *(None, [], "point", {}, {"do": "point"}, {"do": "format the disk"}),
        {"do": "point", "x": math.nan, "y": 1.0},
        {"do": "point", "x": math.inf, "y": 1.0},
        {"do": "point", "x": "3", "y": 1.0},
        {"do": "point", "x": 1.0, "y": 1.0, "path": "/etc/passwd"},
        {"do": "point", "x": 1.0, "y": 1.0, "serial": -1},
        {"do": "lasso", "corners": [[0.0, 1.0]] * (MAX_CORNERS + 1)},
        {"do": "lasso", "corners": [[0.0]]},
        {"do": "pick", "id": -1},
        {"do": "pick", "id": 2**32},
        {"do": "go", "z": 1.5},
        {"do": "words", "text": "x" * 201},
        {"do": "run", "name": "shutdown"},
    ],
)
def test_what_is_no_message_is_refused(sent):
    with pytest.raises(InputError, match="the page sent"):
        read_message(sent)


@given(JSON | st.builds(lambda do, rest: rest | {"do": do}, DO, st.dictionaries(st.text(), JSON)))
def test_whatever_is_sent_is_a_message_or_refused(sent):
    try:
        message = read_message(sent)
    except InputError:
        return
    assert message.do == sent["do"]


def test_each_key_means_one_thing():
    keys = [key for command in COMMANDS.values() for key in command.keys]
    assert len(keys) == len(set(keys)) == len(key_map())


def test_each_command_has_a_key_and_stands_on_the_help_sheet():
    assert all(command.keys for command in COMMANDS.values())
    shown = {command.name for _, commands in groups() for command in commands}
    assert set(COMMANDS) - shown == {"choose-2", "choose-3", "choose-4"}
    assert set(IN_THE_BROWSER) < set(COMMANDS)
    assert label("merge") == "Merge the selected objects (M)"
