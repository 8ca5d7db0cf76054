"""Train the head that comes with vit_t, on made-up volumes alone.

    python scripts/train_phantom_head.py src/mitosam/models/weights/vit_t_head.safetensors

It takes about 20 minutes on one core. What stops it leaves OUT with the suffix .checkpoint, and it
goes on from there.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float16, Int, UInt8
from scipy.ndimage import gaussian_filter
from torch import nn

from mitosam.data.phantom import make_phantom
from mitosam.geometry import Window
from mitosam.inference.section_embedding import section_embedding
from mitosam.models.head import Head, HeadShape
from mitosam.models.shipped_head import save_shipped_head
from mitosam.training.crops import SectionExample
from mitosam.training.head_settings import HeadSettings
from mitosam.training.head_trainer import train_head
from mitosam.workflows.automatic_model import encode_with
from mitosam.workflows.tuned_model import UsableModel, load_tuned_model

PIXEL_NM = (3.0, 4.0, 5.0, 6.0, 8.0)
SECTION_NM = 40.0
"""Far enough apart for each section to show something else."""
SHAPE_ZYX = (8, 512, 512)
GREY_MEAN, GREY_STD = 128.0, 45.0
"""Of every section, whatever its look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One section of a phantom under a look of its own."""

    image: UInt8[np.ndarray, "y x"]
    labels: Int[np.ndarray, "y x"]
    embedding: Float16[np.ndarray, "C h w"]

    def example(self) -> SectionExample:
        """As training takes it."""
        return SectionExample(
            shape_yx=(self.image.shape[0], self.image.shape[1]),
            read_stack=lambda offsets: [self.image for _ in offsets],
            read_labels=lambda: self.labels,
            read_embedding=self._cut,
        )

    def _cut(self, window: Window) -> np.ndarray:
        rows = slice(window.y, window.y + window.height)
        columns = slice(window.x, window.x + window.width)
        return self.embedding[:, rows, columns].astype(np.float32)


def change_look(
    section: UInt8[np.ndarray, "y x"], rng: np.random.Generator
) -> UInt8[np.ndarray, "y x"]:
    """The section as another microscope might show it: other contrast, sharpness and noise."""
    grey = (section / 255.0) ** rng.uniform(0.6, 1.7) * 255
    grey = gaussian_filter(grey, rng.uniform(0, 1.6))
    noise = gaussian_filter(rng.standard_normal(grey.shape), rng.uniform(0, 0.8))
    grey += noise * (rng.uniform(0, 12) / noise.std())
    grey = (grey - grey.mean()) / grey.std() * GREY_STD + GREY_MEAN
    return np.asarray(np.rint(grey.clip(0, 255)), np.uint8)


def make_sections(seeds: range, model: UsableModel) -> Iterator[Section]:
    """The sections of one phantom a seed, at pixel sizes that follow each other."""
    encode = encode_with(model.sam)
    for seed in seeds:
        pixel_nm = PIXEL_NM[seed % len(PIXEL_NM)]
        phantom = make_phantom(SHAPE_ZYX, seed, (SECTION_NM, pixel_nm, pixel_nm))
        rng = np.random.default_rng([seed, 1])
        for plain, labels in zip(phantom.images, phantom.labels, strict=True):
            image = change_look(plain, rng)
            embedding = section_embedding(
                image, encode, tile_px=model.tile_px, input_px=model.sam.input_px
            )
            yield Section(image=image, labels=labels, embedding=embedding.astype(np.float16))
        print(f"phantom {seed}: {pixel_nm} nm", flush=True)


def start(head: nn.Module, seed: int) -> None:
    """Give the network its random weights."""
    generator = torch.Generator().manual_seed(seed)
    for module in head.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--phantoms", type=int, default=20)
    options = parser.parse_args()
    model = load_tuned_model("vit_t")
    examples = [one.example() for one in make_sections(range(options.phantoms), model)]
    held_out = range(options.phantoms, options.phantoms + 1)
    validation = [one.example() for one in make_sections(held_out, model)]
    shape = HeadShape(
        section_offsets=(0,),
        embedding_channels=model.sam.embedding_shape[0],
        width=HeadSettings().width,
        grey_mean=GREY_MEAN,
        grey_std=GREY_STD,
    )
    head = Head(shape)
    start(head, seed=0)
    result = train_head(
        head,
        shape,
        examples,
        validation,
        HeadSettings(steps=options.steps, max_zoom=1.5),
        seed=0,
        precision=model.sam.precision,
        checkpoint=options.out.with_suffix(".checkpoint"),
    )
    for point in result.curve:
        print(point)
    save_shipped_head(options.out, head)


if __name__ == "__main__":
    main()
