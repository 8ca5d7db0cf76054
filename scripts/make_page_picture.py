"""Draw docs/images/page.png: the page of `mitosam serve` on a made-up volume, in a real Chromium.

python scripts/make_page_picture.py            with the embedded model
python scripts/make_page_picture.py demo/run   with a tuned one, as `make demo` leaves it
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from mitosam.data.phantom import make_phantom
from mitosam.io.write import write_stack_tiff

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "page.png"
SHAPE_ZYX = (12, 480, 640)
SIZE = {"width": 1280, "height": 720}
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")
FOUND, READY = 60_000, 60_000  # ms
PLACE = (718, 185)  # an object, in the page's pixels


def main() -> None:
    """Serve a phantom, find its mitochondria by word, outline one by a click, and look."""
    model = sys.argv[1] if len(sys.argv) > 1 else "vit_t"
    path = next(filter(None, map(shutil.which, BROWSERS)))
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder), model) as address,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        page = browser.new_page(viewport=SIZE)  # type: ignore[arg-type]  # a mapping will do
        page.goto(address)
        work_on(page)
        PICTURE.parent.mkdir(exist_ok=True)
        page.screenshot(path=PICTURE)
        browser.close()
    print(PICTURE)


@contextmanager
def serving(folder: Path, model: str) -> Iterator[str]:
    """The address of a page on a phantom."""
    phantom = make_phantom(SHAPE_ZYX, seed=7)
    images = folder / "hippocampus.tif"
    write_stack_tiff(images, phantom.images, phantom.voxel_size_nm)
    command = [sys.executable, "-m", "mitosam", "serve", str(images), "--model", model]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        yield server.stdout.readline().strip()
    finally:
        server.send_signal(signal.SIGINT)
        server.wait()


def work_on(page: Page) -> None:
    """Find, then point."""
    page.wait_for_selector("canvas", timeout=READY)
    page.keyboard.press("/")
    page.keyboard.type("mitochondria")
    page.keyboard.press("Enter")
    page.get_by_text("% sure").first.wait_for(timeout=FOUND)
    page.mouse.click(*PLACE)
    page.get_by_text("Keep").first.wait_for(timeout=READY)
    page.wait_for_timeout(9000)  # the notice goes, and the sections ahead are embedded


if __name__ == "__main__":
    main()
