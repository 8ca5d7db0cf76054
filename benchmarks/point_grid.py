"""Time of SAM's grid of points, tile by tile: a whole section would take minutes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fresh import reply
from benchmarks.segment_subject import MODEL, stack_name
from mitosam.inference.point_grid import find_masks
from mitosam.inference.settings import PointGridSettings
from mitosam.inference.tiles import overlapping_tiles
from mitosam.io.open import open_volume
from mitosam.workflows.automatic_model import encode_with
from mitosam.workflows.tuned_model import load_tuned_model


def measure(*, folder: str, num_sections: int, warmup: int, tiles: int) -> dict[str, Any]:
    """Seconds of each tile after the first few: encoding, all points, duplicates; and their number.

    The tiles are taken evenly from those of all sections.
    """
    settings = PointGridSettings()
    usable = load_tuned_model(Path(folder) / MODEL)
    volume = open_volume(Path(folder) / stack_name(num_sections))
    height, width = volume.shape_zyx[1:]
    step_px = round(usable.tile_px * (1 - settings.tile_overlap))
    windows = overlapping_tiles((height, width), usable.tile_px, step_px=step_px)
    all_tiles = [(z, window) for z in range(len(volume)) for window in windows]
    picks = np.linspace(0, len(all_tiles) - 1, warmup + tiles).round().astype(int)
    seconds = []
    for pick in picks:
        z, window = all_tiles[pick]
        rows, columns = (slice(start, start + window.height) for start in (window.y, window.x))
        pixels = volume.section(z)[rows, columns]
        started = time.perf_counter()
        find_masks(
            usable.sam, pixels, settings, tile_px=usable.tile_px, encode=encode_with(usable.sam)
        )
        seconds.append(time.perf_counter() - started)
    return {"tile_s": seconds[warmup:], "tiles_per_section": len(windows)}


if __name__ == "__main__":
    reply(measure)
