"""Whether memory stays flat as the number of patches grows."""

from __future__ import annotations

from dataclasses import dataclass, replace

from benchmarks.fresh import Setup

SIZES, QUICK_SIZES = (100, 400, 1640), (24, 48)
EARLY_STEPS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Peak memory of one epoch, in bytes: with the cache filled, after 10 steps, at the end."""

    num_patches: int
    num_steps: int
    cache_bytes: int
    filled_bytes: int
    early_bytes: int
    peak_bytes: int


def ask(setup: Setup) -> list[Memory]:
    """One epoch at each size, each in a new process; the larger reuse the smaller's embeddings."""
    sizes = QUICK_SIZES if setup.quick else SIZES
    many = replace(setup, folder=f"{setup.folder}/many")
    many.fresh("subject", images=setup.images, masks=setup.masks, num_patches=sizes[-1])
    return [_memory(many, size) for size in sizes]


def _memory(setup: Setup, num_patches: int) -> Memory:
    answer = setup.fresh("long_training", num_patches=num_patches, early_steps=EARLY_STEPS)
    return Memory(num_patches=num_patches, **answer)
