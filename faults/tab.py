"""One tab of the browser's page without a browser: what it sends, and what it is shown."""

from __future__ import annotations

import asyncio
import html
import json
import re
import uuid
from typing import Any

import aiohttp
import socketio

PATIENCE_S = 600.0
VIEWER = "nicegui-mitosam_viewer"


class ServerGoneError(Exception):
    """The server answers no more."""


class RefusedError(Exception):
    """What was asked for was not done, and the page says why."""


class Tab:
    """The page behind the address that `mitosam serve` prints, over its real websocket."""

    def __init__(self, web: aiohttp.ClientSession, origin: str) -> None:
        self._web, self._origin = web, origin
        self._socket = socketio.AsyncClient(http_session=web, reconnection=False)
        self._socket.on("run_javascript", self._told)
        self._socket.on("notify", self._noticed)
        self._socket.on("disconnect", self._lost)
        self._scenes: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._serial = 0
        self.notice = ""
        """What the page said last."""

    async def open(self, token_address: str) -> None:
        """Show the token, load the page and connect as its script does."""
        await self._get(token_address)
        page = (await self._get(f"{self._origin}/")).decode()
        elements = json.loads(html.unescape(_between(page, "String.raw`", "`")))
        query = _between(page, "query: ", ",\n").replace("'", '"').replace("True", "true")
        number, viewer = next(
            (number, one) for number, one in elements.items() if one["tag"] == VIEWER
        )
        acts = next(one for one in viewer["events"] if one["type"] == "act")
        asked = {**json.loads(query), "document_id": uuid.uuid4(), "tab_id": uuid.uuid4()}
        self._event = {
            "id": int(number), "client_id": asked["client_id"], "listener_id": acts["listener_id"]
        }  # fmt: skip
        words = "&".join(f"{name}={str(value).lower()}" for name, value in asked.items())
        try:
            await self._socket.connect(
                f"{self._origin}/?{words}",
                headers={"Origin": self._origin},
                transports=["websocket"],
                socketio_path="/_nicegui_ws/socket.io",
            )
        except socketio.exceptions.ConnectionError as error:
            raise ServerGoneError(str(error)) from error

    async def do(self, **message: object) -> dict[str, Any]:
        """Send a message; the scene that answers it."""
        self._serial += 1
        sent = {**message, "serial": self._serial}
        try:
            await self._socket.emit("event", {**self._event, "args": [json.dumps(sent)]})
            while True:
                scene = await asyncio.wait_for(self._scenes.get(), PATIENCE_S)
                if scene is None:
                    raise ServerGoneError("the websocket was closed")
                if scene["answered"] >= self._serial:
                    return scene
        except socketio.exceptions.SocketIOError as error:
            raise ServerGoneError(str(error)) from error

    async def objects(self, z: int) -> bytes:
        """The ids of a section as the canvas gets them."""
        return await self._get(f"{self._origin}/mitosam/objects/{z}/0/0/0?version={uuid.uuid4()}")

    async def close(self) -> None:
        """Close the tab."""
        await self._socket.disconnect()

    async def _get(self, address: str) -> bytes:
        try:
            async with self._web.get(address) as answer:
                if answer.status != 200:
                    raise RefusedError(f"{answer.status}: {(await answer.text())[:300]}")
                return await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ServerGoneError(str(error)) from error

    async def _told(self, sent: dict[str, Any]) -> None:
        called = re.fullmatch(r'return runMethod\(\d+, "show", \[(.*)\]\)', sent["code"], re.DOTALL)
        if called:
            self._scenes.put_nowait(json.loads(called[1]))

    async def _noticed(self, sent: dict[str, Any]) -> None:
        self.notice = str(sent.get("message", ""))

    async def _lost(self, *_: object) -> None:
        self._scenes.put_nowait(None)


def _between(text: str, before: str, after: str) -> str:
    return text.partition(before)[2].partition(after)[0]
