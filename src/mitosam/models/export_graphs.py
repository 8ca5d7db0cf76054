"""What an exported file computes, as modules of tensors alone, and their ONNX graphs."""

from __future__ import annotations

import importlib
import shutil
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.models.sam.modeling_sam import SamPromptEncoder

from mitosam.errors import SettingsError
from mitosam.models.decoder import MaskDecoder
from mitosam.models.head import Head
from mitosam.models.pixels import PIXEL_MEAN, PIXEL_STD
from mitosam.models.promptable import ModelPrompts, Promptable

OPSET = 17
"""Of 2022: onnxruntime 1.12, and what builds on it, read it."""


def require_packages(to: str, names: Sequence[str]) -> None:
    """Raise SettingsError that names the extra unless these packages are installed."""
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise SettingsError(
                f"format {to} needs {name}, which is not installed; "
                "run: pip install 'mitosam[export]'"
            ) from error


class EncoderGraph(nn.Module):
    """Grey values in, normalisation included, and the image embedding out."""

    def __init__(self, model: Promptable) -> None:
        super().__init__()
        self.vision_encoder = model.vision_encoder
        self.mean: Tensor
        self.std: Tensor
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (PIXEL_MEAN, PIXEL_STD))
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, image: Float[Tensor, "1 3 S S"]) -> Float[Tensor, "1 C h w"]:
        """The embedding of an image in 0 to 255."""
        embedding = self.vision_encoder((image - self.mean) / self.std)
        return embedding if isinstance(embedding, Tensor) else embedding.last_hidden_state


class DecoderGraph(nn.Module):
    """SAM's decoder under the names and meanings of segment-anything's own ONNX decoder.

    A point's label is 1 on the object, 0 beside it, 2 and 3 for a box's upper left and lower right
    corner, -1 for the one point that stands where there is no box, and -10 for a point that only
    fills a shorter prompt up. The P prompts are decoded at once, each as if it were alone.
    """

    def __init__(self, model: Promptable) -> None:
        super().__init__()
        assert isinstance(model.prompt_encoder, SamPromptEncoder), "only SAM's own is exported"
        assert isinstance(model.mask_decoder, MaskDecoder)
        self.prompt_encoder = model.prompt_encoder
        self.mask_decoder = model.mask_decoder
        self.input_px = model.input_px
        self.position: Tensor
        self.register_buffer("position", model.position_of_image().contiguous())

    def forward(
        self,
        image_embeddings: Float[Tensor, "1 C h w"],
        point_coords: Float[Tensor, "P N 2"],
        point_labels: Float[Tensor, "P N"],
        mask_input: Float[Tensor, "P|1 1 m m"],
        has_mask_input: Float[Tensor, " 1"],
    ) -> tuple[Float[Tensor, "P 4 m m"], Float[Tensor, "P 4"]]:
        """Low-res logits and predicted IoU: of the one mask, then of SAM's three candidates."""
        logits, iou_predictions = self.mask_decoder.every_mask(
            image_embeddings.expand(point_coords.shape[0], -1, -1, -1),
            self.position,
            self._embed_points(point_coords, point_labels)[:, None],
            self._embed_mask(mask_input, has_mask_input),
        )
        return logits[:, 0], iou_predictions[:, 0]

    def _embed_points(
        self, coords: Float[Tensor, "P N 2"], labels: Float[Tensor, "P N"]
    ) -> Float[Tensor, "P N C"]:
        prompts = self.prompt_encoder
        # +0.5: SAM encodes pixel centres.
        position = prompts.shared_embedding((coords + 0.5) / self.input_px)
        kind = labels[..., None]
        embedded = position * (kind >= 0) + prompts.not_a_point_embed.weight * (kind == -1)
        for label, embedding in enumerate(prompts.point_embed):
            embedded = embedded + embedding.weight * (kind == label)
        return embedded

    def _embed_mask(
        self, mask: Float[Tensor, "P|1 1 m m"], has_mask: Float[Tensor, " 1"]
    ) -> Float[Tensor, "P|1 C h w"]:
        prompts = self.prompt_encoder
        absent = prompts.no_mask_embed.weight.reshape(1, -1, 1, 1)
        return has_mask * prompts.mask_embed(mask) + (1 - has_mask) * absent


class TileEncoder(nn.Module):
    """A grey tile in 0 to 255 at its own pixels in, and its embedding out."""

    def __init__(self, model: Promptable, tile_px: int) -> None:
        super().__init__()
        self.encoder = EncoderGraph(model)
        self.resampling: Tensor
        self.register_buffer("resampling", resampling_matrix(tile_px, model.input_px))

    def forward(self, tile: Float[Tensor, "1 1 T T"]) -> Float[Tensor, "1 C h w"]:
        """What `Sam.encode` says of `prepare_tile`."""
        scaled = self.resampling @ tile @ self.resampling.T
        embedding: Tensor = self.encoder(scaled.expand(-1, 3, -1, -1))
        return embedding


def resampling_matrix(source_px: int, target_px: int) -> Float[Tensor, "target source"]:
    """The matrix that resamples each column of an image as bilinear interpolation does.

    It smooths where it shrinks, which no ONNX operator of this opset does.

    >>> resampling_matrix(2, 1)
    tensor([[0.5000, 0.5000]])
    """
    unit = torch.eye(source_px)[None, None]
    resampled = F.interpolate(
        unit,
        (target_px, source_px),
        mode="bilinear",
        antialias=target_px < source_px,
        align_corners=False,
    )
    return resampled[0, 0]


class AutomaticGraph(nn.Module):
    """The encoder and the prompt-free head: sections in, shares of foreground and boundary out.

    The result is the mean over `flips` of the sections, each the axes that are turned round.
    """

    def __init__(
        self, model: Promptable, head: Head, tile_px: int, flips: Sequence[tuple[int, ...]]
    ) -> None:
        super().__init__()
        self.head = head
        self.flips = flips
        self.encoder = TileEncoder(model, tile_px) if head.shape.embedding_channels else None
        self.cells = tile_px // 8
        self.middle = head.shape.section_offsets.index(0)

    def forward(self, sections: Float[Tensor, "1 K T T"]) -> Float[Tensor, "1 2 T T"]:
        """Probabilities for the middle one of K grey sections in 0 to 255."""
        embedding = None
        if self.encoder is not None:
            embedding = self.encoder(sections[:, self.middle : self.middle + 1])
            if embedding.shape[-1] != self.cells:
                embedding = F.interpolate(embedding, (self.cells, self.cells), mode="bilinear")
        shares = [self._shares(sections, embedding, axes) for axes in self.flips]
        return torch.stack(shares).mean(0)

    def _shares(
        self, sections: Tensor, embedding: Tensor | None, axes: tuple[int, ...]
    ) -> Float[Tensor, "1 2 T T"]:
        features = None if embedding is None else _flipped(embedding, axes)
        logits: Tensor = self.head(_flipped(sections, axes), features)
        return _flipped(logits.sigmoid(), axes)


def _flipped(tensor: Tensor, axes: tuple[int, ...]) -> Tensor:
    # Exported to ONNX, a flip of no axis is no valid graph.
    return tensor.flip(axes) if axes else tensor


class PromptedGraph(nn.Module):
    """The encoder and the decoder: a section's tile and boxes in, a mask for each box out."""

    def __init__(self, model: Promptable, tile_px: int) -> None:
        super().__init__()
        self.encoder = TileEncoder(model, tile_px)
        self.decoder = DecoderGraph(model)
        self.tile_px = tile_px
        self.scale = model.input_px / tile_px
        self.low_res_px = model.low_res_px

    def forward(
        self, image: Float[Tensor, "1 1 T T"], box_prompts: Float[Tensor, "1 P 4"]
    ) -> tuple[UInt8[Tensor, "1 P 1 T T"], Float[Tensor, "1 P 1"]]:
        """Masks and predicted IoU for boxes of x0, y0, x1, y1 in pixels of the tile."""
        corners = box_prompts[0].reshape(-1, 2, 2) * self.scale
        logits, iou_predictions = self.decoder(
            self.encoder(image),
            corners,
            torch.tensor([2.0, 3.0]).expand(corners.shape[0], -1),
            torch.zeros(1, 1, self.low_res_px, self.low_res_px),
            torch.zeros(1),
        )
        size = (self.tile_px, self.tile_px)
        upsampled = F.interpolate(logits[:, :1], size, mode="bilinear", align_corners=False)
        return (upsampled > 0).to(torch.uint8)[None], iou_predictions[None, :, :1]


def write_onnx(
    module: nn.Module,
    example: Mapping[str, Tensor],
    outputs: Mapping[str, Mapping[int, str]],
    path: Path,
    *,
    dynamic: Mapping[str, Mapping[int, str]] | None = None,
) -> None:
    """Write what `module` computes; `dynamic` and `outputs` name the axes of any length."""
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        with warnings.catch_warnings(), torch.no_grad():
            # The newer exporter needs onnxscript. Shapes that become constants are fixed here, and
            # every file is compared with torch after it is written.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module.eval(),
                tuple(example.values()),
                str(folder / path.name),
                dynamo=False,
                opset_version=OPSET,
                input_names=list(example),
                output_names=list(outputs),
                dynamic_axes={**(dynamic or {}), **outputs},
            )
        gather_weights(folder / path.name, path)
    finally:
        shutil.rmtree(folder)


def gather_weights(graph: Path, path: Path) -> None:
    """Move a graph to `path`; weights that lie beside it, a file each, become one file there.

    A file ends at 2 GB, so that torch writes the weights of larger models beside it.
    """
    if len(list(graph.parent.iterdir())) == 1:
        graph.replace(path)
        return
    import onnx

    whole = onnx.load(str(graph))
    onnx.save(whole, str(path), save_as_external_data=True, location=f"{path.name}.data")


def decoder_inputs(
    model: Promptable, embedding: Float[Tensor, "1 C h w"], prompts: ModelPrompts
) -> dict[str, Tensor]:
    """P prompts on one image as `DecoderGraph` takes them."""
    coords, labels = [], []
    if prompts.points is not None and prompts.labels is not None:
        coords.append(prompts.points[0])
        labels.append(prompts.labels[0].float())
    if prompts.boxes is not None:
        coords.append(prompts.boxes[0].reshape(-1, 2, 2))
        labels.append(torch.tensor([[2.0, 3.0]]).expand(len(prompts.boxes[0]), -1))
    else:
        coords.append(torch.zeros(len(coords[0]), 1, 2))
        labels.append(-torch.ones(len(coords[0]), 1))
    size = model.low_res_px
    no_mask = torch.zeros(1, 1, size, size)
    return {
        "image_embeddings": embedding,
        "point_coords": torch.cat(coords, dim=1).float(),
        "point_labels": torch.cat(labels, dim=1),
        "mask_input": no_mask if prompts.masks is None else prompts.masks,
        "has_mask_input": torch.tensor([float(prompts.masks is not None)]),
    }
