"""A promptable model: encode an image once, decode its embedding under any prompts.

The rest of the house knows one tensor per image. What a family's decoder needs beyond SAM's own
embedding (finer levels, features of an early layer), its encoder packs into further channels of it.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from mitosam.geometry import ModelFrame
from mitosam.models.pixels import PIXEL_MEAN, PIXEL_STD, Channels, prepare_tile
from mitosam.prompts import Prompts

Precision = Literal["fp32", "bf16", "fp16"]
Outputs = Literal["single", "multi", "all"]
"""One mask, SAM's three candidates, or the one and after it the three; all cost the same."""
POSITION_TWICE = (
    "shared_image_embedding.positional_embedding",
    "prompt_encoder.shared_embedding.positional_embedding",
)
"""Two names of the same weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPrompts:
    """P prompts for each of B images, in the model's XY frame of 0 to `input_px`."""

    boxes: Float[Tensor, "B P 4"] | None = None
    points: Float[Tensor, "B P N 2"] | None = None
    labels: Int[Tensor, "B P N"] | None = None
    masks: Float[Tensor, "B PorOne m m"] | None = None

    @classmethod
    def from_section(
        cls,
        prompts: Prompts,
        frame: ModelFrame,
        low_res_mask: Float[np.ndarray, "1 m m"] | None = None,
    ) -> ModelPrompts:
        """One image's prompts, moved from the frame of its section.

        `low_res_mask` is in the model's frame already and goes with all of them.
        """

        def moved(coordinates: np.ndarray | None) -> Tensor | None:
            if coordinates is None:
                return None
            return torch.from_numpy(frame.to_model_xy(coordinates)).float()[None]

        labels = prompts.point_labels
        return cls(
            boxes=moved(prompts.boxes_xyxy),
            points=moved(prompts.points_xy),
            labels=None if labels is None else torch.from_numpy(labels).long()[None],
            masks=None if low_res_mask is None else torch.from_numpy(low_res_mask)[None],
        )

    def part(self, chosen: slice) -> ModelPrompts:
        """Some of each image's prompts; a mask that goes with all of them stays."""

        def cut(values: Tensor | None) -> Tensor | None:
            return None if values is None else values[:, chosen]

        is_shared = self.masks is not None and self.masks.shape[1] == 1
        return ModelPrompts(
            boxes=cut(self.boxes),
            points=cut(self.points),
            labels=cut(self.labels),
            masks=self.masks if is_shared else cut(self.masks),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedMasks:
    """What the mask decoder says to P prompts on each of B images.

    `low_res_logits` cover the model's whole square input at a quarter of its side (or, where the
    embedding's stride is no 16 px, at 4 times the embedding's); above 0 is object.
    `iou_predictions` are the model's own guess of each mask's IoU. M is 1, 3 or 4, as `Outputs`
    says.
    """

    low_res_logits: Float[Tensor, "B P M m m"]
    iou_predictions: Float[Tensor, "B P M"]


class Promptable(nn.Module, ABC):
    """The parts that all families have, under transformers' names.

    `vision_encoder` maps images to embeddings. `architecture` names the family; `config` is what
    is needed to build the model again; `name` is what the user called it. `weights_hash` says
    which weights were loaded and is the base model's identity: training, or applying a tuned part,
    does not change it. `encoder_hash` is the identity of what makes embeddings: the same, until the
    encoder is trained. `adapters_hash` names the low-rank adapters that were merged into the
    weights, which must not happen twice.
    """

    pixel_mean: ClassVar[Channels] = PIXEL_MEAN
    pixel_std: ClassVar[Channels] = PIXEL_STD
    renamed: ClassVar[Mapping[str, str]] = {}
    """What the names of some weights begin with here, and in transformers' class."""

    def __init__(
        self,
        *,
        architecture: str,
        config: dict[str, Any],
        vision_encoder: nn.Module,
        shared_image_embedding: nn.Module,
        prompt_encoder: nn.Module,
        mask_decoder: nn.Module,
    ) -> None:
        super().__init__()
        self.architecture = architecture
        self.config = config
        self.vision_encoder = vision_encoder
        self.shared_image_embedding = shared_image_embedding
        self.prompt_encoder = prompt_encoder
        self.mask_decoder = mask_decoder
        self.precision: Precision = "fp32"
        self.name = architecture
        self.weights_hash = ""
        self.encoder_hash = ""
        self.adapters_hash = ""
        self.resized_hash = ""  # of the weights as `input_size` changed them
        self._image_position: Tensor | None = None

    @property
    def has_tuned_encoder(self) -> bool:
        """Whether weights other than the base model's make the embeddings."""
        return self.encoder_hash != self.weights_hash

    @property
    def input_px(self) -> int:
        """The side of the square input in pixels."""
        return int(self.prompt_encoder.input_image_size)  # type: ignore[arg-type]

    @property
    def packed_channels(self) -> int:
        """Channels of an embedding beyond those that prompts are added to."""
        return 0

    @property
    def embedding_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image embedding."""
        height, width = self.prompt_encoder.image_embedding_size  # type: ignore[misc]
        channels = int(self.prompt_encoder.hidden_size)  # type: ignore[arg-type]
        return channels + self.packed_channels, int(height), int(width)

    @property
    def low_res_px(self) -> int:
        """The side of the low-res logits."""
        return 4 * self.embedding_shape[1]

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def prepare(
        self, tile: UInt8[np.ndarray, "h w"], frame: ModelFrame
    ) -> Float[Tensor, "1 3 S S"]:
        """The input for one grey tile, normalised as this family was trained."""
        return prepare_tile(tile, frame, mean=self.pixel_mean, std=self.pixel_std)

    @torch.inference_mode()
    def encode(self, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B C h w"]:
        """Image embeddings, in fp32, of inputs made by `prepare`."""
        return self.embed(images)

    def embed(self, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B C h w"]:
        """The same, and gradients flow where parameters ask for them."""
        with self.autocast():
            embedding = self.vision_encoder(images.to(self.device))
        if not isinstance(embedding, Tensor):
            embedding = embedding.last_hidden_state
        return embedding.float()

    def decode(
        self,
        embeddings: Float[Tensor, "B C h w"],
        prompts: ModelPrompts,
        *,
        multimask_output: bool = False,
    ) -> DecodedMasks:
        """Masks in fp32 for every prompt; gradients flow where parameters ask for them."""
        return self.decode_outputs(embeddings, prompts, "multi" if multimask_output else "single")

    def decode_outputs(
        self, embeddings: Float[Tensor, "B C h w"], prompts: ModelPrompts, outputs: Outputs
    ) -> DecodedMasks:
        """The same, of the masks that `outputs` names; each is what it would be without the others.

        Embeddings may be in half precision, as a cache keeps them.
        """
        sparse, dense = self._encode_prompts(prompts, len(embeddings))
        with self.autocast():
            logits, iou_predictions = self._every_mask(
                embeddings.to(self.device, torch.float32), sparse, dense
            )
        chosen = _CHOSEN[outputs]
        return DecodedMasks(
            low_res_logits=logits[:, :, chosen].float(),
            iou_predictions=iou_predictions[:, :, chosen].float(),
        )

    @abstractmethod
    def _every_mask(
        self,
        embeddings: Float[Tensor, "B C h w"],
        sparse: Float[Tensor, "B P n c"],
        dense: Float[Tensor, "B c h w"],
    ) -> tuple[Float[Tensor, "B P 4 m m"], Float[Tensor, "B P 4"]]:
        """Logits and predicted IoU of the single mask and, after it, of the three candidates."""

    def own_names(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights of a Hugging Face folder under this model's names.

        What the model has no use for, such as the parts that follow objects through a video, is
        left out.
        """
        back = {theirs: ours for ours, theirs in self.renamed.items()}
        return {replace_beginning(name, back): tensor for name, tensor in weights.items()}

    def huggingface_weights(self) -> dict[str, Tensor]:
        """All weights on the CPU as a Hugging Face folder keeps them, each with its own memory."""
        return {
            replace_beginning(name, self.renamed): tensor.detach()
            .cpu()
            .clone(memory_format=torch.contiguous_format)
            for name, tensor in self.state_dict().items()
        }

    @abstractmethod
    def huggingface_config(self) -> dict[str, Any]:
        """The config.json of a Hugging Face folder."""

    def _encode_prompts(self, prompts: ModelPrompts, num_images: int) -> tuple[Tensor, Tensor]:
        device = self.device
        sparse, dense = self.prompt_encoder(
            input_points=_to(prompts.points, device),
            input_labels=_to(prompts.labels, device),
            input_boxes=_to(prompts.boxes, device),
            input_masks=_to(prompts.masks, device),
        )
        return sparse, dense.expand(num_images, -1, -1, -1)

    def position_of_image(self) -> Float[Tensor, "1 c h w"]:
        """The position embedding of the image grid, which is frozen and so computed once."""
        if self._image_position is None or self._image_position.device != self.device:
            _, height, width = self.embedding_shape
            ys = (torch.arange(height, device=self.device) + 0.5) / height
            xs = (torch.arange(width, device=self.device) + 0.5) / width
            grid = torch.stack(torch.meshgrid(xs, ys, indexing="xy"), dim=-1)
            with torch.no_grad():
                position = self.shared_image_embedding(grid)
            laid_out = position.permute(2, 0, 1)[None]
            self._image_position = laid_out.contiguous(memory_format=torch.channels_last)
        return self._image_position

    def autocast(self) -> torch.autocast:
        """The context in which the model computes in its precision."""
        return autocast(self.device, self.precision)


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """The context in which a network on this device computes in this precision."""
    half = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast(device.type, dtype=half, enabled=precision != "fp32")


_CHOSEN: dict[Outputs, slice] = {"single": slice(0, 1), "multi": slice(1, 4), "all": slice(0, 4)}


def _to(tensor: Tensor | None, device: torch.device) -> Tensor | None:
    return None if tensor is None else tensor.to(device)


def replace_beginning(name: str, beginnings: Mapping[str, str]) -> str:
    """The name with its beginning replaced, if it is one of these."""
    for old, new in beginnings.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def hash_weights(named: Iterable[tuple[str, Tensor]]) -> str:
    """SHA-256 over names, shapes and fp32 values, whatever file they came from."""
    digest = hashlib.sha256()
    for name, tensor in sorted(named, key=lambda item: item[0]):
        values = tensor.detach().cpu().float().contiguous().numpy()
        digest.update(f"{name}{values.shape}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()
