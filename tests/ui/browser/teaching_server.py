"""A server of a real (tiny) model on a phantom: python -m tests.ui.browser.teaching_server FOLDER.

The folder holds `images.tif`, `masks.tif` and `model.safetensors`; teaching takes two steps.
"""

from __future__ import annotations

import sys
from pathlib import Path

from mitosam.config import resolve_settings
from mitosam.ui.browser.serve import bind, serve
from mitosam.ui.session.opening import open_session

TEACH_QUICKLY = (
    *("teaching.steps=2", "teaching.head_steps=2", "teaching.views=2", "head.crop_px=32"),
    *("model.precision=fp32", "data.patch_px=64", "data.tile_px=96"),
)


def main(folder: Path) -> None:
    """Serve until Ctrl-C; the address goes to standard output."""
    session = open_session(
        folder / "images.tif",
        labels=folder / "masks.tif",
        model=folder / "model.safetensors",
        settings=resolve_settings(overrides=TEACH_QUICKLY),
    )
    with bind(0) as listening:
        serve(session, listening, say=lambda address: print(address, flush=True))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
