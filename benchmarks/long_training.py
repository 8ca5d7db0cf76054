"""Peak memory of one epoch of training on many patches, with made-up embeddings in the cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from benchmarks.fresh import reply
from benchmarks.patches import first_patches, paper_settings
from mitosam.embeddings import CacheSettings, EmbeddingCache
from mitosam.geometry import ModelFrame
from mitosam.models.load import load_model
from mitosam.training.parts import choose_parts
from mitosam.training.trainer import Trainer
from mitosam.workflows.models import keep_freed_memory, place
from mitosam.workflows.peak_memory import peak_bytes
from mitosam.workflows.tiles import cached_examples, encode_tiles


def measure(*, folder: str, num_patches: int, early_steps: int) -> dict[str, Any]:
    """The peak once the cache is filled, after a few steps, and (as for all) at the end."""
    keep_freed_memory()
    settings = paper_settings()
    sam = place(load_model("vit_t"), settings.model)
    tiles = first_patches(folder, num_patches, settings)
    assert len(tiles) == num_patches, f"the volume holds only {len(tiles)} patches"
    cache = _made_up_cache(Path(folder) / "embeddings", sam.embedding_shape)
    keys = encode_tiles(tiles, cache, sam.input_px)
    filled_bytes = peak_bytes()
    examples = cached_examples(tiles, cache, sam.input_px, settings.data)
    parts = choose_parts(sam, settings.training, seed=0)
    trainer = Trainer(sam, parts, examples, [], settings.training, seed=0)
    num_steps = num_patches // settings.training.batch_tiles
    early_bytes = 0
    for step in range(num_steps):
        trainer.step(step, step / num_steps)
        if step + 1 == early_steps:
            early_bytes = peak_bytes()
    return {
        "filled_bytes": filled_bytes,
        "early_bytes": early_bytes,
        "num_steps": num_steps,
        "cache_bytes": len(set(keys)) * 2 * int(np.prod(sam.embedding_shape)),
    }


def _made_up_cache(folder: Path, shape: tuple[int, int, int]) -> EmbeddingCache:
    noise = np.random.default_rng(0).standard_normal(shape, np.float32)

    def encode(pixels: UInt8[np.ndarray, "h w"], frame: ModelFrame) -> Float[np.ndarray, "C h w"]:
        return np.roll(noise, int(pixels.sum()) + frame.origin_yx[0], axis=2)

    return EmbeddingCache(
        CacheSettings(folder=folder),
        model_name="made-up",
        weights_hash="none",
        precision="fp16",
        encode=encode,
    )


if __name__ == "__main__":
    reply(measure)
