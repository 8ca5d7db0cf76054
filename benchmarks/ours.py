"""Our way, through the same functions as `mitosam train`: encode once, then train on the cache."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.fresh import reply
from benchmarks.patches import first_patches, paper_settings
from mitosam.embeddings import CacheSettings
from mitosam.models.load import load_model
from mitosam.training.parts import choose_parts
from mitosam.training.trainer import Trainer
from mitosam.workflows.models import keep_freed_memory, open_cache, place
from mitosam.workflows.tiles import cached_examples


def measure(
    *, folder: str, encoder: str, warmup: int, encodings: int, steps: int
) -> dict[str, Any]:
    """Seconds of each encoding, kept on disk, and of each step, after the first few."""
    keep_freed_memory()
    settings = paper_settings()
    sam = load_model(f"{folder}/vit_b" if encoder == "vit_b" else "vit_t")
    sam = place(sam, settings.model)
    tiles = first_patches(folder, warmup + encodings, settings)
    with tempfile.TemporaryDirectory() as cache_folder:
        cache = open_cache(sam, CacheSettings(folder=Path(cache_folder)))
        encode_s = []
        for tile in tiles:
            started = time.perf_counter()
            cache.fill_one(tile.pixels(), tile.frame(sam.input_px))
            encode_s.append(time.perf_counter() - started)
        examples = cached_examples(tiles, cache, sam.input_px, settings.data)
        parts = choose_parts(sam, settings.training, seed=0)
        trainer = Trainer(sam, parts, examples, [], settings.training, seed=0)
        step_s = []
        for step in range(warmup + steps):
            started = time.perf_counter()
            trainer.step(step, 0.5)
            step_s.append(time.perf_counter() - started)
    return {
        "precision": sam.precision,
        "encode_s": encode_s[warmup:],
        "step_s": step_s[warmup:],
    }


if __name__ == "__main__":
    reply(measure)
