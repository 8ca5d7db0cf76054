"""Whether the browser's server stays small and answers its user while fifty clients abuse it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from benchmarks.abuse_clients import KINDS, Target, get
from benchmarks.fresh import Setup, environment

NUM_CLIENTS = 50
SECONDS, QUICK_SECONDS = 300.0, 20.0
EVERY_S = 2.0
TILE = "/mitosam/image/0/0/0/0"
CALM_S = 15.0
"""After which what the clients left open is closed, at the latest."""


@dataclass(slots=True, kw_only=True)
class Abuse:
    """What came back to each kind of client, and what the server held: bytes by seconds."""

    num_clients: int
    seconds: float
    answers: dict[str, dict[str, int]] = field(default_factory=dict)
    held: list[tuple[float, int]] = field(default_factory=list)
    calm_bytes: int = 0
    user_waits_s: list[float] = field(default_factory=list)
    user_failures: int = 0
    is_alive: bool = False

    def bytes_at(self, seconds: float) -> int:
        """What the server held about then."""
        return min(self.held, key=lambda pair: abs(pair[0] - seconds))[1]


def ask(setup: Setup) -> Abuse:
    """Abuse for five minutes."""
    return abuse(QUICK_SECONDS if setup.quick else SECONDS)


def abuse(seconds: float, num_clients: int = NUM_CLIENTS, calm_s: float = CALM_S) -> Abuse:
    """The same for any time."""
    found = Abuse(num_clients=num_clients, seconds=seconds)
    with TemporaryDirectory(prefix="abuse-") as folder:
        server = _start(Path(folder))
        try:
            assert server.stdout is not None
            target = Target.of(server.stdout.readline().strip())
            asyncio.run(_abuse(found, target, server.pid, calm_s))
            found.is_alive = server.poll() is None
        finally:
            server.send_signal(signal.SIGINT)
            try:
                server.wait(15)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
            assert server.stdout is not None
            server.stdout.close()
    return found


def _start(folder: Path) -> subprocess.Popen[str]:
    kept = {k: v for k, v in os.environ.items() if k != "PYTEST_CURRENT_TEST"}
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.ui.browser.discs_server", str(folder)],
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=folder,
            env=kept | {"PYTHONPATH": environment(1)["PYTHONPATH"]},
            text=True,
        )


async def _abuse(found: Abuse, target: Target, pid: int, calm_s: float) -> None:
    target.cookie = await _cookie(target)
    await _use(found, target)  # what the first answer needs is loaded
    found.user_waits_s.clear()
    started = time.monotonic()
    found.held.append((0.0, _held(pid)))
    counts = {name: Counter[str]() for name in KINDS}
    names = [name for _, name in zip(range(found.num_clients), _over_and_over(), strict=False)]
    until = started + found.seconds
    tasks = [asyncio.create_task(_client(name, target, until, counts[name])) for name in names]
    while time.monotonic() < until:
        await _use(found, target)
        found.held.append((time.monotonic() - started, _held(pid)))
        await asyncio.sleep(EVERY_S)
    await asyncio.wait(tasks, timeout=10)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(calm_s)
    await _use(found, target)
    found.calm_bytes = _held(pid)
    found.answers = {name: dict(sorted(count.items())) for name, count in counts.items()}


def _over_and_over() -> list[str]:
    return list(KINDS) * NUM_CLIENTS


async def _client(name: str, target: Target, until: float, counts: Counter[str]) -> None:
    """Go on with one kind of abuse until the time is over, whatever the server answers."""
    while time.monotonic() < until:
        try:
            async with asyncio.timeout(30):
                counts[await KINDS[name](target)] += 1
        except (OSError, EOFError, ValueError, TimeoutError) as error:
            counts[type(error).__name__] += 1
        await asyncio.sleep(0.01)


async def _use(found: Abuse, target: Target) -> None:
    """What a user waits for a tile."""
    started = time.monotonic()
    try:
        async with asyncio.timeout(60):
            status = await get(target, TILE, cookie=target.cookie)
    except (OSError, EOFError, ValueError, TimeoutError):
        status = "none"
    found.user_failures += status != "200"
    found.user_waits_s.append(time.monotonic() - started)


async def _cookie(target: Target) -> str:
    """The cookie that the printed address gives."""
    reader, writer = await asyncio.open_connection(target.host, target.port)
    request = f"GET /?token={target.token} HTTP/1.1\r\nHost: {target.origin_host}\r\n\r\n"
    writer.write(request.encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    writer.close()
    match = re.search(r"set-cookie: ([^;]+)", head, re.IGNORECASE)
    assert match is not None, head
    return match[1]


def _held(pid: int) -> int:
    return int(psutil.Process(pid).memory_info().rss)
