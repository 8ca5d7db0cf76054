"""Clients that mean harm, or have gone wrong: each does one thing and says what came back."""

from __future__ import annotations

import asyncio
import base64
import os
import random
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

SOCKET = "/_nicegui_ws/socket.io/?EIO=4&transport=websocket"
LORIS_S = 25.0
PATHS = (
    "/../../etc/passwd", "/..%2f..%2fetc/passwd", "/mitosam/exports/..%2f..%2f..%2fetc%2fpasswd",
    "/_nicegui/../../../etc/passwd", "/_nicegui/3.0.0/static/..%2f..%2f..%2f..%2fetc/passwd",
    "/mitosam/image/0/0/0/%2e%2e", "//etc/passwd", "/%00", "/_nicegui/auto/static/../../etc/hosts",
)  # fmt: skip
GARBAGE = (
    "", "0", "9", "40", "41", "42", '42["event",{}]', '42["event",null]', "42[" * 100, "451-[]",
    '42["handshake",{"client_id":1}]', '42["ack",{}]', '42["log",{"client_id":"x"}]', "[" * 5000,
    '42["event",{"client_id":"x","id":1e400}]', "\x00" * 50, "4" * 10_000,
)  # fmt: skip
HOSTS = ("evil.example", "localhost.evil.example", "10.0.0.1", "[::2]", "")


@dataclass(slots=True, kw_only=True)
class Target:
    """The server's address and token, and the cookie once it is known."""

    host: str
    port: int
    token: str
    cookie: str = ""

    @classmethod
    def of(cls, address: str) -> Target:
        """The parts of what `mitosam serve` prints."""
        match = re.fullmatch(r"http://([\d.]+):(\d+)/\?token=(.+)", address)
        assert match is not None, address
        return cls(host=match[1], port=int(match[2]), token=match[3])

    @property
    def origin_host(self) -> str:
        """As browsers send it."""
        return f"{self.host}:{self.port}"


async def get(
    target: Target, path: str, *, cookie: str = "", host: str = "", more: str = ""
) -> str:
    """The status of an answer, which is read to its end."""
    headers = f"Host: {host or target.origin_host}\r\nConnection: close\r\n{more}"
    headers += f"Cookie: {cookie}\r\n" if cookie else ""
    return await _send(target, f"GET {path} HTTP/1.1\r\n{headers}\r\n".encode())


async def _send(target: Target, request: bytes) -> str:
    reader, writer = await asyncio.open_connection(target.host, target.port)
    try:
        writer.write(request)
        status = (await reader.readline()).split()
        while await reader.read(1 << 16):
            pass
        return status[1].decode() if len(status) > 1 else "closed"
    finally:
        writer.close()


async def stranger(target: Target) -> str:
    """Without the token, or with a wrong one."""
    token = random.choice(("", "?token=", "?token=wrong", f"?other={target.token}"))
    cookie = random.choice(("", "mitosam=x", target.cookie[:-1] + "~"))
    return await get(target, f"/{token}", cookie=cookie)


async def other_site(target: Target) -> str:
    """By a name that only points here, or from a page of another site."""
    if random.random() < 0.5:
        return await get(target, "/", cookie=target.cookie, host=random.choice(HOSTS) or "x")
    return await get(target, "/", cookie=target.cookie, more="Origin: http://evil.example\r\n")


async def large_body(target: Target) -> str:
    """A body that says that it is large, or never ends."""
    declared = random.random() < 0.5
    length = "Content-Length: 50000000" if declared else "Transfer-Encoding: chunked"
    head = (
        f"POST /mitosam/image/0/0/0/0 HTTP/1.1\r\nHost: {target.origin_host}\r\n"
        f"Origin: http://{target.origin_host}\r\nCookie: {target.cookie}\r\n{length}\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection(target.host, target.port)
    try:
        writer.write(head.encode())
        for _ in range(40):
            writer.write((b"" if declared else b"10000\r\n") + b"x" * 65536 + b"\r\n")
            await writer.drain()
        status = (await reader.readline()).split()
        return status[1].decode() if len(status) > 1 else "closed"
    finally:
        writer.close()


async def slow(target: Target) -> str:
    """A request that comes letter by letter, or not at all."""
    reader, writer = await asyncio.open_connection(target.host, target.port)
    letters = iter("" if random.random() < 0.3 else "GET / HTTP/1.1\r\nX: " + "x" * 1000)
    try:
        for _ in range(int(LORIS_S)):
            writer.write(next(letters, "").encode())
            try:
                async with asyncio.timeout(1):
                    if not await reader.read(1):
                        return "closed"
            except TimeoutError:
                continue
        return "still open"
    finally:
        writer.close()


async def traversal(target: Target) -> str:
    """Paths that lead out of what is served."""
    return await get(target, random.choice(PATHS), cookie=target.cookie)


async def tabs(target: Target) -> str:
    """One page after the other, none of which is ever used."""
    return await get(target, "/", cookie=target.cookie)


async def tiles(target: Target) -> str:
    """Tiles that there are, and tiles that there are not."""
    numbers = (random.choice((0, 0, 1, -1, 99, 2**70)) for _ in range(4))
    kind = random.choice(("image", "objects"))
    return await get(
        target, f"/mitosam/{kind}/" + "/".join(map(str, numbers)), cookie=target.cookie
    )


async def flood(target: Target) -> str:
    """A websocket with the cookie that sends garbage as fast as it can."""
    reader, writer = await _websocket(target)
    if not (await reader.readline()).startswith(b"HTTP/1.1 101"):
        writer.close()
        return "refused"
    await reader.readuntil(b"\r\n\r\n")
    drained = asyncio.create_task(reader.read())
    try:
        for _ in range(2000):
            writer.write(_frame(random.choice(GARBAGE).encode()))
            await writer.drain()
        return "took 2000 messages"
    except (ConnectionError, TimeoutError):
        return "closed"
    finally:
        drained.cancel()
        writer.close()


async def large_message(target: Target) -> str:
    """A websocket that sends a message of megabytes."""
    reader, writer = await _websocket(target)
    if not (await reader.readline()).startswith(b"HTTP/1.1 101"):
        writer.close()
        return "refused"
    await reader.readuntil(b"\r\n\r\n")
    try:
        writer.write(_frame(b'42["event",' + b"[" * 3_000_000 + b"]"))
        await writer.drain()
        await reader.read()
        return "closed"
    finally:
        writer.close()


async def _websocket(target: Target) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection(target.host, target.port)
    key = base64.b64encode(os.urandom(16)).decode()
    writer.write(
        f"GET {SOCKET} HTTP/1.1\r\nHost: {target.origin_host}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nOrigin: http://{target.origin_host}\r\nCookie: {target.cookie}\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    return reader, writer


def _frame(text: bytes) -> bytes:
    """A text message as clients send it, masked by zeros."""
    size = len(text)
    if size < 126:
        return bytes((0x81, 0x80 | size)) + bytes(4) + text
    if size < 65536:
        return bytes((0x81, 0xFE)) + size.to_bytes(2, "big") + bytes(4) + text
    return bytes((0x81, 0xFF)) + size.to_bytes(8, "big") + bytes(4) + text


KINDS: dict[str, Callable[[Target], Awaitable[str]]] = {
    "wrong or no token": stranger,
    "another host or origin": other_site,
    "large bodies": large_body,
    "slow requests": slow,
    "paths that lead out": traversal,
    "many tabs": tabs,
    "tiles": tiles,
    "floods of messages": flood,
    "large messages": large_message,
}
