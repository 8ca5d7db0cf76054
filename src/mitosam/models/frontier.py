"""Where the frozen part of an image encoder ends.

What lies before the first trained layer never changes, so its output can be kept, and a training
step begins behind it: at the embedding if only the decoder is trained, at the features before the
first trained block, or at the pixels if the whole encoder is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from transformers.models.sam.modeling_sam import SamVisionEncoder

from mitosam.models.promptable import Promptable
from mitosam.models.tinyvit import TinyViT

EMBEDDING = "embedding"
"""The frontier of a frozen encoder."""


@dataclass(frozen=True, slots=True)
class Step:
    """One of the functions that an encoder applies one after the other."""

    name: str
    prefixes: tuple[str, ...]
    """What the names of its parameters begin with."""
    run: Callable[[Tensor], Tensor]
    is_block: bool = False


class Frontier:
    """An encoder in two: what comes before the first of the `trained` parameters, and the rest.

    `name` says where it lies and stands in the cache's identity, so that no features are ever
    taken for others.
    """

    def __init__(self, sam: Promptable, trained: Collection[str]) -> None:
        self._sam = sam
        steps = _steps(sam)
        is_trained = [any(name.startswith(step.prefixes) for name in trained) for step in steps]
        first = is_trained.index(True) if any(is_trained) else len(steps)
        self._front, self._rest = steps[:first], steps[first:]
        self.name = EMBEDDING if first == len(steps) else steps[first].name

    @property
    def is_cacheable(self) -> bool:
        """Whether anything comes before it; else features are the pixels themselves."""
        return bool(self._front)

    @property
    def is_embedding(self) -> bool:
        """Whether nothing comes behind it."""
        return not self._rest

    @torch.inference_mode()
    def front(self, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B ..."]:
        """Features, in fp32, of inputs made by `prepare`."""
        return self._run(self._front, images)

    def rest(self, features: Float[Tensor, "B ..."]) -> Float[Tensor, "B C h w"]:
        """The image embeddings that follow from features; gradients flow."""
        return self._run(self._rest, features)

    def _run(self, steps: list[Step], features: Tensor) -> Tensor:
        features = features.to(self._sam.device)
        with self._sam.autocast():
            for step in steps:
                features = step.run(features)
        return features.float()


def blocks_of(sam: Promptable) -> list[str]:
    """Names of the encoder's blocks, first to last; none of an encoder that is known whole."""
    return [step.prefixes[0].removesuffix(".") for step in _steps(sam) if step.is_block]


def _steps(sam: Promptable) -> list[Step]:
    encoder = sam.vision_encoder
    if isinstance(encoder, TinyViT):
        return [
            Step(name, (f"vision_encoder.{name}.",), module, is_block=".blocks." in name)
            for name, module in encoder.steps()
        ]
    if isinstance(encoder, SamVisionEncoder):
        return _vit_steps(encoder)
    return [Step("pixels", ("vision_encoder.",), sam.embed)]


def _vit_steps(encoder: SamVisionEncoder) -> list[Step]:
    def begin(images: Tensor) -> Tensor:
        patches: Tensor = encoder.patch_embed(images)
        return patches if encoder.pos_embed is None else patches + encoder.pos_embed

    names = ("vision_encoder.patch_embed.", "vision_encoder.pos_embed")
    return [
        Step("patch_embed", names, begin),
        *(
            Step(f"layers.{i}", (f"vision_encoder.layers.{i}.",), layer, is_block=True)
            for i, layer in enumerate(encoder.layers)
        ),
        Step("neck", ("vision_encoder.neck.",), encoder.neck),
    ]
