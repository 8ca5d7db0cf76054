"""RepViT, EdgeTAM's encoder: a network of convolutions for small devices. arXiv 2307.09283.

transformers takes it from timm, which needs torchvision. Written from the paper; names of weights
are timm's (`repvit_m1` with `features_only`), so that EdgeTAM's checkpoint fits.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput

MLP_RATIO = 2
SQUEEZE_RATIO = 4


class ConvNorm(nn.Sequential):
    """A convolution and its BatchNorm."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, *, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.add_module("c", conv)
        self.add_module("bn", nn.BatchNorm2d(outputs))


class TokenMixer(nn.Module):
    """What a pixel takes from its neighbours, channel by channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = ConvNorm(channels, channels, 3, groups=channels)
        self.conv1 = ConvNorm(channels, channels, groups=channels)

    def forward(self, image: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        """The same shape."""
        return self.conv(image) + self.conv1(image) + image


class SqueezeExcite(nn.Module):
    """Each channel times a weight that the mean image decides."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow = max(8, int(channels / SQUEEZE_RATIO + 4) // 8 * 8)
        self.fc1 = nn.Conv2d(channels, narrow, 1)
        self.fc2 = nn.Conv2d(narrow, channels, 1)

    def forward(self, image: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        """The same shape."""
        mean = image.mean((2, 3), keepdim=True)
        return image * self.fc2(self.fc1(mean).relu()).sigmoid()


class ChannelMixer(nn.Module):
    """What a pixel's channels take from each other."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(channels, MLP_RATIO * channels)
        self.act = nn.GELU()
        self.conv2 = ConvNorm(MLP_RATIO * channels, channels)

    def forward(self, image: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        """What to add to the image."""
        return self.conv2(self.act(self.conv1(image)))


class Block(nn.Module):
    """Neighbours, then channels."""

    def __init__(self, channels: int, *, squeeze: bool) -> None:
        super().__init__()
        self.token_mixer = TokenMixer(channels)
        self.se = SqueezeExcite(channels) if squeeze else nn.Identity()
        self.channel_mixer = ChannelMixer(channels)

    def forward(self, image: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        """The same shape."""
        mixed = self.se(self.token_mixer(image))
        return mixed + self.channel_mixer(mixed)


class Downsample(nn.Module):
    """Half the side, and more channels."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.pre_block = Block(inputs, squeeze=False)
        self.spatial_downsample = ConvNorm(inputs, inputs, 3, stride=2, groups=inputs)
        self.channel_downsample = ConvNorm(inputs, outputs)
        self.ffn = ChannelMixer(outputs)

    def forward(self, image: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C2 h2 w2"]:
        """The image at half its side."""
        image = self.spatial_downsample(self.pre_block(image))
        image = self.channel_downsample(image)
        return image + self.ffn(image)


class Stage(nn.Module):
    """The blocks of one resolution; every other one squeezes."""

    def __init__(self, inputs: int, outputs: int, depth: int, *, is_first: bool) -> None:
        super().__init__()
        self.downsample = nn.Identity() if is_first else Downsample(inputs, outputs)
        self.blocks = nn.Sequential(*(Block(outputs, squeeze=i % 2 == 0) for i in range(depth)))

    def forward(self, image: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C2 h2 w2"]:
        """The image at this resolution."""
        return self.blocks(self.downsample(image))


class Stem(nn.Module):
    """A quarter of the side."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(3, channels // 2, 3, stride=2)
        self.act1 = nn.GELU()
        self.conv2 = ConvNorm(channels // 2, channels, 3, stride=2)

    def forward(self, image: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B C h w"]:
        """The image at a stride of 4."""
        return self.conv2(self.act1(self.conv1(image)))


class RepVit(nn.Module):
    """The network, in the place of transformers' wrapper of timm's."""

    def __init__(self, widths: Sequence[int], depths: Sequence[int]) -> None:
        super().__init__()
        before = [(widths[0], widths[0]), *pairwise(widths)]
        self.timm_model = nn.ModuleDict({"stem": Stem(widths[0])})
        for i, ((inputs, outputs), depth) in enumerate(zip(before, depths, strict=True)):
            self.timm_model[f"stages_{i}"] = Stage(inputs, outputs, depth, is_first=i == 0)

    def forward(self, pixel_values: Float[Tensor, "B 3 S S"], **_: object) -> BaseModelOutput:
        """A list of the image at strides of 4, 8, 16 and 32, as `last_hidden_state`."""
        stem, *stages = self.timm_model.values()
        levels = []
        image = stem(pixel_values)
        for stage in stages:
            image = stage(image)
            levels.append(image)
        return BaseModelOutput(last_hidden_state=levels)
