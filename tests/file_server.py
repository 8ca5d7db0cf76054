"""A small HTTP server on loopback that sends ranges, cuts connections and refuses, as asked."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@dataclass
class Served:
    """What is served, how, and what was asked."""

    files: dict[str, bytes]
    cut_after: int | None = None
    """Bytes after which the connection is closed."""
    sends_ranges: bool = True
    sends_length: bool = True
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    url: str = ""


@contextmanager
def serve(files: dict[str, bytes]) -> Iterator[Served]:
    """Serve these bytes under their names."""
    served = Served(files=files)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self, served)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def answer(handler: BaseHTTPRequestHandler, served: Served) -> None:
    name, asked = handler.path.lstrip("/"), handler.headers.get("Range")
    served.asked.append((name, asked))
    content = served.files.get(name)
    if content is None:
        handler.send_error(404)
        return
    tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
    start, found = 0, re.fullmatch(r"bytes=(\d+)-", asked or "")
    if found and served.sends_ranges and handler.headers.get("If-Range") == tag:
        start = int(found[1])
    if start >= len(content) > 0:
        handler.send_error(416)
        return
    handler.send_response(206 if start else 200)
    if start:
        handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
    if served.sends_length:
        handler.send_header("Content-Length", str(len(content) - start))
    handler.send_header("ETag", tag)
    handler.end_headers()
    stop = None if served.cut_after is None else start + served.cut_after
    handler.wfile.write(content[start:stop])
    handler.close_connection = True
