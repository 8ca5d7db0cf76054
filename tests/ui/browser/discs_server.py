"""A server of the session of discs on a folder: python -m tests.ui.browser.discs_server FOLDER."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import numpy as np

from mitosam.config import resolve_settings
from mitosam.io.volume import volume_of_array
from mitosam.ui.browser.serve import bind, serve
from mitosam.ui.session.session import Session
from mitosam.ui.session.store import AnnotationStore
from tests.ui.session.discs import SHAPE, DiscAssistant, disc


class Discs(DiscAssistant):
    """The model that outlines discs, on a picture of some."""

    def __init__(self, images: np.ndarray) -> None:
        super().__init__()
        self.image = images.__getitem__


def make_images() -> np.ndarray:
    """Dark discs on a grey ground with grain."""
    images = np.random.default_rng(0).normal(150, 12, SHAPE)
    for z in range(SHAPE[0]):
        for y, x, radius in ((30, 40, 12), (80, 200, 20), (60, 120, 15)):
            images[z][disc(z, y, x, radius)] -= 60
    return images.clip(0, 255).astype(np.uint8)


def main(folder: Path) -> None:
    """Serve until Ctrl-C; the address goes to standard output."""
    logging.basicConfig(level=logging.WARNING)
    images = make_images()
    session = Session(
        volume_of_array("discs.tif", images),
        AnnotationStore(folder / "annotations.sqlite", SHAPE),
        "discs",
        lambda *_: Discs(images),
        folder=folder,
        settings=resolve_settings(),
        voxel_size_nm=(30.0, 8.0, 8.0),
    )
    with bind(0) as listening:
        serve(session, listening, say=lambda address: print(address, flush=True))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
