"""TinyViT-5M, the image encoder of MobileSAM, with BatchNorm folded into its convolutions.

Source: Wu et al., "TinyViT: Fast Pretraining Distillation for Small Vision Transformers" (2022)
and Zhang et al., "Faster Segment Anything" (MobileSAM, 2023). The stages keep MobileSAM's names, so
its checkpoints load by folding and renaming alone (see `checkpoints`).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from mitosam.errors import ModelError

MAX_WINDOW = 32
"""Published ones have 7 and 14."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyViTConfig:
    """The shape of a TinyViT encoder; the defaults are MobileSAM's `vit_t`."""

    input_px: int = 1024
    embed_dims: tuple[int, int, int, int] = (64, 128, 160, 320)
    depths: tuple[int, int, int, int] = (2, 2, 6, 2)
    num_heads: tuple[int, int, int, int] = (2, 4, 5, 10)
    window_sizes: tuple[int, int, int, int] = (7, 7, 14, 7)
    mlp_ratio: int = 4
    output_channels: int = 256


class TinyViT(nn.Module):
    """Images to image embeddings at a sixteenth of their side."""

    def __init__(self, config: TinyViTConfig) -> None:
        super().__init__()
        self.config = config
        dims = config.embed_dims
        self.patch_embed = PatchEmbed(dims[0])
        # The last merge keeps its size, so that a 1024 px input gives 64 x 64.
        self.layers = nn.ModuleList(
            [ConvStage(dims[0], dims[1], config.depths[0])]
            + [
                AttentionStage(
                    dims[i],
                    depth=config.depths[i],
                    num_heads=config.num_heads[i],
                    window_size=config.window_sizes[i],
                    mlp_ratio=config.mlp_ratio,
                    merge=PatchMerging(dims[i], dims[i + 1], stride=2 if i == 1 else 1)
                    if i < 3
                    else None,
                )
                for i in (1, 2, 3)
            ]
        )
        channels = config.output_channels
        self.neck = nn.Sequential(
            nn.Conv2d(dims[3], channels, kernel_size=1, bias=False),
            ChannelNorm(channels),
            nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False),
            ChannelNorm(channels),
        )

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C H/16 W/16"]:
        """Image embeddings of normalised images whose sides are multiples of 16."""
        features = images
        for _, step in self.steps():
            features = step(features)
        return features

    def steps(self) -> list[tuple[str, nn.Module]]:
        """Names and modules, each of which takes what the one before it gives."""
        found: list[tuple[str, nn.Module]] = [("patch_embed", self.patch_embed)]
        for number, stage in enumerate(self.layers):
            assert isinstance(stage, ConvStage | AttentionStage)
            name = f"layers.{number}"
            found += [(f"{name}.blocks.{i}", block) for i, block in enumerate(stage.blocks)]
            if stage.downsample is not None:
                found.append((f"{name}.downsample", stage.downsample))
        return [*found, ("neck", self.neck)]


class PatchEmbed(nn.Module):
    """Two strided convolutions: a quarter of the side."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.seq = nn.Sequential(
            nn.Conv2d(3, channels // 2, kernel_size=3, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(channels // 2, channels, kernel_size=3, stride=2, padding=1),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Features at a quarter of the side."""
        features: Tensor = self.seq(images.contiguous(memory_format=torch.channels_last))
        return features


class MBConv(nn.Module):
    """An inverted residual block: widen, filter each channel, narrow, add."""

    def __init__(self, channels: int, expansion: int = 4) -> None:
        super().__init__()
        hidden = channels * expansion
        self.conv1 = nn.Conv2d(channels, hidden, kernel_size=1)
        self.conv2 = nn.Conv2d(hidden, hidden, kernel_size=3, padding=1, groups=hidden)
        self.conv3 = nn.Conv2d(hidden, channels, kernel_size=1)

    def forward(self, features: Tensor) -> Tensor:
        """Features of the same shape."""
        widened = F.gelu(self.conv2(F.gelu(self.conv1(features))))
        return F.gelu(features + self.conv3(widened))


class PatchMerging(nn.Module):
    """Change the number of channels and, with stride 2, halve the side."""

    def __init__(self, channels_in: int, channels_out: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, kernel_size=1)
        self.conv2 = nn.Conv2d(
            channels_out, channels_out, kernel_size=3, stride=stride, padding=1, groups=channels_out
        )
        self.conv3 = nn.Conv2d(channels_out, channels_out, kernel_size=1)

    def forward(self, features: Tensor) -> Tensor:
        """Merged features."""
        merged: Tensor = self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(features)))))
        return merged


class ConvStage(nn.Module):
    """The first stage: convolutions only. `TinyViT` runs its blocks, then `downsample`."""

    def __init__(self, channels: int, channels_out: int, depth: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(MBConv(channels) for _ in range(depth))
        self.downsample = PatchMerging(channels, channels_out, stride=2)


class AttentionStage(nn.Module):
    """Blocks of windowed attention, then a merge if there is one."""

    def __init__(
        self,
        channels: int,
        *,
        depth: int,
        num_heads: int,
        window_size: int,
        mlp_ratio: int,
        merge: PatchMerging | None,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            TinyViTBlock(
                channels, num_heads=num_heads, window_size=window_size, mlp_ratio=mlp_ratio
            )
            for _ in range(depth)
        )
        self.downsample = merge


class TinyViTBlock(nn.Module):
    """Windowed attention, a depthwise convolution and an MLP."""

    def __init__(self, channels: int, *, num_heads: int, window_size: int, mlp_ratio: int) -> None:
        super().__init__()
        self.window_size = window_size
        self.attn = WindowAttention(channels, num_heads, window_size)
        self.local_conv = nn.Conv2d(channels, channels, kernel_size=3, padding=1, groups=channels)
        self.mlp = Mlp(channels, channels * mlp_ratio)

    def forward(self, features: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Features of the same shape."""
        tokens = features.permute(0, 2, 3, 1)
        tokens = tokens + self._attend(tokens)
        features = self.local_conv(tokens.permute(0, 3, 1, 2))
        tokens = features.permute(0, 2, 3, 1)
        return (tokens + self.mlp(tokens)).permute(0, 3, 1, 2)

    def _attend(self, tokens: Float[Tensor, "B H W C"]) -> Float[Tensor, "B H W C"]:
        batch, height, width, channels = tokens.shape
        size = self.window_size
        below, right = -height % size, -width % size
        if below or right:
            # Zeros before the norm, as in the original: padded tokens take part in attention.
            tokens = F.pad(tokens, (0, 0, 0, right, 0, below))
        rows, columns = tokens.shape[1] // size, tokens.shape[2] // size
        windows = tokens.view(batch, rows, size, columns, size, channels).transpose(2, 3)
        attended = self.attn(windows.reshape(-1, size * size, channels))
        whole = attended.view(batch, rows, columns, size, size, channels).transpose(2, 3)
        return whole.reshape(batch, rows * size, columns * size, channels)[:, :height, :width]


class WindowAttention(nn.Module):
    """Self-attention within a window, with one learnt bias per head and relative offset."""

    def __init__(self, channels: int, num_heads: int, window_size: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.offset_indices: Tensor
        indices = offset_indices(window_size)
        self.attention_biases = nn.Parameter(torch.zeros(num_heads, window_size**2))
        self.register_buffer("offset_indices", indices, persistent=False)

    def forward(self, windows: Float[Tensor, "N T C"]) -> Float[Tensor, "N T C"]:
        """Attended tokens of each window."""
        count, num_tokens, channels = windows.shape
        qkv = self.qkv(self.norm(windows)).view(count, num_tokens, self.num_heads, -1)
        query, key, value = qkv.transpose(1, 2).chunk(3, dim=-1)
        # Of four axes: with three, torch leaves its fused attention for one twice as slow.
        bias = self.attention_biases[None, :, self.offset_indices].to(query.dtype)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        projected: Tensor = self.proj(attended.transpose(1, 2).reshape(count, num_tokens, channels))
        return projected


def offset_indices(window_size: int) -> Int[Tensor, "T T"]:
    """For each pair of tokens, the number of its absolute offset in order of first appearance.

    Raises
    ------
    ModelError
        The window is larger than any model's: what is made grows with its fourth power.
    """
    if window_size > MAX_WINDOW:
        raise ModelError(f"windows may have at most {MAX_WINDOW} tokens a side, got {window_size}")
    places = list(product(range(window_size), repeat=2))
    numbers: dict[tuple[int, int], int] = {}
    indices = [
        numbers.setdefault((abs(a[0] - b[0]), abs(a[1] - b[1])), len(numbers))
        for a in places
        for b in places
    ]
    return torch.tensor(indices).view(len(places), len(places))


class Mlp(nn.Module):
    """Norm, widen, GELU, narrow."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens of the same shape."""
        result: Tensor = self.fc2(F.gelu(self.fc1(self.norm(tokens))))
        return result


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of B C H W."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, features: Tensor) -> Tensor:
        """Features of the same shape."""
        return super().forward(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
