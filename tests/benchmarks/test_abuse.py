"""The same abuse as `python -m benchmarks.run --only abuse`, for seconds."""

from __future__ import annotations

import sys

import pytest

from benchmarks.abuse import abuse


@pytest.mark.skipif(sys.platform == "win32", reason="the server is ended by SIGINT")
def test_fifty_abusers_leave_the_server_small_and_its_user_served():
    found = abuse(6.0, calm_s=0.5)
    assert found.is_alive
    assert found.user_failures == 0
    assert max(size for _, size in found.held) < found.held[0][1] + 300 * 2**20
    assert set(found.answers["wrong or no token"]) <= {"403"}
    assert set(found.answers["another host or origin"]) <= {"403", "400"}
    assert set(found.answers["many tabs"]) <= {"200", "429", "503", "TimeoutError"}
    assert "200" not in found.answers["paths that lead out"]
    assert "still open" not in found.answers["slow requests"]
