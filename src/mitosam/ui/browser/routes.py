"""The addresses that the canvas reads tiles from, and exports are taken away from."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np
from fastapi import APIRouter, HTTPException
from jaxtyping import UInt8
from starlette.responses import FileResponse, Response

from mitosam.errors import MitosamError
from mitosam.ui.browser.pictures import Tile, image_tile, label_tile, packed_ids
from mitosam.ui.session.session import Session

SECTIONS_HELD = 3
MAX_TICKETS = 50
_CUTTING = asyncio.Semaphore(8)
"""Tiles that are cut at once; each takes a few megabytes."""
RAW = "application/octet-stream"


class Sections:
    """The last few sections that were read, so that the tiles of one are cut from one reading."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._held: OrderedDict[int, UInt8[np.ndarray, "height width"]] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, z: int) -> UInt8[np.ndarray, "height width"]:
        """A section in grey values of 0 to 255."""
        with self._lock:
            if z not in self._held:
                self._held[z] = self._session.image(z)
            self._held.move_to_end(z)
            while len(self._held) > SECTIONS_HELD:
                self._held.popitem(last=False)
            return self._held[z]


@dataclass(frozen=True, slots=True)
class Downloads:
    """Files that may be taken away, each under a name that only the page knows."""

    _paths: dict[str, Path] = field(default_factory=dict)

    def offer(self, path: Path) -> str:
        """The address of a file; a folder is packed into a ZIP file beside it first."""
        if path.is_dir():
            path = Path(shutil.make_archive(str(path), "zip", path.parent, path.name))
        while len(self._paths) >= MAX_TICKETS:
            del self._paths[next(iter(self._paths))]
        ticket = secrets.token_urlsafe(16)
        self._paths[ticket] = path
        return f"/mitosam/exports/{ticket}"

    def find(self, ticket: str) -> Path | None:
        """The file of an address that was given out, None if it was not, or the file is gone."""
        path = self._paths.get(ticket)
        return path if path is not None and path.is_file() else None


def make_routes(session: Session, downloads: Downloads) -> APIRouter:
    """The routes of one session. Reading goes on in threads, so that the page stays alive."""
    router = APIRouter(prefix="/mitosam")
    sections = Sections(session)
    shape_yx = session.shape_zyx[1:]

    @router.get("/image/{z}/{level}/{row}/{column}")
    async def image(z: int, level: int, row: int, column: int) -> Response:
        def cut() -> bytes:
            tile = Tile(level=level, row=row, column=column)
            tile.bounds(shape_yx)
            return image_tile(sections.read(z), tile).tobytes()

        # A section never changes while it is served; another volume has another port or token.
        keep = {"cache-control": "private, max-age=600"}
        return Response(await _in_thread(cut), media_type=RAW, headers=keep)

    @router.get("/objects/{z}/{level}/{row}/{column}")
    async def objects(z: int, level: int, row: int, column: int) -> Response:
        def cut() -> bytes:
            tile = Tile(level=level, row=row, column=column)
            return packed_ids(label_tile(session, z, tile, shape_yx))

        headers = {"content-encoding": "deflate", "cache-control": "no-store"}
        return Response(await _in_thread(cut), media_type=RAW, headers=headers)

    @router.get("/exports/{ticket}")
    async def export(ticket: str) -> Response:
        path = downloads.find(ticket)
        if path is None:
            _not_found("there is no such export")
        return FileResponse(path, filename=path.name, media_type=RAW)

    return router


async def _in_thread(cut: Callable[[], bytes]) -> bytes:
    try:
        async with _CUTTING:
            return await asyncio.to_thread(cut)
    except MitosamError as error:
        _not_found(str(error))


def _not_found(why: str) -> NoReturn:
    raise HTTPException(status_code=404, detail=why)
