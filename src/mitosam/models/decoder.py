"""transformers' mask decoder, with its arithmetic laid out as a CPU likes it.

The class and its results stay transformers' own; only memory layouts, and which kernel computes an
attention, differ. docs/speed.md has the measurements.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface
from transformers.models.sam.configuration_sam import SamMaskDecoderConfig
from transformers.models.sam.modeling_sam import SamMaskDecoder

_ATTENTION = "mitosam_few_keys"


def build_decoder(config: SamMaskDecoderConfig) -> SamMaskDecoder:
    """A mask decoder with weights not yet loaded."""
    AttentionInterface.register(_ATTENTION, attend)
    config._attn_implementation = _ATTENTION
    decoder = SamMaskDecoder(config)
    decoder.transformer.register_forward_pre_hook(_lay_out, with_kwargs=True)
    decoder.activation.register_forward_hook(_lay_out_gradient)
    return decoder


def attend(
    module: nn.Module,  # noqa: ARG001
    query: Float[Tensor, "B heads Q c"],
    key: Float[Tensor, "B heads K c"],
    value: Float[Tensor, "B heads K c"],
    attention_mask: Float[Tensor, ...] | None,
    scaling: float,
    **_: object,
) -> tuple[Float[Tensor, "B Q heads c"], None]:
    """Attention under the signature that transformers asks for, without its weights.

    Where thousands of pixels look at a handful of tokens, a softmax along the short last axis
    takes most of the time; with tokens first, it runs along the long one.
    """
    assert attention_mask is None, "SAM's decoder masks no attention"
    if key.shape[-2] < query.shape[-2]:
        weights = ((key * scaling) @ query.transpose(-1, -2)).softmax(dim=-2)
        attended = weights.transpose(-1, -2) @ value
    elif query.dtype == torch.bfloat16 and query.is_cpu:
        # The fused kernel is as fast forwards and three times slower backwards.
        attended = ((query * scaling) @ key.transpose(-1, -2)).softmax(dim=-1) @ value
    else:
        attended = F.scaled_dot_product_attention(query, key, value, scale=scaling)
    return attended.transpose(1, 2), None


def _lay_out(
    module: nn.Module,  # noqa: ARG001
    inputs: tuple[Any, ...],
    named: dict[str, Any],
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Give the transformer its images as it reads and computes them: pixel by pixel, and in bf16.

    It gets them channel by channel and only views them pixel by pixel, so that every addition and
    norm would run across memory. The position embedding is the same for all, and broadcasts.
    """
    image = named["image_embeddings"]
    position = named["image_positional_embeddings"][:1]
    device = image.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else image.dtype
    for name, tensor in (("image_embeddings", image), ("image_positional_embeddings", position)):
        named[name] = tensor.to(dtype).contiguous(memory_format=torch.channels_last)
    return inputs, named


def _lay_out_gradient(
    module: nn.Module,  # noqa: ARG001
    inputs: tuple[Tensor, ...],  # noqa: ARG001
    features: Float[Tensor, "B C h w"],
) -> None:
    """Have the gradient of upscaled features come in their own layout; else GELU crawls back."""
    if features.requires_grad:
        features.register_hook(_by_pixel)  # type: ignore[no-untyped-call]


def _by_pixel(gradient: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
    return gradient.contiguous(memory_format=torch.channels_last)
