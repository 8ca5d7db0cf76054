"""A session of discs, as the session's own tests have it, in a viewer of napari."""

from __future__ import annotations

import pytest

from tests.ui.session.conftest import open_session, session

__all__ = ["open_session", "session"]


@pytest.fixture
def settle(qtbot):
    """Wait until a controller has done and shown all that was asked of it."""

    def wait(controller, timeout=20_000):
        qtbot.waitUntil(lambda: controller.runner.idle, timeout=timeout)
        controller.refresh()

    return wait
