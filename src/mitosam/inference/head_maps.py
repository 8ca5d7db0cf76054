"""What a head says of a whole section, window by window, whatever the windows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from mitosam.geometry import Window
from mitosam.inference.section_embedding import STRIDE_PX as EMBEDDING_STRIDE_PX
from mitosam.models.head import CONTEXT_PX, STRIDE_PX, HeadShape, as_stack
from mitosam.models.promptable import Precision, autocast

WINDOW_PX = 1024
# The axes that are turned round; the second is half a turn.
FLIPS: tuple[tuple[int, ...], ...] = ((), (-2, -1), (-1,), (-2,))


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelModel:
    """A network with what it takes to run it on any section."""

    network: nn.Module
    shape: HeadShape
    precision: Precision
    num_flips: int = 4
    """How many mirror images of a section the maps are the mean of: 1, 2 or 4."""

    def stack(
        self, read: Callable[[int], UInt8[np.ndarray, "height width"]], z: int, num_sections: int
    ) -> UInt8[np.ndarray, "K height width"]:
        """The sections it reads for section `z`; beyond the ends those are repeated."""
        wanted = (min(max(z + o, 0), num_sections - 1) for o in self.shape.section_offsets)
        return np.stack([read(section) for section in wanted])

    @torch.inference_mode()
    def maps(
        self,
        stack: UInt8[np.ndarray, "K height width"],
        embedding: Float32[np.ndarray, "C h8 w8"] | None,
        *,
        inner: Window | None = None,
        window_px: int = WINDOW_PX,
    ) -> UInt8[np.ndarray, "2 h w"]:
        """Foreground and boundary, 0 to 255, of the section that the stack is about.

        It is computed in windows of `window_px`, each with all that it depends on round it, so
        that the result does not depend on their size; where all pixels of one are alike, nothing
        is. `inner` is the part of the stack that is wanted, by default all; its corner is a
        multiple of `STRIDE_PX`.
        """
        inner = inner or Window(0, 0, stack.shape[1], stack.shape[2])
        step = max(window_px // STRIDE_PX, 1) * STRIDE_PX
        result = np.zeros((2, inner.height, inner.width), np.uint8)
        section = stack[self.shape.section_offsets.index(0)]
        for y in range(0, inner.height, step):
            for x in range(0, inner.width, step):
                height, width = min(step, inner.height - y), min(step, inner.width - x)
                window = Window(inner.y + y, inner.x + x, height, width)
                pixels = section[window.slices]
                if pixels.min() < pixels.max():
                    result[:, y : y + height, x : x + width] = self._window(
                        stack, embedding, window
                    )
        return result

    def _window(
        self,
        stack: UInt8[np.ndarray, "K height width"],
        embedding: Float32[np.ndarray, "C h8 w8"] | None,
        inner: Window,
    ) -> UInt8[np.ndarray, "2 h w"]:
        outer = inner.grown(CONTEXT_PX, (stack.shape[1], stack.shape[2]))
        device = next(self.network.parameters()).device
        pixels = _padded(
            torch.from_numpy(stack[:, *_slices(outer)]).float()[None], STRIDE_PX, "replicate"
        )
        features = None
        if self.shape.embedding_channels and embedding is not None:
            cells = embedding[:, *_slices(outer, EMBEDDING_STRIDE_PX)]
            features = _padded(torch.from_numpy(cells)[None], STRIDE_PX // EMBEDDING_STRIDE_PX)
            features = features.to(device)
        shares = self._mean_of_flips(as_stack(pixels).to(device), features)[0].cpu()
        y, x = inner.y - outer.y, inner.x - outer.x
        cut = shares[:, y : y + inner.height, x : x + inner.width]
        return (cut * 255).round().to(torch.uint8).numpy()

    def _mean_of_flips(
        self, stack: Float[Tensor, "1 K h w"], embedding: Float[Tensor, "1 C h8 w8"] | None
    ) -> Float[Tensor, "1 2 h w"]:
        """Probabilities. A flipped window has other neighbours in the network's strides, so that
        the mean is smoother, and better, than one result.
        """
        total = torch.zeros(())
        for axes in FLIPS[: self.num_flips]:
            with autocast(stack.device, self.precision):
                features = None if embedding is None else embedding.flip(axes)
                logits: Tensor = self.network(as_stack(stack.flip(axes)), features)
            total = total.to(stack.device) + logits.float().sigmoid().flip(axes)
        return total / self.num_flips


def _slices(window: Window, stride: int = 1) -> tuple[slice, slice]:
    return (
        slice(window.y // stride, -(-(window.y + window.height) // stride)),
        slice(window.x // stride, -(-(window.x + window.width) // stride)),
    )


def _padded(tensor: Tensor, multiple: int, mode: str = "replicate") -> Tensor:
    """The tensor with sides that are multiples of a number."""
    below, right = (-side % multiple for side in tensor.shape[-2:])
    return F.pad(tensor, (0, right, 0, below), mode=mode) if below or right else tensor
