from __future__ import annotations

import asyncio

import pytest

from mitosam.errors import InputError
from mitosam.ui.browser.inbox import MAX_WAITING, Inbox
from mitosam.ui.browser.messages import read_message


def point(x):
    return read_message({"do": "point", "x": float(x), "y": 0.0})


def go(z):
    return read_message({"do": "go", "z": z})


def run(name):
    return read_message({"do": "run", "name": name})


def answered(*messages):
    """The order in which messages that all wait already are answered."""

    async def main():
        done = []

        async def answer(message):
            done.append(message)
            await asyncio.sleep(0)

        inbox = Inbox(answer)
        for message in messages:
            inbox.put(message)
        task = asyncio.create_task(inbox.run())
        while len(inbox):
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        return done

    return asyncio.run(main())


def test_messages_are_answered_in_the_order_in_which_they_came():
    messages = [point(1), run("accept"), point(2), run("undo")]
    assert answered(*messages) == messages


def test_of_a_sliders_sections_only_the_last_is_shown():
    assert answered(go(1), go(2), go(3)) == [go(3)]


def test_prompts_that_leaving_the_section_would_drop_are_left_out_but_no_edit_is():
    assert answered(point(1), run("accept"), point(2), point(3), go(2)) == [
        point(1),
        run("accept"),
        go(2),
    ]


def test_too_many_waiting_messages_are_refused():
    async def main():
        inbox = Inbox(None)
        for x in range(MAX_WAITING):
            inbox.put(point(x))
        with pytest.raises(InputError, match="wait for an answer already"):
            inbox.put(point(0))

    asyncio.run(main())
