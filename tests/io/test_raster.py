from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import imageio.v3 as iio
import numpy as np
from PIL import Image

from mitosam.io.raster import read_header

TIMEOUT_S = 60


def test_threads_that_read_at_a_time_are_all_let_through_and_leave_the_limit(tmp_path, monkeypatch):
    """Pillow's limit on pixels is one for the whole process: here the first one ends first."""
    for name, side in (("first", 3), ("second", 30)):
        iio.imwrite(tmp_path / f"{name}.png", np.zeros((side, side), np.uint8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    begun = {name: threading.Event() for name in ("first", "second")}
    first_ended = threading.Event()
    open_image = Image.open

    def open_late(path, *args, **kwargs):
        begun[path.stem].set()
        (begun["second"] if path.stem == "first" else first_ended).wait(TIMEOUT_S)
        return open_image(path, *args, **kwargs)

    monkeypatch.setattr(Image, "open", open_late)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(read_header, tmp_path / "first.png")
        assert begun["first"].wait(TIMEOUT_S)
        second = pool.submit(read_header, tmp_path / "second.png")
        assert first.result().shape_yx == (3, 3)
        first_ended.set()
        assert second.result().shape_yx == (30, 30)
    assert Image.MAX_IMAGE_PIXELS == 100
