"""A web server on loopback that serves a folder, with ranges, and with what goes wrong."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Fault = int | str | None
"""A status to answer with, "drop" (the line, halfway), "slow" (halfway), or None."""


class WebServer:
    """Serves files below `root`; `fault` says for each request what goes wrong."""

    def __init__(self, root):
        self.root = root
        self.fault: Callable[[str, int], Fault] = lambda path, number: None
        self.requests: list[str] = []
        self.knows_ranges = True
        self._connections: list[socket.socket] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def count(self, path):
        return sum(path in request for request in self.requests)

    @contextlib.contextmanager
    def running(self):
        thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield self
        finally:
            self.stop()
            thread.join()

    def stop(self):
        self._server.shutdown()
        self._server.server_close()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _handler(self):
        served = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                super().setup()
                served._connections.append(self.connection)

            def log_message(self, *args):
                pass

            def do_HEAD(self):
                self.answer(with_body=False)

            def do_GET(self):
                self.answer(with_body=True)

            def answer(self, *, with_body):
                served.requests.append(self.path)
                fault = served.fault(self.path, served.count(self.path))
                path = served.root / self.path.partition("?")[0].lstrip("/")
                if isinstance(fault, int) or not path.is_file():
                    return self.reply(fault or 404, b"<html>no</html>", {}, with_body)
                content, status, headers = path.read_bytes(), 200, {}
                asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
                if asked and served.knows_ranges:
                    first, last = asked.groups()
                    size = len(content)
                    start = int(first) if first else max(size - int(last), 0)
                    stop = min(int(last) + 1, size) if first and last else size
                    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
                    content, status = content[start:stop], 206
                return self.reply(status, content, headers, with_body, fault)

            def reply(self, status, content, headers, with_body, fault=None):
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.send_header("Accept-Ranges", "bytes" if served.knows_ranges else "none")
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                if not with_body:
                    return
                half = len(content) // 2
                with contextlib.suppress(ConnectionError):  # the reader may have given up
                    self.wfile.write(content[:half])
                    if fault == "drop":
                        self.close_connection = True
                        return
                    if fault == "slow":
                        time.sleep(0.5)
                    self.wfile.write(content[half:])

        return Handler
