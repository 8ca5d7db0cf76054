"""SAM's ViT attention without its position bias ever written out.

transformers' attention writes one bias per head, query and key: 805 MB in each global layer of
ViT-B. The bias of a query is a number for each row plus one for each column of its keys, so it is
a product too: with the query's numbers appended to it, and each key's place to the key, one matrix
multiplication gives scores with bias. Slices of queries keep the scores small.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers.models.sam.modeling_sam import SamVisionAttention, SamVisionEncoder

# Scores of one slice: 50 MB in bf16.
SLICE_NUMBERS = 25_000_000


class SlicedVisionAttention(SamVisionAttention):
    """transformers' attention, some queries at a time."""

    def forward(
        self,
        hidden_states: Float[Tensor, "B H W C"],
        output_attentions: bool | None = None,  # noqa: ARG002
    ) -> tuple[Float[Tensor, "B H W C"], None]:
        """Attended tokens; the weights are never whole and so not returned."""
        batch, height, width, channels = hidden_states.shape
        heads = self.num_attention_heads
        qkv = self.qkv(hidden_states).view(batch, height * width, 3, heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        query = torch.cat([query * self.scale, self._bias(query, height, width)], dim=-1)
        places = place_vectors(height, width).to(key).expand(batch, heads, -1, -1)
        key = torch.cat([key, places], dim=-1).transpose(-1, -2)
        step = max(1, SLICE_NUMBERS // (batch * heads * height * width))
        # Not torch.split: exported to ONNX, it gives the last slice the length of the others.
        parts = (query[:, :, start : start + step] for start in range(0, height * width, step))
        slices = [(part @ key).softmax(dim=-1) @ value for part in parts]
        attended = torch.cat(slices, dim=2).transpose(1, 2)
        return self.proj(attended.reshape(batch, height, width, channels)), None

    def _bias(
        self, query: Float[Tensor, "B heads T c"], height: int, width: int
    ) -> Float[Tensor, "B heads T height+width"]:
        """What each query adds to the keys of each row and of each column."""
        rows = self.get_rel_pos(height, height, self.rel_pos_h).to(query.dtype)
        columns = self.get_rel_pos(width, width, self.rel_pos_w).to(query.dtype)
        grid = query.view(*query.shape[:2], height, width, -1)
        to_rows = torch.einsum("bnhwc,hkc->bnhwk", grid, rows)
        to_columns = torch.einsum("bnhwc,wkc->bnhwk", grid, columns)
        return torch.cat([to_rows, to_columns], dim=-1).flatten(2, 3)


def place_vectors(height: int, width: int) -> Float[Tensor, "height*width height+width"]:
    """For each token, 1 at its row and 1 at its column.

    >>> place_vectors(1, 2)
    tensor([[1., 1., 0.],
            [1., 0., 1.]])
    """
    rows = torch.eye(height).repeat_interleave(width, dim=0)
    return torch.cat([rows, torch.eye(width).repeat(height, 1)], dim=1)


def use_sliced_attention(encoder: SamVisionEncoder) -> None:
    """Give every layer of `encoder` the sliced attention; its weights stay where they are."""
    if not encoder.config.use_rel_pos:
        return
    for layer in encoder.layers:
        assert isinstance(layer.attn, nn.Module)
        sliced = SlicedVisionAttention(encoder.config, layer.window_size)
        sliced.load_state_dict(layer.attn.state_dict(), assign=True)
        layer.attn = sliced
