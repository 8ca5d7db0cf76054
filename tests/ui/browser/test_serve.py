"""How the server ends."""

from __future__ import annotations

import signal

import uvicorn
from fastapi import FastAPI

from mitosam.ui.browser.serve import PatientServer


def test_a_second_ctrl_c_leaves_the_server_the_time_to_end():
    """Uvicorn would cancel what is still open, and show a traceback of that."""
    server = PatientServer(uvicorn.Config(FastAPI()))
    for _ in range(3):
        server.handle_exit(signal.SIGINT, None)
    assert server.should_exit
    assert not server.force_exit
