"""A real browser on a real server, and what a user does with a page."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from tests.ui.session.discs import SHAPE

ROOT = Path(__file__).parents[3]
NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
SIZE = {"width": 1280, "height": 720}
PATIENCE_MS = 120_000  # for a busy machine
MARGIN = 16  # as the camera leaves round a section


def find_chromium() -> str | None:
    """Where Chromium is, None if it is not installed."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Server:
    """A server in a process of its own, on one folder."""

    def __init__(self, folder: Path, module: str = "discs_server") -> None:
        self.folder = folder
        self.log = folder / "server.log"
        # NiceGUI behaves otherwise in a process that it takes for a test.
        environment = {k: v for k, v in os.environ.items() if k != "PYTEST_CURRENT_TEST"}
        paths = (str(ROOT), str(ROOT / "src"), environment.get("PYTHONPATH", ""))
        environment["PYTHONPATH"] = os.pathsep.join(paths)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", f"tests.ui.browser.{module}", str(folder)],
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=folder,
                env=environment,
                text=True,
            )
        self.address = self.process.stdout.readline().strip()
        assert self.address, self.log.read_text()

    @property
    def origin(self) -> str:
        return self.address.partition("/?")[0]

    def end(self, number: int = signal.SIGINT) -> int:
        """Send it a signal and wait for its exit code."""
        self.process.send_signal(number)
        code = self.process.wait(30)
        self.process.stdout.close()
        return code


class User:
    """What a user does on one page of the discs, in pixels of the section."""

    def __init__(self, page, address: str) -> None:
        self.page = page
        self.requests: list[str] = []
        self.errors: list[str] = []
        page.set_default_timeout(PATIENCE_MS)
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.goto(address)
        self.wait("document.querySelector('.m-viewer canvas[role]')?.ariaLabel.includes(' of ')")

    def wait(self, condition: str) -> None:
        self.page.wait_for_function(condition)

    def is_answered(self) -> None:
        """Wait until everything that was sent has been answered and drawn."""
        self.wait(
            "(({ sent, answered }) => sent === answered)"
            "(document.querySelector('.m-viewer').dataset)"
        )

    def at(self, x: float, y: float) -> tuple[float, float]:
        box = self.page.locator(".m-viewer").bounding_box()
        width, height = SHAPE[2], SHAPE[1]
        scale = min((box["width"] - 2 * MARGIN) / width, (box["height"] - 2 * MARGIN) / height)
        left = box["x"] + (box["width"] - width * scale) / 2
        top = box["y"] + (box["height"] - height * scale) / 2
        return left + x * scale, top + y * scale

    def click(self, x: float, y: float, **how) -> None:
        self.page.mouse.click(*self.at(x, y), **how)

    def drag(self, *corners: tuple[float, float]) -> None:
        self.page.mouse.move(*self.at(*corners[0]))
        self.page.mouse.down()
        for corner in corners[1:]:
            self.page.mouse.move(*self.at(*corner), steps=4)
        self.page.mouse.up()

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def outline(self, x: float, y: float) -> None:
        """Make an object where the user clicks."""
        before = self.num_objects()
        self.press("c")
        self.click(x, y)
        self.sees_candidates(3)
        self.press("Enter")
        self.has_objects(before + 1)

    def sees_candidates(self, count: int) -> None:
        self.wait(f"document.querySelectorAll('.m-choice:not(.hidden)').length === {count}")
        shown = "block" if count else "none"
        self.wait(
            "getComputedStyle(document.querySelector('.m-choices')).display"
            f" {'!==' if shown == 'block' else '==='} 'none'"
        )

    def sees_no_dialog(self) -> None:
        self.page.wait_for_selector(".q-dialog", state="detached")

    def num_objects(self) -> int:
        return self.page.locator(".m-objects li[data-id]").count()

    def has_objects(self, count: int) -> None:
        self.wait(f"document.querySelectorAll('.m-objects li[data-id]').length === {count}")

    def has_selected(self, title: str) -> None:
        shown = "document.querySelector('.m-selection').innerText"
        self.wait(f"{shown}.startsWith({json.dumps(title)})")

    def areas(self) -> list[str]:
        return self.page.locator(".m-objects .area").all_inner_texts()

    def on_section(self, number: int) -> None:
        label = "document.querySelector('.m-viewer canvas[role]').ariaLabel"
        self.wait(f"{label}.startsWith('Section {number} ')")

    def reads(self, text: str) -> None:
        self.page.get_by_text(text).first.wait_for()
