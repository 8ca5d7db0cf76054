"""What everything is measured on: a prepared volume, and a ViT-B SAM with random weights.

Speed does not depend on the weights' values, so none need to be fetched.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from benchmarks.fresh import reply
from benchmarks.patches import paper_settings
from mitosam.data.phantom import make_phantom
from mitosam.data.prepared import prepare_volume
from mitosam.geometry import PatchGrid
from mitosam.io.volume import Volume
from mitosam.workflows.prepare import open_pair

PHANTOM_ZYX = (6, 512, 768)
MAX_SECTIONS = 24


def measure(
    *, folder: str, images: str | None, masks: str | None, num_patches: int | None
) -> dict[str, Any]:
    """Write `volume/` and `vit_b/`, or `volume/` alone, repeated to hold that many patches."""
    sources = open_sources(images, masks)
    count = min(len(sources[0]), MAX_SECTIONS)
    if num_patches is not None:
        count = _sections_for(num_patches, sources[1])
    image_volume, mask_volume = (repeated(volume, count) for volume in sources)
    target = Path(folder) / "volume"
    target.mkdir(parents=True)
    prepare_volume(image_volume, mask_volume, target)
    if num_patches is None:
        _write_vit_b(Path(folder) / "vit_b")
    return {"name": image_volume.name, "shape_zyx": image_volume.shape_zyx}


def _sections_for(num_patches: int, masks: Volume) -> int:
    """How many sections hold so many patches with mitochondria, and some more to be safe."""
    grid = PatchGrid(masks.shape_zyx[1:], paper_settings().data.patch_px)
    held = sum(int(grid.cut(section).any(axis=(1, 2)).sum()) for section in masks.sections())
    return math.ceil(1.2 * num_patches * len(masks) / held)


def open_sources(
    images: str | None, masks: str | None, phantom_zyx: tuple[int, int, int] = PHANTOM_ZYX
) -> tuple[Volume, Volume]:
    """Images and masks, section by section; the phantom's where there are none."""
    if images and masks:
        image_volume, mask_volume, pairing = open_pair(Path(images), Path(masks))
        order = list(zip(*pairing.sections, strict=True))
        return _picked(image_volume, order[0]), _picked(mask_volume, order[1])
    phantom = make_phantom(phantom_zyx, seed=0)
    return _volume("phantom", phantom.images), _volume("phantom masks", phantom.labels)


def _volume(name: str, stack: Shaped[np.ndarray, "z y x"]) -> Volume:
    z, y, x = stack.shape
    return Volume(
        name=name,
        shape_zyx=(z, y, x),
        dtype=stack.dtype,
        section_names=tuple(f"page {i + 1}" for i in range(z)),
        read_section=lambda i: stack[i],
    )


def repeated(volume: Volume, count: int) -> Volume:
    """The sections over and over, each time moved on by a pixel: the cache knows none of them."""
    depth = len(volume)
    picked = _picked(volume, [z % depth for z in range(count)])
    return replace(
        picked, read_section=lambda z: np.roll(picked.read_section(z), z // depth, axis=1)
    )


def _picked(volume: Volume, sections: Sequence[int]) -> Volume:
    return replace(
        volume,
        shape_zyx=(len(sections), *volume.shape_zyx[1:]),
        section_names=tuple(volume.section_names[z] for z in sections),
        read_section=lambda z: volume.read_section(sections[z]),
    )


def _write_vit_b(folder: Path) -> None:
    import torch
    from transformers import SamConfig, SamModel

    torch.manual_seed(0)
    SamModel(SamConfig()).save_pretrained(folder)


if __name__ == "__main__":
    reply(measure)
