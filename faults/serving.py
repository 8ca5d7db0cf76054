"""`mitosam serve` with a user at its page, who sees after a crash whether each edit is still there.

The server is the process that is disturbed. Its user is a child of it, who goes on where the labels
that the server shows say that they are, and presses Ctrl-C when all is done.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

import aiohttp

from faults.child import end_with_parent, run_command
from faults.results import Result
from faults.tab import RefusedError, ServerGoneError, Tab
from mitosam.checksums import checksum

COMMAND = ("serve", "small.tif", "--model", "tuned.safetensors", "--out", "served")
NUM_EDITS = 24
NUM_SECTIONS = 4
LOGS, SHOWN = Path("../trial-logs"), "shown-{}"
"""A file for each edit that the page showed as done, outside of what is disturbed."""
STATES = Path("../states.txt")
"""The checksum of all labels after each edit, as the undisturbed user saw them."""
REFUSED, GONE, WRONG = 2, 3, 4
"""Exit codes of a user."""
WRONG_WORDS = "Traceback (most recent call last): "
"""What the harness takes for a mistake."""
Corners = list[list[float]]


def serve_and_edit() -> None:
    """Be the server, with a user who edits; it ends as the user does."""
    heard, said = os.pipe()
    user = os.fork()
    if not user:
        os.close(said)
        _use(heard)
    os.close(heard)
    os.dup2(said, 1)
    code = 1
    try:
        run_command(COMMAND)
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    finally:
        if code:
            os.kill(user, signal.SIGKILL)
        _, status = os.waitpid(user, 0)
    sys.exit(code or os.waitstatus_to_exitcode(status))


def _use(heard: int) -> NoReturn:
    """Edit until all is done or something fails, say how it went, and stop the server."""
    code = 1
    server = os.getppid()
    try:
        end_with_parent()
        with os.fdopen(heard, encoding="utf-8") as lines:
            address = lines.readline().strip()
        if not address:
            os._exit(GONE)
        asyncio.run(_edit(address))
        code = 0
    except ServerGoneError as error:
        code = GONE
        _say(f"the server is gone: {error}")
    except (RefusedError, AssertionError) as error:
        code = WRONG if isinstance(error, AssertionError) else REFUSED
        _say(f"{WRONG_WORDS}{error}" if code == WRONG else str(error))
    except BaseException as error:  # noqa: BLE001  # a mistake of ours is to be seen as one
        _say(f"{WRONG_WORDS}{type(error).__name__}: {error}")
    finally:
        if code != GONE and os.getppid() == server:
            os.kill(server, signal.SIGINT)
        os._exit(code)


def _say(line: str) -> None:
    os.write(2, f"{line}\n".encode())


async def _edit(address: str) -> None:
    """All edits that are not there yet.

    Raises
    ------
    AssertionError
        The labels are none that the undisturbed user saw, or an edit that was shown is gone.
    RefusedError
        The page says that an edit cannot be done.
    ServerGoneError
        The server ended.
    """
    origin = address.partition("/?")[0]
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as web:
        tab = Tab(web, origin)
        await tab.open(address)
        states = STATES.read_text().split() if STATES.exists() else []
        found = await _state(tab)
        if not states:
            states = [found]
        assert found in states, "the labels are none that edits had made"
        done = states.index(found)
        shown = len(list(LOGS.glob(SHOWN.format("*"))))
        assert done >= shown, f"{shown} edits were shown as done, and {done} are there"
        _note(range(shown, done))
        for number in range(done, NUM_EDITS):
            found = await _next(tab, number, states, found)
        STATES.write_text("\n".join(states))
        await tab.close()


async def _next(tab: Tab, number: int, states: list[str], before: str) -> str:
    """Make one edit, and compare what is shown with what the undisturbed user saw."""
    await _make(tab, number)
    found = await _state(tab)
    if found == before:
        raise RefusedError(tab.notice or f"edit {number} changed nothing")
    if number + 1 == len(states):
        assert found not in states
        states.append(found)
    assert found == states[number + 1], f"edit {number} gave other labels"
    _note([number])
    return found


def _note(shown: Iterable[int]) -> None:
    for number in shown:
        (LOGS / SHOWN.format(number)).touch()


async def _state(tab: Tab) -> str:
    return checksum(b"".join([await tab.objects(z) for z in range(NUM_SECTIONS)]))


async def _make(tab: Tab, number: int) -> None:
    """A new object, or more of it, or less of it."""
    which, step = divmod(number, 3)
    z, row = which % NUM_SECTIONS, which // NUM_SECTIONS
    top = 3 + 32 * row
    await tab.do(do="go", z=z)
    await tab.do(do="run", name="tool-lasso")
    if step:
        await tab.do(do="pick", id=which + 1)
    left, right = ((6, 30), (28, 50), (10, 18))[step]
    await tab.do(do="lasso", corners=_rectangle(left, top, right, top + 22))
    await tab.do(do="run", name=("accept", "add", "cut")[step])


def _rectangle(x0: float, y0: float, x1: float, y1: float) -> Corners:
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]


def served(folder: Path) -> Result:
    """The labels that the session left, as it keeps them and as they are exported."""
    from mitosam.io.open import open_volume
    from mitosam.ui.session.export import export_labels
    from mitosam.ui.session.kept import kept_labels

    labels = kept_labels(folder / "served")
    with tempfile.TemporaryDirectory() as away:
        exported = open_volume(export_labels(labels, Path(away) / "labels.tif", "tiff"))
        sums = [checksum(section.tobytes()) for section in exported.sections()]
    kept = [checksum(section.tobytes()) for section in labels.sections()]
    found = {f"kept {z}": one for z, one in enumerate(kept)}
    return found | {f"exported {z}": one for z, one in enumerate(sums)}
