"""The Segment Anything Model, whichever encoder it has."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from torch import Tensor
from transformers import SamConfig

from mitosam.models.decoder import MaskDecoder
from mitosam.models.promptable import POSITION_TWICE, Promptable
from mitosam.models.tiny_folder import TINY_MODEL_TYPE


class Sam(Promptable):
    """SAM with a ViT ("sam") or a TinyViT ("vit_t"), as its `architecture` says."""

    def _every_mask(
        self,
        embeddings: Float[Tensor, "B C h w"],
        sparse: Float[Tensor, "B P n C"],
        dense: Float[Tensor, "B C h w"],
    ) -> tuple[Float[Tensor, "B P 4 m m"], Float[Tensor, "B P 4"]]:
        decoder = self.mask_decoder
        assert isinstance(decoder, MaskDecoder), "SAM is built with the decoder of this house"
        # One position for all images: the decoder's layout broadcasts it (see decoder.py).
        return decoder.every_mask(embeddings, self.position_of_image(), sparse, dense)

    def huggingface_weights(self) -> dict[str, Tensor]:
        """All weights on the CPU, without those that transformers ties to others."""
        weights = super().huggingface_weights()
        del weights[POSITION_TWICE[1]]
        return weights

    def huggingface_config(self) -> dict[str, Any]:
        """Transformers' own for a ViT; for a TinyViT, which it does not have, one of this house."""
        if self.architecture != "sam":
            return {"model_type": TINY_MODEL_TYPE, **self.config}
        config = SamConfig.from_dict(self.config)
        config.architectures = ["SamModel"]
        return config.to_dict()
