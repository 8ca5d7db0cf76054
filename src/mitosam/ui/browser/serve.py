"""Serving the page on this machine until Ctrl-C."""

from __future__ import annotations

import errno
import logging
import secrets
import signal
import socket
import warnings
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI, Request
from nicegui import Client, ui

from mitosam.errors import SettingsError
from mitosam.ui.browser.guard import MAX_MESSAGE_BYTES, Guard
from mitosam.ui.browser.page import Page
from mitosam.ui.browser.routes import Downloads, make_routes
from mitosam.ui.browser.throttle import MAX_CONNECTIONS, PatientProtocol
from mitosam.ui.session.session import Session

HERE = Path(__file__).parent
LOOPBACK = "127.0.0.1"
RECONNECT_S = 15.0
ICON = (
    "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'>"
    "<rect x='2' y='7' width='28' height='18' rx='9' fill='#2f7df6'/>"
    "<path d='M8 11v10M13 9v10M18 13v10M23 10v9' stroke='#fff' stroke-width='2.4' "
    "stroke-linecap='round' fill='none'/></svg>"
)


def build_app(session: Session, token: str) -> Guard:
    """The page and its routes behind the guard; once in a process, as NiceGUI has one app."""
    downloads = Downloads()
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(make_routes(session, downloads))

    @ui.page("/")
    async def page(request: Request) -> None:
        ui.add_css(HERE / "style.css")
        theme = request.cookies.get("mitosam_theme")
        ui.dark_mode(theme != "light")
        made = Page(session, downloads)
        ui.context.client.on_delete(made.close)

    name = f"{session.volume.name} · mitosam"
    ui.run_with(
        app,
        title=name,
        favicon=ICON,
        tailwind=False,
        reconnect_timeout=RECONNECT_S,
        show_welcome_message=False,
    )
    return Guard(app, token=token, num_tabs=lambda: len(Client.instances))


def bind(port: int) -> socket.socket:
    """A socket on this machine alone; port 0 is any that is free.

    Raises
    ------
    SettingsError
        The port is taken or not allowed.
    """
    if not 0 <= port <= 65535:
        raise SettingsError(f"--port must lie in 0 to 65535, got {port}")
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((LOOPBACK, port))
        listening.listen()  # a browser that comes before all is ready waits
    except OSError as error:
        listening.close()
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        raise SettingsError(
            f"port {port} cannot be used: {error.strerror}; leave --port out, and any will do"
        ) from error
    return listening


def serve(
    session: Session,
    listening: socket.socket,
    *,
    say: Callable[[str], None],
    open_browser: bool = False,
) -> None:
    """Serve a session until Ctrl-C, then close it.

    `say` is told the address, which holds the token.
    """
    quiet()
    token = secrets.token_urlsafe(32)
    port = listening.getsockname()[1]
    address = f"http://{LOOPBACK}:{port}/?token={token}"
    config = uvicorn.Config(
        build_app(session, token),
        log_config=None,
        access_log=False,
        server_header=False,
        ws_max_size=MAX_MESSAGE_BYTES,
        ws_max_queue=4,  # messages of a megabyte that wait to be looked at
        http=PatientProtocol,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=2,
    )
    with closing(session):
        say(address)
        if open_browser:
            webbrowser.open(address)
        PatientServer(config).run(sockets=[listening])


class PatientServer(uvicorn.Server):
    """A server whose end is not hurried by a second Ctrl-C: it would show a traceback."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end, which takes `timeout_graceful_shutdown` at most."""
        if not self.should_exit:
            super().handle_exit(sig, frame)


def quiet() -> None:
    """Leave it to us to say what is going on."""
    for name in ("uvicorn", "nicegui", "engineio", "socketio"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # It looks at every object there is for a server, and torch warns of being looked at.
    warnings.filterwarnings("ignore", category=FutureWarning, module="nicegui")


@contextmanager
def closing(session: Session) -> Iterator[None]:
    """A block that Ctrl-C and the system's request to end leave in good order."""

    def end(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        with suppress(KeyboardInterrupt):
            yield
    finally:
        signal.signal(signal.SIGTERM, before)
        session.close()
