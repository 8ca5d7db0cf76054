"""The guard in front of a small application, as browsers and others would ask it."""

from __future__ import annotations

import logging

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from mitosam.ui.browser.guard import MAX_BODY_BYTES, MAX_MESSAGE_BYTES, Guard, is_loopback

TOKEN = "a-token-that-nobody-guesses"
HOME = "http://localhost:8000"
SOCKET = "ws://localhost:8000/ws"


async def answer(request):
    return PlainTextResponse(f"{len(await request.body())} bytes")


async def echo(websocket):
    await websocket.accept()
    while True:
        try:
            await websocket.send_text(await websocket.receive_text())
        except WebSocketDisconnect:
            return


@pytest.fixture
def guard():
    routes = [
        Route("/{path:path}", answer, methods=["GET", "HEAD", "POST"]),
        WebSocketRoute("/ws", echo),
    ]
    return Guard(Starlette(routes=routes), token=TOKEN)


@pytest.fixture
def stranger(guard):
    with TestClient(guard, base_url=HOME) as client:
        yield client


@pytest.fixture
def browser(stranger):
    stranger.get(f"/?token={TOKEN}")
    return stranger


def test_the_printed_address_leads_to_a_cookie_and_away_from_the_token(stranger):
    welcome = stranger.get(f"/?token={TOKEN}")
    assert 'url=/"' in welcome.text
    assert TOKEN not in welcome.text
    cookie = welcome.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert stranger.get("/").text == "0 bytes"


@pytest.mark.parametrize("path", ["/", "/_nicegui/x.js", "/image/0/0/0/0", "/..%2f..%2fetc/passwd"])
@pytest.mark.parametrize("query", ["", "?token=", "?token=wrong", f"?other={TOKEN}", "?token=ü"])
def test_nothing_is_read_without_the_token(stranger, caplog, path, query):
    refused = stranger.get(path + query)
    assert refused.status_code == 403
    assert refused.text == "mitosam: open the address that mitosam serve printed\n"
    assert "refused GET" in caplog.text
    assert TOKEN not in caplog.text


@pytest.mark.parametrize("cookie", ["", "x", TOKEN[:-1], TOKEN + "x", "ü"])
def test_a_wrong_cookie_is_no_token(guard, stranger, cookie):
    headers = {"cookie": f"{guard.cookie}={cookie}".encode()}
    assert stranger.get("/", headers=headers).status_code == 403


def test_two_servers_on_one_host_keep_their_cookies_apart(guard):
    assert Guard(guard.app, token="another").cookie != guard.cookie


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "10.0.0.1:8000", "localhost:80;x", "a@[::1]"]
)
def test_a_name_that_only_points_at_this_machine_is_refused(browser, host):
    assert browser.get("/", headers={"host": host}).status_code == 403


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:65535", "[::1]:8000"])
def test_any_port_of_this_machine_will_do_as_tunnels_choose_their_own(host):
    assert is_loopback(host)


def test_writing_needs_the_origin_of_this_server(browser):
    def status(**headers):
        return browser.post("/", content=b"x", headers=headers).status_code

    assert status() == 403
    assert status(origin="http://evil.example") == 403
    assert status(origin="null") == 403
    assert status(origin="http://localhost:9000") == 403
    assert status(origin=HOME) == 200


def test_reading_from_a_page_of_another_site_is_refused(browser):
    assert browser.get("/", headers={"origin": "http://evil.example"}).status_code == 403


def parts(count):
    for _ in range(count):
        yield b"x" * 100_000


def test_a_body_is_passed_on_whole_up_to_the_limit(browser):
    whole = browser.post("/", content=b"x" * MAX_BODY_BYTES, headers={"origin": HOME})
    assert whole.text == f"{MAX_BODY_BYTES} bytes"
    headers = {"origin": HOME}
    assert (
        browser.post("/", content=b"x" * (MAX_BODY_BYTES + 1), headers=headers).status_code == 413
    )
    assert browser.post("/", content=parts(11), headers=headers).status_code == 413
    assert browser.post("/", content=parts(10), headers=headers).status_code == 200
    broken = {"origin": HOME, "content-length": "-5"}
    assert browser.post("/", content=b"x", headers=broken).status_code == 413


def test_a_websocket_needs_token_and_origin(browser, guard):
    with browser.websocket_connect(SOCKET, headers={"origin": HOME}) as socket:
        socket.send_text("hello")
        assert socket.receive_text() == "hello"
    for headers in ({}, {"origin": "http://evil.example"}):
        with pytest.raises(WebSocketDisconnect), browser.websocket_connect(SOCKET, headers=headers):
            pass
    with (
        TestClient(guard, base_url=HOME) as stranger,
        pytest.raises(WebSocketDisconnect),
        stranger.websocket_connect(f"{SOCKET}?token={TOKEN}", headers={"origin": HOME}),
    ):
        pass


def test_a_message_that_is_too_long_ends_its_connection_only(browser, caplog):
    with browser.websocket_connect(SOCKET, headers={"origin": HOME}) as socket:
        socket.send_text("x" * MAX_MESSAGE_BYTES)
        assert len(socket.receive_text()) == MAX_MESSAGE_BYTES
        socket.send_text("x" * (MAX_MESSAGE_BYTES + 1))
        with pytest.raises(WebSocketDisconnect) as ended:
            socket.receive_text()
    assert ended.value.code == 1009
    assert "a message of 1000001 bytes" in caplog.text
    assert browser.get("/").status_code == 200


def test_answers_forbid_other_sites_and_leak_no_address(browser):
    headers = browser.get("/").headers
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-content-type-options"] == "nosniff"
    policy = headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "ws://localhost:8000" in policy
    assert "http" not in policy.replace("ws://", "")


def test_log_lines_hold_no_line_breaks_of_strangers(stranger, caplog):
    with caplog.at_level(logging.WARNING):
        stranger.get("/x%0aforged line")
    assert "\n" not in caplog.records[-1].getMessage()
