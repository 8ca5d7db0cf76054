"""The prompt-free head: every mitochondrion of a section, from its embedding and its pixels.

SAM's embedding knows what is what, at a stride of 8 pixels or more; the pixels know where the
outline runs. A U-shaped network of few channels reads both, together with the neighbouring
sections, and says for each pixel whether it is foreground and whether it is an instance's boundary.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Shaped
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor, nn
from torch.nn import functional as F

STRIDE_PX = 16
"""Sides of what the network sees are multiples of this."""
CONTEXT_PX = 128
"""No pixel's result depends on anything farther away than this (a test measures it)."""
FOREGROUND, BOUNDARY = 0, 1
"""The two maps of the output."""


EmbeddingOf = Literal["base", "tuned"]


class HeadShape(BaseModel):
    """What is needed to build a head again."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    section_offsets: tuple[int, ...] = Field(min_length=1)
    """The sections it reads, relative to the one it segments, e.g. -1, 0, 1."""
    embedding_channels: int = Field(ge=0)
    """Channels of the embedding; 0 for a head that reads pixels alone."""
    embedding_of: EmbeddingOf = "tuned"
    """Whose embedding it is: the base model's, or that of the encoder it is saved with."""
    width: int = Field(ge=4)
    """Channels at half resolution; deeper levels have 2, 3 and 5 times as many."""
    grey_mean: float
    """Mean grey value of the training sections, 0 to 255."""
    grey_std: float = Field(gt=0)
    """Standard deviation of their grey values."""

    @field_validator("section_offsets")
    @classmethod
    def _has_its_own_section(cls, offsets: tuple[int, ...]) -> tuple[int, ...]:
        if 0 not in offsets:
            raise ValueError(f"section_offsets must hold 0, got {offsets}")
        return offsets

    def of_pixels_alone(self) -> HeadShape:
        """The same for a network that reads one section and no embedding."""
        return self.model_copy(update={"section_offsets": (0,), "embedding_channels": 0})


class Head(nn.Module):
    """The network, on K grey sections in 0 to 255 and the embedding of the middle one.

    It works at half resolution and below (a pixel shuffle brings the result back), so its cost is a
    quarter of a plain U-Net's of the same width. The embedding joins at an eighth.
    """

    def __init__(self, shape: HeadShape) -> None:
        super().__init__()
        self.shape = shape
        half, quarter, eighth, deepest = (shape.width * times for times in (1, 2, 3, 5))
        joined = shape.width if shape.embedding_channels else 0
        self.down_half = _double(4 * len(shape.section_offsets), half)
        self.down_quarter = _double(half, quarter)
        self.down_eighth = _double(quarter, eighth)
        self.embed = _block(shape.embedding_channels, joined, kernel=1) if joined else None
        self.join = _block(eighth + joined, eighth)
        self.deepest = _double(eighth, deepest)
        self.up_eighth = _double(deepest + eighth, eighth)
        self.up_quarter = _double(eighth + quarter, quarter)
        self.up_half = _double(quarter + half, half)
        self.out = nn.Conv2d(half, 2 * 4, 1)

    def forward(
        self,
        stack: Float[Tensor, "B K height width"],
        embedding: Float[Tensor, "B C h w"] | None = None,
    ) -> Float[Tensor, "B 2 height width"]:
        """Logits of foreground and boundary; the embedding covers what the stack covers.

        Sides are multiples of `STRIDE_PX`. Without an embedding its part is 0, as it sometimes is
        in training.
        """
        grey = (stack - self.shape.grey_mean) / self.shape.grey_std
        half = self.down_half(_channels_last(F.pixel_unshuffle(grey, 2)))
        quarter = self.down_quarter(F.max_pool2d(half, 2))
        eighth = self._join(self.down_eighth(F.max_pool2d(quarter, 2)), embedding)
        deepest = self.deepest(F.max_pool2d(eighth, 2))
        eighth = self.up_eighth(torch.cat([_doubled(deepest), eighth], 1))
        quarter = self.up_quarter(torch.cat([_doubled(eighth), quarter], 1))
        half = self.up_half(torch.cat([_doubled(quarter), half], 1))
        return F.pixel_shuffle(self.out(half), 2)

    def _join(
        self, eighth: Float[Tensor, "B C8 h w"], embedding: Float[Tensor, "B C eh ew"] | None
    ) -> Float[Tensor, "B C8 h w"]:
        if self.embed is None:
            return self.join(eighth)
        batch, _, height, width = eighth.shape
        if embedding is None:
            embedding = eighth.new_zeros(batch, self.shape.embedding_channels, height, width)
        if embedding.shape[-2:] != (height, width):
            embedding = F.interpolate(embedding, (height, width), mode="bilinear")
        return self.join(torch.cat([eighth, self.embed(_channels_last(embedding))], 1))


def _block(inputs: int, outputs: int, *, kernel: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
        # A small momentum: batches are small, and the running mean is what inference uses.
        nn.BatchNorm2d(outputs, momentum=0.05),
        nn.ReLU(inplace=True),
    )


def _double(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(_block(inputs, outputs), _block(outputs, outputs))


def _doubled(features: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h2 w2"]:
    return F.interpolate(features, scale_factor=2, mode="nearest")


def _channels_last(tensor: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
    # oneDNN's convolutions run in this layout; in the other one each of them reorders its input.
    return tensor.contiguous(memory_format=torch.channels_last)


def as_stack(sections: Shaped[Tensor, "B K height width"]) -> Float[Tensor, "B K height width"]:
    """Grey values as the network takes them."""
    return _channels_last(sections.float())
