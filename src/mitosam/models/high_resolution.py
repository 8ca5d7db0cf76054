"""What SAM 2 and its heirs share: an encoder of three levels, a decoder that uses the finer two.

The levels stand at 1, 2 and 4 times the embedding's resolution. The finer two are folded into
channels at the embedding's own (a pixel unshuffle, which loses nothing), so that an image is one
tensor: for 256 channels, 256 of the embedding, 4 x 64 and 16 x 32 of the finer levels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedConfig

from mitosam.models.decoder import build_decoder
from mitosam.models.promptable import Promptable

PARTS = ("vision_config", "prompt_encoder_config", "mask_decoder_config")
# Weights of the parts that follow objects through a video.
_VIDEO = (
    "memory_",
    "mask_downsample",
    "object_pointer_proj",
    "temporal_positional_encoding_projection_layer",
    "no_memory_positional_encoding",
    "no_object_pointer",
    "occlusion_spatial_embedding_parameter",
    "spatial_perceiver",
)


def pack(
    image: Float[Tensor, "B C h w"],
    half: Float[Tensor, "B C2 h2 w2"],
    quarter: Float[Tensor, "B C4 h4 w4"],
) -> Float[Tensor, "B C+4*C2+16*C4 h w"]:
    """Three levels as one tensor at the coarsest one's resolution."""
    return torch.cat([image, F.pixel_unshuffle(half, 2), F.pixel_unshuffle(quarter, 4)], dim=1)


def unpack(
    packed: Float[Tensor, "B P h w"], num_half: int, num_quarter: int
) -> tuple[Float[Tensor, "B C h w"], Float[Tensor, "B C2 h2 w2"], Float[Tensor, "B C4 h4 w4"]]:
    """The inverse of `pack`, from the channels that the finer two levels had."""
    fine = [4 * num_half, 16 * num_quarter]
    image, half, quarter = torch.split(packed, [packed.shape[1] - sum(fine), *fine], 1)
    return image, F.pixel_shuffle(half, 2), F.pixel_shuffle(quarter, 4)


class PackedLevels(nn.Module):
    """Put before one of transformers' vision models: the same encoder, of packed embeddings.

    In transformers, the convolutions of the finer levels are the mask decoder's, and what SAM 2
    adds to an image without memory is the whole model's. They work before any prompt is known, so
    here they are the encoder's: an embedding in the cache stays right while the decoder trains.
    """

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__(config)
        channels = config.fpn_hidden_size
        self.conv_s0 = nn.Conv2d(channels, channels // 8, kernel_size=1)
        self.conv_s1 = nn.Conv2d(channels, channels // 4, kernel_size=1)
        self.no_memory_embedding = nn.Parameter(torch.zeros(1, 1, channels))
        self.get_submodule("neck").position_encoding = _NoPositions()

    def forward(self, pixel_values: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B P h w"]:
        """Packed embeddings."""
        levels = list(super().forward(pixel_values, return_dict=True).fpn_hidden_states)
        # As transformers does, even where a neck has a fourth level that nothing reads.
        levels[-1] = levels[-1] + self.no_memory_embedding.mT[..., None]
        return pack(levels[2], self.conv_s1(levels[1]), self.conv_s0(levels[0]))


class _NoPositions(nn.Module):
    """In the place of position encodings that only a video's memory reads: 100 MB an image."""

    def forward(self, *_: object) -> Tensor:
        return torch.empty(0)


class HighResolution(Promptable):
    """A model whose mask decoder adds finer levels of the image to what it scales up."""

    renamed: ClassVar[Mapping[str, str]] = {
        "vision_encoder.conv_s": "mask_decoder.conv_s",
        "vision_encoder.no_memory_embedding": "no_memory_embedding",
    }
    transformers_class: ClassVar[str]
    """The class of transformers that loads an exported folder."""

    @property
    def packed_channels(self) -> int:
        """Channels of the finer levels, folded."""
        num_half, num_quarter = self._fine_channels
        return 4 * num_half + 16 * num_quarter

    @property
    def _fine_channels(self) -> tuple[int, int]:
        channels = int(self.prompt_encoder.hidden_size)  # type: ignore[arg-type]
        return channels // 4, channels // 8

    def own_names(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights under this model's names, without what a video needs."""
        needed = {n: tensor for n, tensor in weights.items() if not n.startswith(_VIDEO)}
        return super().own_names(needed)

    def huggingface_config(self) -> dict[str, Any]:
        """Transformers' own."""
        return {**self.config, "architectures": [self.transformers_class]}

    def _every_mask(
        self,
        embeddings: Float[Tensor, "B P h w"],
        sparse: Float[Tensor, "B N n C"],
        dense: Float[Tensor, "B C h w"],
    ) -> tuple[Float[Tensor, "B N 4 m m"], Float[Tensor, "B N 4"]]:
        """Transformers' own forward of the decoder, step by step, up to its choice of masks."""
        decoder: Any = self.mask_decoder
        image, *fine = unpack(embeddings, *self._fine_channels)
        num_images, num_prompts = sparse.shape[:2]
        tokens, image = decoder.transformer(
            point_embeddings=torch.cat([self._own_tokens(num_images, num_prompts), sparse], dim=2),
            image_embeddings=(image + dense).repeat_interleave(num_prompts, 0),
            image_positional_embeddings=self.position_of_image(),  # one for all, see decoder.py
            attention_similarity=None,
        )
        image = image.transpose(2, 3).reshape(-1, *dense.shape[1:])
        half, quarter = (level.repeat_interleave(num_prompts, 0) for level in fine)
        image = decoder.activation(decoder.upscale_layer_norm(decoder.upscale_conv1(image) + half))
        image = decoder.activation(decoder.upscale_conv2(image) + quarter)
        weights = [mlp(tokens[:, :, 2 + i]) for i, mlp in _numbered(decoder)]
        features = image.reshape(num_images, num_prompts, image.shape[1], -1)
        masks = torch.stack(weights, dim=2) @ features
        masks = masks.reshape(num_images, num_prompts, -1, *image.shape[-2:])
        return self._with_stable_first(masks, decoder.iou_prediction_head(tokens[:, :, 1]))

    def _own_tokens(self, num_images: int, num_prompts: int) -> Float[Tensor, "B N 6 C"]:
        decoder: Any = self.mask_decoder
        tokens = [decoder.obj_score_token, decoder.iou_token, decoder.mask_tokens]
        stacked = torch.cat([token.weight for token in tokens])
        return stacked.repeat(num_images, num_prompts, 1, 1)

    def _with_stable_first(
        self, masks: Float[Tensor, "B N 4 m m"], ious: Float[Tensor, "B N 4"]
    ) -> tuple[Float[Tensor, "B N 4 m m"], Float[Tensor, "B N 4"]]:
        """The masks with a single one that is not stable replaced by the best candidate.

        A decoder that is being trained answers with the single mask itself, as in SAM 2's own
        training: else its loss would not reach it.
        """
        decoder: Any = self.mask_decoder
        is_trained = decoder.training or any(p.requires_grad for p in decoder.parameters())
        if is_trained or not decoder.dynamic_multimask_via_stability:
            return masks, ious
        single, its_iou = decoder._dynamic_multimask_via_stability(masks, ious)
        return torch.cat([single, masks[:, :, 1:]], 2), torch.cat([its_iou, ious[:, :, 1:]], 2)


def _numbered(decoder: Any) -> enumerate[nn.Module]:  # noqa: ANN401
    return enumerate(decoder.output_hypernetworks_mlps)


def parts_of(config: Mapping[str, Any], model_type: str) -> dict[str, Any]:
    """The config.json of the model of an image, from that or from that of a video's."""
    parts = {part: dict(config.get(part) or {}) for part in PARTS}
    for part in PARTS[1:]:
        parts[part].pop("model_type", None)  # a video's
    return {"model_type": model_type, **parts}


def without_fine_convolutions(config: PreTrainedConfig, of_class: type[nn.Module]) -> nn.Module:
    """A mask decoder whose convolutions of the finer levels are the encoder's."""
    decoder = build_decoder(config, of_class)
    del decoder.conv_s0, decoder.conv_s1
    return decoder
