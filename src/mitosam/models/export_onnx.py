"""A folder of encoder.onnx and decoder.onnx, compared with torch before it is left."""

from __future__ import annotations

from pathlib import Path
from string import Template

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mitosam.errors import ModelError
from mitosam.models.export_graphs import (
    DecoderGraph,
    EncoderGraph,
    decoder_inputs,
    require_packages,
    write_onnx,
)
from mitosam.models.pixels import PIXEL_MEAN, PIXEL_STD
from mitosam.models.promptable import ModelPrompts, Promptable
from mitosam.progress import SILENT, Progress
from mitosam.storage import atomic_folder

PACKAGES = ("onnx", "onnxruntime")
PROVIDERS = ["CPUExecutionProvider"]
README = Path(__file__).parent / "readmes" / "onnx.md"
TOLERANCE = 1e-3
"""Largest difference from torch, as a share of the largest value."""


def export_onnx(
    model: Promptable, folder: Path, *, tile_px: int = 512, progress: Progress = SILENT
) -> None:
    """Write `model` as encoder.onnx, decoder.onnx and a README.md that shows how to run them.

    `tile_px` is only told in the README: the side of the crops that the model was trained on.

    Raises
    ------
    OutputExistsError
        The folder holds something already.
    SettingsError
        onnx or onnxruntime is not installed.
    ModelError
        What was written does not compute what the model does; nothing is left.
    """
    require_packages("onnx", PACKAGES)
    with atomic_folder(folder) as temporary:
        steps = (_write_encoder, _write_decoder, check_onnx)
        for step in progress.track(steps, "writing and checking ONNX", unit="step"):
            step(model, temporary)
        readme = Template(README.read_text(encoding="utf-8")).substitute(
            name=model.name,
            tile_px=tile_px,
            input_px=model.input_px,
            low_res_px=model.low_res_px,
            channels=model.embedding_shape[0],
            cells=model.embedding_shape[1],
            mean=", ".join(str(value) for value in PIXEL_MEAN),
        )
        (temporary / "README.md").write_text(readme, encoding="utf-8")


def _write_encoder(model: Promptable, folder: Path) -> None:
    side = model.input_px
    write_onnx(
        EncoderGraph(model),
        {"image": torch.zeros(1, 3, side, side)},
        {"image_embeddings": {}},
        folder / "encoder.onnx",
    )


def _write_decoder(model: Promptable, folder: Path) -> None:
    # Two of everything: what has length 1 in the example would be taken for a constant.
    prompts = ModelPrompts(points=torch.zeros(1, 2, 2, 2), labels=torch.ones(1, 2, 2))
    write_onnx(
        DecoderGraph(model),
        decoder_inputs(model, torch.zeros(1, *model.embedding_shape), prompts),
        {"low_res_masks": {0: "prompts"}, "iou_predictions": {0: "prompts"}},
        folder / "decoder.onnx",
        dynamic={
            "point_coords": {0: "prompts", 1: "points"},
            "point_labels": {0: "prompts", 1: "points"},
            "mask_input": {0: "masks"},
        },
    )


def check_onnx(model: Promptable, folder: Path) -> None:
    """Raise ModelError unless both files give the model's embedding, masks and predicted IoU."""
    import onnxruntime

    encoder = onnxruntime.InferenceSession(str(folder / "encoder.onnx"), providers=PROVIDERS)
    image = _example_image(model.input_px)
    (found,) = encoder.run(None, {"image": image.numpy()})
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (PIXEL_MEAN, PIXEL_STD))
    embedding = model.encode((image - mean) / std).cpu()
    require_close("encoder.onnx", found, embedding)
    decoder = onnxruntime.InferenceSession(str(folder / "decoder.onnx"), providers=PROVIDERS)
    for prompts in example_prompts(model):
        inputs = decoder_inputs(model, embedding, prompts)
        logits, scores = decoder.run(None, {name: i.numpy() for name, i in inputs.items()})
        with torch.no_grad():
            expected = model.decode_outputs(embedding, prompts, "all")
        require_close("decoder.onnx", logits, expected.low_res_logits[0])
        require_close("decoder.onnx", scores, expected.iou_predictions[0])


def require_close(name: str, found: Float[np.ndarray, ...], expected: Float[Tensor, ...]) -> None:
    """Raise ModelError unless an exported graph's output is torch's."""
    wanted = expected.cpu().numpy()
    difference = np.abs(found - wanted).max() if found.shape == wanted.shape else np.inf
    if not difference <= TOLERANCE * max(1.0, np.abs(wanted).max()):
        raise ModelError(
            f"{name} does not compute what the model does (it differs by {difference:.3g}), so "
            "nothing was written; please report it with the versions of torch, onnx and onnxruntime"
        )


def _example_image(input_px: int) -> Float[Tensor, "1 3 S S"]:
    """Grey values at random, smooth enough to be an image."""
    generator = torch.Generator().manual_seed(0)
    coarse = 255 * torch.rand(1, 1, input_px // 16, input_px // 16, generator=generator)
    image = torch.nn.functional.interpolate(coarse, (input_px, input_px), mode="bilinear")
    return image.expand(-1, 3, -1, -1).contiguous()


def example_prompts(model: Promptable) -> list[ModelPrompts]:
    """Prompts of every kind in the model's frame: points, boxes, both, a mask, several at once."""
    generator = torch.Generator().manual_seed(1)

    def points(prompts: int, number: int) -> Tensor:
        return model.input_px * torch.rand(1, prompts, number, 2, generator=generator)

    def boxes(prompts: int) -> Tensor:
        corner = points(prompts, 1)[:, :, 0] / 2
        return torch.cat([corner, corner + model.input_px / 3], dim=-1)

    size = model.low_res_px
    mask = 4 * torch.randn(1, 1, size, size, generator=generator)
    three = torch.tensor([[[1, 0, 1]]])
    filled = torch.tensor([[[1, 0, 1], [1, -10, -10]]])
    return [
        ModelPrompts(points=points(1, 1), labels=torch.ones(1, 1, 1)),
        ModelPrompts(points=points(1, 3), labels=three),
        ModelPrompts(points=points(2, 3), labels=filled),
        ModelPrompts(boxes=boxes(1)),
        ModelPrompts(boxes=boxes(3)),
        ModelPrompts(boxes=boxes(2), points=points(2, 3), labels=filled),
        ModelPrompts(boxes=boxes(2), masks=mask),
        ModelPrompts(points=points(1, 1), labels=torch.ones(1, 1, 1), masks=mask),
    ]
