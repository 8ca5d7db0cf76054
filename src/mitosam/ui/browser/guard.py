"""Who may talk to the server: browsers on this machine that know the token.

The server listens on loopback, which every program and every web page of the machine can reach. So
each request, static files and websockets included, needs the token; the name in its Host header
must mean this machine, or a page of another site could reach it by a name that it points here (DNS
rebinding); and its Origin must be this server wherever more than reading is meant.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mitosam.ui.browser.throttle import (
    MAX_SOCKETS,
    MAX_TABS,
    MESSAGES_A_SECOND,
    MESSAGES_AT_ONCE,
    PAGES_A_SECOND,
    PAGES_AT_ONCE,
    REQUEST_S,
    Bucket,
    FewLines,
)

MAX_BODY_BYTES = 1_000_000
MAX_MESSAGE_BYTES = 1_000_000
SAFE_METHODS = ("GET", "HEAD")
TOO_LARGE = 1009  # the websocket's code for a message that is too big
REFUSED = 1008

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a request is not answered: the HTTP status, and a line for the user and for the log."""

    status: int
    reason: str


class Guard:
    """An ASGI application round another that lets only the holder of the token through."""

    def __init__(
        self, app: ASGIApp, *, token: str, num_tabs: Callable[[], int] = lambda: 0
    ) -> None:
        self.app = app
        self._token = token
        self._num_tabs = num_tabs
        self._num_sockets = 0
        self._say = FewLines(logger.warning)
        self._pages = Bucket(a_second=PAGES_A_SECOND, at_once=PAGES_AT_ONCE)
        # Browsers send a host's cookies to all its ports: each server needs a name of its own.
        self.cookie = f"mitosam_{hashlib.sha256(token.encode()).hexdigest()[:12]}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope)
        if refusal := self._refusal(scope, headers):
            await self._refuse(scope, send, refusal)
        elif self._token_in_query(scope):
            await _answer(send, 200, WELCOME, content=b"text/html", more=[self._set_cookie()])
        elif refusal := self._too_many(scope):
            await self._refuse(scope, send, refusal)
        else:
            await self._pass_on(scope, headers, receive, send)

    async def _pass_on(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(REQUEST_S):
                body = await _read_body(headers, receive)
        except TimeoutError:
            slow = Refusal(status=408, reason=f"the body took over {REQUEST_S:g} seconds")
            await self._refuse(scope, send, slow)
            return
        if body is None:
            limit = Refusal(status=413, reason=f"more than {MAX_BODY_BYTES} bytes were sent")
            await self._refuse(scope, send, limit)
        else:
            await self.app(scope, _replay(body, receive), _with_headers(send, headers.host))

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope, Headers(scope)) or self._too_many(scope)
        if refusal:
            self._log(scope, refusal)
            await receive()  # the request to connect, which refusing answers
            await send({"type": "websocket.close", "code": REFUSED, "reason": refusal.reason})
            return
        self._num_sockets += 1
        try:
            await self.app(scope, self._limited(scope, receive, send), send)
        finally:
            self._num_sockets -= 1

    def _too_many(self, scope: Scope) -> Refusal | None:
        """Why there is no more of this, None if there is.

        A page takes memory on the server for a minute even if nobody ever connects to it. And a
        session of polling would be one without the limits of a websocket.
        """
        if scope["type"] == "websocket":
            if self._num_sockets >= MAX_SOCKETS:
                return Refusal(status=503, reason=f"{MAX_SOCKETS} tabs are open; close some")
        elif not _is_served(scope["path"]):
            return Refusal(status=404, reason="there is nothing here")
        elif b"transport=polling" in scope.get("query_string", b""):
            return Refusal(status=403, reason="websockets alone are served")
        elif scope["path"] == "/" and scope["method"] == "GET":
            if self._num_tabs() >= MAX_TABS:
                return Refusal(status=503, reason=f"{MAX_TABS} pages are open; close some")
            if not self._pages.take():
                return Refusal(status=429, reason="too many pages were opened; wait a moment")
        return None

    def _refusal(self, scope: Scope, headers: Headers) -> Refusal | None:
        """What is wrong with the request, None if nothing is."""
        if not is_loopback(headers.host):
            return Refusal(status=403, reason="the address must be localhost or 127.0.0.1")
        if not _origin_fits(scope, headers):
            return Refusal(status=403, reason="a page of another site asked for this")
        if not (self._token_in_query(scope) or self._token_in_cookie(headers)):
            return Refusal(status=403, reason="open the address that mitosam serve printed")
        return None

    def _limited(self, scope: Scope, receive: Receive, send: Send) -> Receive:
        """A websocket's messages, as fast as a user may be, up to the first that is too long.

        That one ends the connection. Nothing is read meanwhile of one that sends faster, so that it
        waits too.
        """
        bucket = Bucket(a_second=MESSAGES_A_SECOND, at_once=MESSAGES_AT_ONCE)

        async def limited() -> Message:
            await bucket.taken()
            message = await receive()
            size = len(message.get("text") or "") + len(message.get("bytes") or b"")
            if size <= MAX_MESSAGE_BYTES:
                return message
            self._log(scope, Refusal(status=413, reason=f"a message of {size} bytes"))
            await send({"type": "websocket.close", "code": TOO_LARGE})
            return {"type": "websocket.disconnect", "code": TOO_LARGE}

        return limited

    async def _refuse(self, scope: Scope, send: Send, refusal: Refusal) -> None:
        self._log(scope, refusal)
        await _answer(send, refusal.status, f"mitosam: {refusal.reason}\n".encode())

    def _log(self, scope: Scope, refusal: Refusal) -> None:
        """One line; the query is left out, as it may hold a token."""
        what = scope.get("method", "websocket")
        self._say("refused %s %r: %s", what, scope.get("path", "")[:200], refusal.reason)

    def _token_in_query(self, scope: Scope) -> bool:
        query = scope.get("query_string", b"").decode("latin-1")
        if "token=" not in query or scope.get("method") != "GET":
            return False
        return any(self._is_token(value) for value in parse_qs(query).get("token", ()))

    def _token_in_cookie(self, headers: Headers) -> bool:
        return any(self._is_token(value) for value in headers.cookies(self.cookie))

    def _is_token(self, value: str) -> bool:
        return hmac.compare_digest(value.encode("utf-8", "replace"), self._token.encode())

    def _set_cookie(self) -> tuple[bytes, bytes]:
        cookie = f"{self.cookie}={self._token}; Path=/; HttpOnly; SameSite=Strict"
        return b"set-cookie", cookie.encode()


# A redirect would still count as coming from wherever the link was, and a strict cookie would stay
# behind; a page that leads on is a step of our own. And the token leaves the address bar.
WELCOME = (
    b'<!doctype html><meta http-equiv="refresh" content="0;url=/">'
    b"<title>mitosam</title><p>Opening mitosam."
)


class Headers:
    """The headers of a request, as far as the guard needs them."""

    def __init__(self, scope: Scope) -> None:
        self._pairs: list[tuple[bytes, bytes]] = scope.get("headers", [])

    def all(self, name: bytes) -> list[str]:
        """Every value that was sent under a name."""
        return [value.decode("latin-1") for key, value in self._pairs if key.lower() == name]

    @property
    def host(self) -> str:
        """The one Host header, empty if there is none or more than one."""
        found = self.all(b"host")
        return found[0] if len(found) == 1 else ""

    def cookies(self, name: str) -> Iterator[str]:
        """Values of the cookies of that name; broken cookie headers hold none."""
        for text in self.all(b"cookie"):
            try:
                if found := SimpleCookie(text).get(name):
                    yield found.value
            except CookieError:
                continue


def is_loopback(host: str) -> bool:
    """Whether a Host header's name means this machine, whatever the port.

    >>> is_loopback("localhost:8080"), is_loopback("[::1]"), is_loopback("localhost.evil.org")
    (True, True, False)
    """
    parts = HOST.fullmatch(host.lower())
    if parts is None:
        return False
    name = parts["name"].strip("[]")
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


HOST = re.compile(r"(?P<name>localhost|[0-9.]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?")


def _origin_fits(scope: Scope, headers: Headers) -> bool:
    """Whether the page that asks is one of this server's.

    Plain reading may come without an origin, as typing an address does.
    """
    found = headers.all(b"origin")
    if not found:
        return scope["type"] == "http" and scope["method"] in SAFE_METHODS
    return found == [f"http://{headers.host}"]


def _is_served(path: str) -> bool:
    """Whether a path is of those that are served; NiceGUI would make a page for any other.

    >>> [_is_served(path) for path in ("/", "/mitosam/image/0/0/0/0", "/_nicegui/../x", "/x")]
    [True, True, False, False]
    """
    known = path in ("/", "/favicon.ico") or path.startswith(("/mitosam/", "/_nicegui"))
    return known and ".." not in path and "//" not in path and path.isprintable()


async def _read_body(headers: Headers, receive: Receive) -> bytes | None:
    """The whole body, None if it is too long."""
    declared = headers.all(b"content-length")
    if any(not value.isdigit() or int(value) > MAX_BODY_BYTES for value in declared):
        return None
    body, more = b"", True
    while more and len(body) <= MAX_BODY_BYTES:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body if len(body) <= MAX_BODY_BYTES else None


def _replay(body: bytes, receive: Receive) -> Receive:
    """A body that was read, as a request that is still to be read."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return waiting.pop() if waiting else await receive()

    return replay


def _with_headers(send: Send, host: str) -> Send:
    """An answer that tells the browser what it may not do with it."""
    more = [(name, value.replace(b"HOST", host.encode("latin-1"))) for name, value in SECURITY]

    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), *more]}
        await send(message)

    return with_headers


# NiceGUI runs what the server sends it and builds styles as it goes, so that neither can be
# forbidden; but nothing may be loaded from, or sent to, anywhere else.
SECURITY = [
    (
        b"content-security-policy",
        b"default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
        b"style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
        b"font-src 'self' data:; connect-src 'self' ws://HOST; object-src 'none'; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
]


async def _answer(
    send: Send,
    status: int,
    body: bytes,
    *,
    content: bytes = b"text/plain",
    more: list[tuple[bytes, bytes]] | None = None,
) -> None:
    headers = [
        (b"content-type", content + b"; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        *SECURITY[1:],
        *(more or ()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
