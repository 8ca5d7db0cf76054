"""SAM-HQ: SAM whose decoder also reads an early layer of the encoder. arXiv 2306.01567."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import SamHQConfig
from transformers.initialization import no_init_weights
from transformers.models.sam_hq.modeling_sam_hq import (
    SamHQMaskDecoder,
    SamHQPositionalEmbedding,
    SamHQPromptEncoder,
    SamHQVisionEncoder,
)

from mitosam.models.decoder import build_decoder
from mitosam.models.promptable import POSITION_TWICE, Promptable
from mitosam.models.vit import use_sliced_attention


class SamHQEncoder(SamHQVisionEncoder):
    """SAM's ViT, of embeddings with the tokens after its first global attention packed behind."""

    def forward(self, pixel_values: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B C+D h w"]:
        """Packed embeddings."""
        seen = super().forward(pixel_values)
        early = seen.intermediate_embeddings[0].permute(0, 3, 1, 2)
        return torch.cat([seen.last_hidden_state, early], dim=1)


class SamHQ(Promptable):
    """SAM-HQ; each answer is SAM's logits plus those of the finer mask.

    The candidates come by falling predicted IoU, as in transformers. transformers 5.23 itself gives
    other masks, and wrong ones: it scales up the image as it was before its decoder's transformer,
    with its axes swapped. Here, as in SAM-HQ's own code, it is what the transformer made of it.
    """

    @property
    def packed_channels(self) -> int:
        """Channels of the encoder's tokens."""
        return int(self.config["mask_decoder_config"]["vit_dim"])

    def huggingface_weights(self) -> dict[str, Tensor]:
        """All weights on the CPU, without those that transformers ties to others."""
        weights = super().huggingface_weights()
        del weights[POSITION_TWICE[1]]
        return weights

    def huggingface_config(self) -> dict[str, Any]:
        """Transformers' own."""
        return {**self.config, "architectures": ["SamHQModel"]}

    def _every_mask(
        self,
        embeddings: Float[Tensor, "B C+D h w"],
        sparse: Float[Tensor, "B P n C"],
        dense: Float[Tensor, "B C h w"],
    ) -> tuple[Float[Tensor, "B P 4 m m"], Float[Tensor, "B P 4"]]:
        """The forward of SAM-HQ's own decoder, step by step, up to its choice of masks."""
        decoder: Any = self.mask_decoder
        image, early = torch.split(embeddings, [dense.shape[1], self.packed_channels], 1)
        num_images, num_prompts = sparse.shape[:2]
        own = [decoder.iou_token.weight, decoder.mask_tokens.weight, decoder.hq_token.weight]
        own_tokens = torch.cat(own).repeat(num_images, num_prompts, 1, 1)
        tokens, seen = decoder.transformer(
            point_embeddings=torch.cat([own_tokens, sparse], dim=2),
            image_embeddings=(image + dense).repeat_interleave(num_prompts, 0),
            image_positional_embeddings=self.position_of_image(),  # one for all, see decoder.py
            attention_similarity=None,
        )
        seen = seen.transpose(2, 3).reshape(-1, *dense.shape[1:])
        scaled = decoder.activation(decoder.upscale_layer_norm(decoder.upscale_conv1(seen)))
        scaled = decoder.activation(decoder.upscale_conv2(scaled))
        fine = decoder.mask_conv2(decoder.activation(decoder.mask_norm(decoder.mask_conv1(scaled))))
        fine = fine + self._fine_features(image, early).repeat_interleave(num_prompts, 0)
        mlps = [*decoder.output_hypernetworks_mlps, decoder.hq_mask_mlp]
        weights = torch.stack([mlp(tokens[:, :, 1 + i]) for i, mlp in enumerate(mlps)], dim=2)
        flat = (num_images, num_prompts, scaled.shape[1], -1)
        masks = weights[:, :, :-1] @ scaled.reshape(flat) + weights[:, :, -1:] @ fine.reshape(flat)
        masks = masks.reshape(num_images, num_prompts, -1, *scaled.shape[-2:])
        return _best_first(masks, decoder.iou_prediction_head(tokens[:, :, 0]))

    def _fine_features(
        self, image: Float[Tensor, "B C h w"], early: Float[Tensor, "B D h w"]
    ) -> Float[Tensor, "B c m m"]:
        """What the finer mask adds of the encoder, which no prompt changes."""
        decoder: Any = self.mask_decoder
        late = decoder.activation(decoder.encoder_norm(decoder.encoder_conv1(image)))
        first = decoder.compress_vit_norm(decoder.compress_vit_conv1(early))
        return decoder.encoder_conv2(late) + decoder.compress_vit_conv2(decoder.activation(first))


def _best_first(
    masks: Float[Tensor, "B P 4 m m"], ious: Float[Tensor, "B P 4"]
) -> tuple[Float[Tensor, "B P 4 m m"], Float[Tensor, "B P 4"]]:
    """The candidates, which follow the single mask, by falling predicted IoU."""
    order = ious[:, :, 1:].argsort(dim=2, descending=True) + 1
    order = torch.cat([torch.zeros_like(order[:, :, :1]), order], dim=2)
    chosen = order[..., None, None].expand_as(masks)
    return masks.gather(2, chosen), ious.gather(2, order)


def sam_hq_of(config: Mapping[str, Any]) -> SamHQ:
    """The SAM-HQ that a folder's config.json describes, its weights not yet loaded."""
    full = SamHQConfig.from_dict(dict(config))
    full.vision_config._attn_implementation = "sdpa"
    with no_init_weights():
        encoder = SamHQEncoder(full.vision_config)
        use_sliced_attention(encoder)
        return SamHQ(
            architecture="sam_hq",
            config=full.to_dict(),
            vision_encoder=encoder,
            shared_image_embedding=SamHQPositionalEmbedding(full.vision_config),
            prompt_encoder=SamHQPromptEncoder(full),
            mask_decoder=build_decoder(full.mask_decoder_config, SamHQMaskDecoder),
        )
