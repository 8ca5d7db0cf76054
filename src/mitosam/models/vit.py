"""SAM's ViT attention in slices of query rows, so that its position bias stays small.

transformers' attention writes one bias per head, query and key: 805 MB in each global layer of
ViT-B. Here a slice's bias is made, used and dropped; the arithmetic is the same.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.models.sam.modeling_sam import SamVisionEncoder, SamVisionSdpaAttention

# Of the bias of one slice: about what a core's share of the last cache holds.
SLICE_NUMBERS = 4_000_000


class ChunkedVisionAttention(SamVisionSdpaAttention):
    """transformers' attention, a few query rows at a time."""

    def forward(
        self,
        hidden_states: Float[Tensor, "B H W C"],
        output_attentions: bool = False,  # noqa: ARG002
    ) -> tuple[Float[Tensor, "B H W C"], None]:
        """Attended tokens; the weights are never whole and so not returned."""
        batch, height, width, channels = hidden_states.shape
        heads = self.num_attention_heads
        qkv = self.qkv(hidden_states).view(batch, height * width, 3, heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        rows_h = self.get_rel_pos(height, height, self.rel_pos_h).to(query.dtype)
        rows_w = self.get_rel_pos(width, width, self.rel_pos_w).to(query.dtype)
        step = max(1, SLICE_NUMBERS // (batch * heads * height * width * width))
        slices = []
        for y in range(0, height, step):
            part = query[:, :, y * width : (y + step) * width]
            grid = part.unflatten(2, (-1, width))
            bias_h = torch.einsum("bnhwc,hkc->bnhwk", grid, rows_h[y : y + step])
            bias_w = torch.einsum("bnhwc,wkc->bnhwk", grid, rows_w)
            bias = (bias_h[..., None] + bias_w[..., None, :]).flatten(4).flatten(2, 3)
            slices.append(F.scaled_dot_product_attention(part, key, value, attn_mask=bias))
        attended = torch.cat(slices, dim=2).transpose(1, 2)
        return self.proj(attended.reshape(batch, height, width, channels)), None


def use_chunked_attention(encoder: SamVisionEncoder) -> None:
    """Give every layer of `encoder` the sliced attention; its weights stay where they are."""
    if not encoder.config.use_rel_pos:
        return
    for layer in encoder.layers:
        assert isinstance(layer.attn, nn.Module)
        sliced = ChunkedVisionAttention(encoder.config, layer.window_size)
        sliced.load_state_dict(layer.attn.state_dict(), assign=True)
        layer.attn = sliced
