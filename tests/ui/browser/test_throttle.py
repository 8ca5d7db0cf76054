"""Limits on how fast and how much one may ask."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from mitosam.ui.browser import throttle
from mitosam.ui.browser.guard import Guard
from mitosam.ui.browser.throttle import LINES_AT_ONCE, PAGES_AT_ONCE, Bucket, FewLines

TOKEN, HOME = "a-token-that-nobody-guesses", "http://localhost:8000"


@given(
    steps=st.lists(st.floats(0, 5), max_size=60),
    a_second=st.floats(0.1, 10),
    at_once=st.integers(1, 20),
)
def test_a_bucket_never_gives_more_than_its_rate(steps, a_second, at_once):
    now = [0.0]
    bucket = Bucket(a_second=a_second, at_once=at_once, clock=lambda: now[0])
    taken = 0
    for step in steps:
        now[0] += step
        taken += bucket.take()
    assert taken <= at_once + a_second * now[0] + 1e-6


def test_waiting_for_a_bucket_is_as_long_as_it_says():
    now = [0.0]
    bucket = Bucket(a_second=2, at_once=1, clock=lambda: now[0])
    assert bucket.wait_s() == 0
    assert bucket.wait_s() == 0.5
    now[0] = 0.5
    assert bucket.take()


def test_a_flood_of_refusals_is_a_few_lines():
    said = []
    say = FewLines(lambda text, *values: said.append(text % values))
    for _ in range(1000):
        say("refused %s", "x")
    assert len(said) == LINES_AT_ONCE


async def answer(request):
    return PlainTextResponse("a page")


@pytest.fixture
def num_tabs():
    return [0]


@pytest.fixture
def browser(num_tabs):
    app = Starlette(routes=[Route("/{path:path}", answer)])
    with TestClient(Guard(app, token=TOKEN, num_tabs=lambda: num_tabs[0]), base_url=HOME) as client:
        client.get(f"/?token={TOKEN}")
        yield client


def test_pages_are_opened_at_a_rate(browser):
    statuses = [browser.get("/").status_code for _ in range(int(PAGES_AT_ONCE) + 5)]
    assert statuses[: int(PAGES_AT_ONCE)] == [200] * int(PAGES_AT_ONCE)
    assert statuses[-1] == 429
    assert browser.get("/mitosam/image/0/0/0/0").status_code == 200


def test_there_are_only_so_many_pages(browser, num_tabs):
    num_tabs[0] = throttle.MAX_TABS
    assert browser.get("/").status_code == 503
    num_tabs[0] -= 1
    assert browser.get("/").status_code == 200


@pytest.mark.parametrize("path", ["/x", "/mitosam/a/..%2f..%2fb", "/mitosam//etc", "/_nicegui/%00"])
def test_paths_that_nobody_serves_reach_no_application(browser, path):
    assert browser.get(path).status_code == 404


def test_polling_is_not_served(browser):
    path = "/_nicegui_ws/socket.io/?EIO=4&transport=polling"
    assert browser.get(path).status_code == 403


class Connection(asyncio.Transport):
    """A connection that remembers whether it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = False
        self.protocol = None

    def close(self):
        self.closed = True

    def is_closing(self):
        return self.closed

    def get_protocol(self):
        return self.protocol

    def set_write_buffer_limits(self, high=None, low=None):
        pass

    def write(self, data):
        pass


@pytest.mark.parametrize("data", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nX: y\r\n"])
def test_a_connection_that_asks_for_nothing_in_time_is_closed(data, monkeypatch):
    from uvicorn import Config
    from uvicorn.server import ServerState

    monkeypatch.setattr(throttle, "REQUEST_S", 0.05)

    async def wait():
        config = Config(answer, log_config=None)
        config.load()
        protocol = throttle.PatientProtocol(config, ServerState(), {})
        transport = Connection()
        transport.protocol = protocol
        protocol.connection_made(transport)
        if data:
            protocol.data_received(data)
        for _ in range(200):
            if transport.closed:
                break
            await asyncio.sleep(0.02)
        protocol.connection_lost(None)
        return transport.closed

    assert asyncio.run(wait())
