"""transformers' mask decoder, with its arithmetic laid out as a CPU likes it.

Its weights and results stay transformers' own; only memory layouts, and which kernel computes an
attention, differ, and all masks can be had at once. docs/speed.md has the measurements.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface, PreTrainedConfig
from transformers.models.sam.modeling_sam import SamMaskDecoder

_ATTENTION = "mitosam_few_keys"
Decoder = TypeVar("Decoder", bound=nn.Module)


class MaskDecoder(SamMaskDecoder):
    """transformers' decoder, which computes the single mask and the three candidates in one go."""

    def forward(
        self,
        image_embeddings: Float[Tensor, "B C h w"],
        image_positional_embeddings: Float[Tensor, "#B C h w"],
        sparse_prompt_embeddings: Float[Tensor, "B P n C"],
        dense_prompt_embeddings: Float[Tensor, "B C h w"],
        multimask_output: bool,
    ) -> tuple[Float[Tensor, "B P M m m"], Float[Tensor, "B P M"]]:
        """Low-res logits and predicted IoU, of three masks or of one."""
        masks, iou_pred = self.every_mask(
            image_embeddings,
            image_positional_embeddings,
            sparse_prompt_embeddings,
            dense_prompt_embeddings,
        )
        chosen = slice(1, None) if multimask_output else slice(0, 1)
        return masks[:, :, chosen], iou_pred[:, :, chosen]

    def every_mask(
        self,
        image_embeddings: Float[Tensor, "B C h w"],
        image_positional_embeddings: Float[Tensor, "#B C h w"],
        sparse_prompt_embeddings: Float[Tensor, "B P n C"],
        dense_prompt_embeddings: Float[Tensor, "B C h w"],
    ) -> tuple[Float[Tensor, "B P 4 m m"], Float[Tensor, "B P 4"]]:
        """The same of the single mask and, after it, of the three.

        The computation is transformers' own forward, step by step. An image in the layout of
        channels_last need not be laid out anew for each prompt.
        """
        num_prompts = sparse_prompt_embeddings.shape[1]
        num_images, channels, height, width = image_embeddings.shape
        tokens = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        tokens = tokens.repeat(num_images, num_prompts, 1, 1)
        image = image_embeddings + dense_prompt_embeddings
        tokens, image = self.transformer(
            point_embeddings=torch.cat([tokens, sparse_prompt_embeddings], dim=2),
            # Copied even if it is to be repeated once.
            image_embeddings=image.repeat_interleave(num_prompts, 0) if num_prompts > 1 else image,
            image_positional_embeddings=image_positional_embeddings,  # _lay_out takes one for all
            attention_similarity=None,
        )
        image = image.transpose(2, 3).reshape(num_images * num_prompts, channels, height, width)
        features = self.activation(self.upscale_layer_norm(self.upscale_conv1(image)))
        features = self.activation(self.upscale_conv2(features))
        _, channels, height, width = features.shape
        hyper_in = torch.stack(
            [mlp(tokens[:, :, 1 + i]) for i, mlp in enumerate(self.output_hypernetworks_mlps)], 2
        )
        features = features.reshape(num_images, num_prompts, channels, height * width)
        masks = (hyper_in @ features).reshape(num_images, num_prompts, -1, height, width)
        return masks, self.iou_prediction_head(tokens[:, :, 0])


def build_decoder(
    config: PreTrainedConfig, of_class: Callable[[Any], Decoder] = MaskDecoder
) -> Decoder:
    """A mask decoder of SAM, or of a family that kept its transformer, weights not yet loaded."""
    AttentionInterface.register(_ATTENTION, attend)
    config._attn_implementation = _ATTENTION
    decoder = of_class(config)
    decoder.get_submodule("transformer").register_forward_pre_hook(_lay_out, with_kwargs=True)
    decoder.get_submodule("activation").register_forward_hook(_lay_out_gradient)
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
